"""The join modes of Haystack's `DocumentJoiner`; weights are divided by their sum.

- ``reciprocal_rank_fusion`` (default): ``61 * sum of weight / (60 + rank)``; the best possible score is 1; option
  `weights`.
- ``merge``: ``sum of weight * score``, not normalised; option `weights`.
- ``concatenate``: the highest score, not normalised.
- ``distribution_based_rank_fusion``: the *highest* of ``(score - (mean - 3 s)) / (6 s)`` with the population standard
  deviation s; equal scores stay unchanged.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from retrieve.fusion.comb_max import CombMax
from retrieve.fusion.method import FusionMethod
from retrieve.fusion.normalizers import three_sigma
from retrieve.fusion.reciprocal_rank import ReciprocalRank
from retrieve.fusion.segments import varying
from retrieve.fusion.weighted_sum import WeightedSum


def _three_sigma(scores: NDArray[np.floating], offsets: NDArray[np.int64]) -> NDArray[np.float64]:
    exact = np.asarray(scores, np.float64)
    return np.where(varying(exact, offsets), three_sigma(exact, offsets, freedom=0), exact)


METHODS: dict[str, Callable[..., FusionMethod]] = {
    "reciprocal_rank_fusion": lambda *, weights=None: ReciprocalRank(k=60, weights=weights, unit=True),
    "merge": lambda *, weights=None: WeightedSum(normalizer="none", weights=weights),
    "concatenate": lambda: CombMax(normalizer="none"),
    "distribution_based_rank_fusion": lambda: CombMax(normalizer=_three_sigma),
}
