"""CombMED."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from retrieve.fusion.missing import Missing
from retrieve.fusion.pool import Matrix, Pool
from retrieve.fusion.score_method import ScoreMethod


@dataclass(frozen=True, kw_only=True)
class CombMed(ScoreMethod):
    """Fuse by the median of normalised scores: ``score(d) = median over legs of s(d)`` (Fox and Shaw, TREC-2, 1994).

    Of an even number of scores, the mean of the two in the middle: with two legs, their mean. With
    ``missing="skip"``, the default, over the legs that returned `d`.
    """

    name: ClassVar[str] = "comb-med"

    missing: Missing = "skip"

    def contributions(self, values: Matrix, pool: Pool) -> Matrix:
        """Keep the score in the middle, or half of each of the two."""
        known = np.sum(~np.isnan(values), axis=0)
        # NaN is sorted last, so each candidate's own scores take the first places.
        places = np.argsort(np.argsort(values, axis=0, kind="stable"), axis=0, kind="stable")
        middle = ((places == (known - 1) // 2) * 0.5 + (places == known // 2) * 0.5) * ~np.isnan(values)
        return np.where(middle > 0, values, 0.0) * middle
