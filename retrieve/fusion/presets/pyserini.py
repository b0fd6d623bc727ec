"""Pyserini's fusions: `pyserini.fusion` over runs, and `HybridSearcher`.

- ``rrf`` (default): ``sum of 1 / (k + rank)``, ranks from 1, ``k=60``; option `k`.
- ``interpolation``: of two legs, ``alpha * s1 + (1 - alpha) * s2``, not normalised; option `alpha` (0.5).
- ``average``: the mean over all legs, not normalised, 0 for a missing document.
- ``normalize``: the sum of min-max scores; equal scores are 1.
- ``hybrid``: of the legs (sparse, dense), ``alpha * sparse + dense`` (`HybridSearcher`); a missing document gets the
  leg's lowest score, and 0 from a leg without hits; options `alpha` (0.1) and `normalization` (False): with it each
  score becomes ``(s - (min + max) / 2) / (max - min)``, which for equal scores (there it divides by zero) is 0 here,
  and which for a leg without hits is -0.5 there, 0 here: the same order.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from retrieve.fusion.comb_sum import CombSum
from retrieve.fusion.method import FusionMethod
from retrieve.fusion.normalizers import min_max
from retrieve.fusion.reciprocal_rank import ReciprocalRank
from retrieve.fusion.weighted_sum import WeightedSum


def rrf(*, k: float = 60) -> FusionMethod:
    """Make ``--method rrf``."""
    return ReciprocalRank(k=k)


def interpolation(*, alpha: float = 0.5) -> FusionMethod:
    """Make ``--method interpolation``."""
    return WeightedSum(normalizer="none", weights=[alpha, 1 - alpha], convex=False)


def average() -> FusionMethod:
    """Make ``--method average``."""
    return WeightedSum(normalizer="none")


def normalize() -> FusionMethod:
    """Make ``--method normalize``."""
    return CombSum()


def hybrid(*, alpha: float = 0.1, normalization: bool = False) -> FusionMethod:
    """Make `HybridSearcher`'s combination."""
    return WeightedSum(
        normalizer=_centred if normalization else "none", weights=[alpha, 1], convex=False, missing="min"
    )


def _centred(scores: NDArray[np.floating], offsets: NDArray[np.int64]) -> NDArray[np.float64]:
    return min_max(scores, offsets, constant=0.5) - 0.5


METHODS: dict[str, Callable[..., FusionMethod]] = {
    "rrf": rrf,
    "interpolation": interpolation,
    "average": average,
    "normalize": normalize,
    "hybrid": hybrid,
}
