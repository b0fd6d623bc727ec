"""Qdrant's fusions: the server, Edge (both in float32), and the Python client's local mode.

- ``rrf`` (default): ``sum of 1 / (rank / weight + k - 1)``, ranks from 1, ``k=2``; options `k`, `weights`.
- ``dbsf``: ``sum of (score - (mean - 3 s)) / (6 s)`` with the sample's deviation s; 0.5 for one hit or equal scores.
"""

from collections.abc import Callable

from retrieve.fusion.comb_sum import CombSum
from retrieve.fusion.method import FusionMethod
from retrieve.fusion.rank_divided import RankDivided
from retrieve.fusion.weights import Weights


def rrf(*, k: float = 2, weights: Weights | None = None) -> FusionMethod:
    """Make ``Fusion.RRF``."""
    return RankDivided(k=k, weights=weights)


def dbsf() -> FusionMethod:
    """Make ``Fusion.DBSF``."""
    return CombSum(normalizer="dbsf")


METHODS: dict[str, Callable[..., FusionMethod]] = {"rrf": rrf, "dbsf": dbsf}
