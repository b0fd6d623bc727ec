"""Pyserini's fusions: `pyserini.fusion` of runs, and `HybridSearcher`.

- ``rrf`` (default): ``sum of 1 / (k + rank)``, ranks from 1, ``k=60``; option `k`.
- ``interpolation``: ``alpha * s1 + (1 - alpha) * s2`` for two legs, not normalised; option `alpha` (0.5).
- ``average``: the mean over all legs, not normalised, 0 for a missing document.
- ``normalize``: the sum of min-max scores; equal scores become 1.
- ``hybrid``: ``alpha * sparse + dense`` for the legs (sparse, dense) (`HybridSearcher`). A missing document gets the
  leg's lowest score, and 0 from a leg without hits. Options `alpha` (0.1) and `normalization` (False). With
  `normalization` each score becomes ``(s - (min + max) / 2) / (max - min)``. Equal scores become 0 here, where
  Pyserini divides by zero; a leg without hits counts 0 here and -0.5 in Pyserini, with the same order.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from retrieve.fusion.comb_sum import CombSum
from retrieve.fusion.method import FusionMethod
from retrieve.fusion.normalizers import min_max
from retrieve.fusion.reciprocal_rank import ReciprocalRank
from retrieve.fusion.weighted_sum import WeightedSum


def _centred(scores: NDArray[np.floating], offsets: NDArray[np.int64]) -> NDArray[np.float64]:
    return min_max(scores, offsets, constant=0.5) - 0.5


METHODS: dict[str, Callable[..., FusionMethod]] = {
    "rrf": lambda *, k=60: ReciprocalRank(k=k),
    "interpolation": lambda *, alpha=0.5: WeightedSum(normalizer="none", weights=[alpha, 1 - alpha], convex=False),
    "average": lambda: WeightedSum(normalizer="none"),
    "normalize": lambda: CombSum(),
    "hybrid": lambda *, alpha=0.1, normalization=False: WeightedSum(
        normalizer=_centred if normalization else "none", weights=[alpha, 1], convex=False, missing="min"
    ),
}
