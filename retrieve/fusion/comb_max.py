"""CombMAX."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from retrieve.fusion.missing import Missing
from retrieve.fusion.pool import Matrix, Pool
from retrieve.fusion.score_method import ScoreMethod, only_chosen


@dataclass(frozen=True, kw_only=True)
class CombMax(ScoreMethod):
    """CombMAX: the highest normalised score, ``score(d) = max over legs of s(d)`` (Fox and Shaw, TREC-2, 1994).

    With ``missing="skip"`` (default) the maximum is over the legs that returned `d`. ``"zero"`` counts a missing score
    as 0, which beats scores below 0.
    """

    name: ClassVar[str] = "comb-max"

    missing: Missing = "skip"

    def contributions(self, values: Matrix, pool: Pool) -> Matrix:
        """Keep each candidate's highest value, of the first leg that has it."""
        return only_chosen(values, np.nanargmax)
