"""CombMED."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from retrieve.fusion.missing import Missing
from retrieve.fusion.pool import Matrix, Pool
from retrieve.fusion.score_method import ScoreMethod


@dataclass(frozen=True, kw_only=True)
class CombMed(ScoreMethod):
    """CombMED: the median of normalised scores, ``score(d) = median over legs of s(d)`` (Fox and Shaw, TREC-2, 1994).

    The median of an even number of scores is the mean of the middle two. With ``missing="skip"`` (default) the median
    is over the legs that returned `d`.
    """

    name: ClassVar[str] = "comb-med"

    missing: Missing = "skip"

    def contributions(self, values: Matrix, pool: Pool) -> Matrix:
        """Keep the middle value, or half of each of the middle two."""
        counts = np.sum(~np.isnan(values), axis=0)
        # argsort puts NaN last, so each candidate's values have the first positions.
        positions = np.argsort(np.argsort(values, axis=0, kind="stable"), axis=0, kind="stable")
        middle = ((positions == (counts - 1) // 2) * 0.5 + (positions == counts // 2) * 0.5) * ~np.isnan(values)

        return np.where(middle > 0, values, 0.0) * middle
