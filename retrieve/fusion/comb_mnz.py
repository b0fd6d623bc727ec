"""CombMNZ."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from retrieve.fusion.method import or_zero
from retrieve.fusion.pool import Matrix, Pool
from retrieve.fusion.score_method import ScoreMethod


@dataclass(frozen=True, kw_only=True)
class CombMnz(ScoreMethod):
    """CombMNZ: the sum of normalised scores times the number of legs that agree (Fox and Shaw, TREC-2, 1994).

    ``score(d) = n(d) * sum over legs of s(d)``, where n(d) is the number of legs that returned `d`, whatever value
    `missing` adds to the sum.
    """

    name: ClassVar[str] = "comb-mnz"

    def contributions(self, values: Matrix, pool: Pool) -> Matrix:
        """Multiply by the number of legs that returned the candidate."""
        return or_zero(values) * np.sum(~np.isnan(pool.ranks), axis=0)
