"""CombMNZ."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from retrieve.fusion.method import or_zero
from retrieve.fusion.pool import Matrix, Pool
from retrieve.fusion.score_method import ScoreMethod


@dataclass(frozen=True, kw_only=True)
class CombMnz(ScoreMethod):
    """Fuse by the sum of normalised scores, times how many legs agree (Fox and Shaw, TREC-2, 1994).

    ``score(d) = n(d) * sum over legs of s(d)``, n(d) being the number of legs that returned `d`, whatever `missing`
    puts into the sum.
    """

    name: ClassVar[str] = "comb-mnz"

    def contributions(self, values: Matrix, pool: Pool) -> Matrix:
        """Multiply by the number of legs that found it."""
        return or_zero(values) * np.sum(~np.isnan(pool.ranks), axis=0)
