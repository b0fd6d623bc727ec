"""Qdrant's weighted reciprocal rank fusion."""

from dataclasses import dataclass
from math import isfinite
from typing import ClassVar

import numpy as np

from indexing.errors import InputError
from retrieve.fusion.method import WeightedMethod
from retrieve.fusion.pool import Matrix, Pool


@dataclass(frozen=True, kw_only=True)
class RankDivided(WeightedMethod):
    """Reciprocal rank fusion that divides ranks by weights, as Qdrant's server, Edge and local mode do.

    ``score(d) = sum over legs of 1 / (rank(d) / weight + k - 1)`` with ranks from 1; a leg of weight 0 adds nothing.
    With weights of 1 this is `ReciprocalRank` with ``k - 1``: the paper's 60 is 61 here. Weights of (1, 2) and (2, 4)
    give different results.

    Parameters
    ----------
    k
        0 or more, and above ``1 - 1 / weight``, so that the first rank does not divide by zero; Qdrant's 2 by default.
    """

    name: ClassVar[str] = "rank-divided-rrf"

    k: float = 2

    def __post_init__(self) -> None:
        super().__post_init__()
        if not (self.k >= 0 and isfinite(self.k)):
            raise InputError(f"k must be 0 or more, not {self.k}")

    def values(self, pool: Pool) -> Matrix:
        """Return ``1 / (rank / weight + k - 1)``."""
        weights = self.column(pool)
        if not (1 / weights[weights > 0] + self.k > 1).all():
            raise InputError(
                f"k={self.k} with the weights {weights[:, 0].tolist()} divides by zero or less at the first rank: "
                "use a greater k"
            )
        divided = np.divide(pool.ranks, weights, out=np.full((len(weights), len(pool)), np.inf), where=weights > 0)
        return np.where(np.isnan(pool.ranks), np.nan, 1 / (divided + self.k - 1))
