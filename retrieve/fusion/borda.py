"""Borda count."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from retrieve.fusion.method import WeightedMethod
from retrieve.fusion.pool import Matrix, Pool


@dataclass(frozen=True, kw_only=True)
class Borda(WeightedMethod):
    """Fuse by votes: each leg is a voter that ranks the candidates (Aslam and Montague, SIGIR 2001).

    With c candidates for a query, a leg gives its first c points, its second ``c - 1``, and so on; the points that are
    left over it divides equally among those it did not return, ``(c - n + 1) / 2`` each where it returned n.
    ``score(d) = sum over legs of weight * points(d)``; weights of 1 are Borda-fuse, others weighted Borda-fuse.
    """

    name: ClassVar[str] = "borda"

    def values(self, pool: Pool) -> Matrix:
        """Give the points."""
        candidates = pool.counts
        returned = np.stack([hits.counts[pool.rows] for hits in pool.answers])
        ranks = pool.ranks
        return np.where(np.isnan(ranks), (candidates - returned + 1) / 2, candidates + 1 - ranks)

    def contributions(self, values: Matrix, pool: Pool) -> Matrix:
        """Multiply by the weights."""
        return values * self.column(pool)
