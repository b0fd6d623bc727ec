"""LlamaIndex's `QueryFusionRetriever` with ``num_queries=1``, by its modes.

- ``reciprocal_rerank`` (default): ``sum of 1 / (60 + rank)`` with ranks from *0*. It takes no weights: LlamaIndex
  accepts them in this mode and leaves them out (run-llama/llama_index#21444).
- ``relative_score``: ``sum of weight * min_max(score)``; where a query's scores are equal each is 1 if positive, else
  0. `weights` are divided by their sum.
- ``dist_based_score``: the same with ``(score - (mean - 3 s)) / (6 s)`` and the population's deviation s; `weights`.
- ``simple``: the highest score, not normalised.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from retrieve.fusion.comb_max import CombMax
from retrieve.fusion.method import FusionMethod
from retrieve.fusion.normalizers import min_max, three_sigma
from retrieve.fusion.reciprocal_rank import ReciprocalRank
from retrieve.fusion.segments import per_hit
from retrieve.fusion.weighted_sum import WeightedSum
from retrieve.fusion.weights import Weights


def reciprocal_rerank() -> FusionMethod:
    """Make ``mode="reciprocal_rerank"``."""
    return ReciprocalRank(k=59)


def relative_score(*, weights: Weights | None = None) -> FusionMethod:
    """Make ``mode="relative_score"``."""
    return WeightedSum(normalizer=_min_max, weights=weights)


def dist_based_score(*, weights: Weights | None = None) -> FusionMethod:
    """Make ``mode="dist_based_score"``."""
    return WeightedSum(normalizer=_three_sigma, weights=weights)


def simple() -> FusionMethod:
    """Make ``mode="simple"``."""
    return CombMax(normalizer="none")


def _min_max(scores: NDArray[np.floating], offsets: NDArray[np.int64]) -> NDArray[np.float64]:
    return _equal_by_sign(scores, offsets, min_max(scores, offsets))


def _three_sigma(scores: NDArray[np.floating], offsets: NDArray[np.int64]) -> NDArray[np.float64]:
    return _equal_by_sign(scores, offsets, three_sigma(scores, offsets, freedom=0))


def _equal_by_sign(
    scores: NDArray[np.floating], offsets: NDArray[np.int64], normalized: NDArray[np.float64]
) -> NDArray[np.float64]:
    exact = np.asarray(scores, np.float64)
    high = per_hit(np.maximum, exact, offsets)
    return np.where(high > per_hit(np.minimum, exact, offsets), normalized, high > 0)


METHODS: dict[str, Callable[..., FusionMethod]] = {
    "reciprocal_rerank": reciprocal_rerank,
    "relative_score": relative_score,
    "dist_based_score": dist_based_score,
    "simple": simple,
}
