"""Borda count."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from retrieve.fusion.method import WeightedMethod
from retrieve.fusion.pool import Matrix, Pool


@dataclass(frozen=True, kw_only=True)
class Borda(WeightedMethod):
    """Borda count: each leg is a voter that ranks the candidates (Aslam and Montague, SIGIR 2001).

    With c candidates for a query, a leg gives c points to its first hit, ``c - 1`` to its second, and so on. The
    remaining points are divided equally among the candidates it did not return: ``(c - n + 1) / 2`` each, where n is
    the number it returned. ``score(d) = sum over legs of weight * points(d)``. Weights of 1 are Borda-fuse, others
    weighted Borda-fuse.
    """

    name: ClassVar[str] = "borda"

    def values(self, pool: Pool) -> Matrix:
        """Return each leg's points for each candidate."""
        candidates = pool.counts
        returned = np.stack([hits.counts[pool.rows] for hits in pool.answers])
        ranks = pool.ranks
        return np.where(np.isnan(ranks), (candidates - returned + 1) / 2, candidates + 1 - ranks)

    def contributions(self, values: Matrix, pool: Pool) -> Matrix:
        """Multiply the points by the legs' weights."""
        return values * self.column(pool)
