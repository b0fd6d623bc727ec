"""CombMIN."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from retrieve.fusion.missing import Missing
from retrieve.fusion.pool import Matrix, Pool
from retrieve.fusion.score_method import ScoreMethod, only_chosen


@dataclass(frozen=True, kw_only=True)
class CombMin(ScoreMethod):
    """CombMIN: the lowest normalised score, ``score(d) = min over legs of s(d)`` (Fox and Shaw, TREC-2, 1994).

    With ``missing="skip"`` (default) the minimum is over the legs that returned `d`. ``"zero"`` counts a missing score
    as 0.
    """

    name: ClassVar[str] = "comb-min"

    missing: Missing = "skip"

    def contributions(self, values: Matrix, pool: Pool) -> Matrix:
        """Keep each candidate's lowest value, of the first leg that has it."""
        return only_chosen(values, np.nanargmin)
