"""Qdrant's fusions, as in the server, Edge (both in float32) and the Python client's local mode.

- ``rrf`` (default): ``sum of 1 / (rank / weight + k - 1)``, ranks from 1, ``k=2``; options `k`, `weights`.
- ``dbsf``: ``sum of (score - (mean - 3 s)) / (6 s)`` with the sample standard deviation s; 0.5 for a single hit or
  equal scores.
"""

from collections.abc import Callable

from retrieve.fusion.comb_sum import CombSum
from retrieve.fusion.method import FusionMethod
from retrieve.fusion.rank_divided import RankDivided

METHODS: dict[str, Callable[..., FusionMethod]] = {
    "rrf": lambda *, k=2, weights=None: RankDivided(k=k, weights=weights),
    "dbsf": lambda: CombSum(normalizer="dbsf"),
}
