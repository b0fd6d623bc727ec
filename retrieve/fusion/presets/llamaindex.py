"""The modes of LlamaIndex's `QueryFusionRetriever` with ``num_queries=1``.

- ``reciprocal_rerank`` (default): ``sum of 1 / (60 + rank)`` with ranks from *0*. It has no option `weights`:
  LlamaIndex accepts weights in this mode and ignores them (run-llama/llama_index#21444).
- ``relative_score``: ``sum of weight * min_max(score)``. If a query's scores are equal, each becomes 1 if positive,
  else 0. The option `weights` is divided by its sum.
- ``dist_based_score``: the same with ``(score - (mean - 3 s)) / (6 s)`` and the population standard deviation s.
- ``simple``: the highest score, not normalised.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from retrieve.fusion.comb_max import CombMax
from retrieve.fusion.method import FusionMethod
from retrieve.fusion.normalizers import min_max, three_sigma
from retrieve.fusion.reciprocal_rank import ReciprocalRank
from retrieve.fusion.segments import varying
from retrieve.fusion.weighted_sum import WeightedSum


def _min_max(scores: NDArray[np.floating], offsets: NDArray[np.int64]) -> NDArray[np.float64]:
    return _equal_scores_by_sign(scores, offsets, min_max(scores, offsets))


def _three_sigma(scores: NDArray[np.floating], offsets: NDArray[np.int64]) -> NDArray[np.float64]:
    return _equal_scores_by_sign(scores, offsets, three_sigma(scores, offsets, freedom=0))


def _equal_scores_by_sign(
    scores: NDArray[np.floating], offsets: NDArray[np.int64], normalized: NDArray[np.float64]
) -> NDArray[np.float64]:
    exact = np.asarray(scores, np.float64)
    return np.where(varying(exact, offsets), normalized, exact > 0)


METHODS: dict[str, Callable[..., FusionMethod]] = {
    "reciprocal_rerank": lambda: ReciprocalRank(k=59),
    "relative_score": lambda *, weights=None: WeightedSum(normalizer=_min_max, weights=weights),
    "dist_based_score": lambda *, weights=None: WeightedSum(normalizer=_three_sigma, weights=weights),
    "simple": lambda: CombMax(normalizer="none"),
}
