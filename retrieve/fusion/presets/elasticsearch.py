"""Elasticsearch's retrievers, after their published source (not compared with a running server).

- ``rrf`` (default): ``sum of weight / (rank_constant + rank)``, ranks from 1, ``k=60``; options `k`, `weights`.
- ``linear``: ``sum of weight * normalized score``, weights not divided by their sum; options `weights` and `norm`:
  ``minmax`` (default; scores of a query that differ by less than 1e-6 stay unchanged), ``l2_norm`` or ``none``.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from retrieve.fusion.method import FusionMethod
from retrieve.fusion.normalizers import Normalizer, choose_norm, identity, min_max
from retrieve.fusion.reciprocal_rank import ReciprocalRank
from retrieve.fusion.segments import per_hit
from retrieve.fusion.weighted_sum import WeightedSum

_SMALLEST = 1e-6


def _minmax(scores: NDArray[np.floating], offsets: NDArray[np.int64]) -> NDArray[np.float64]:
    exact = np.asarray(scores, np.float64)
    spread = per_hit(np.maximum, exact, offsets) - per_hit(np.minimum, exact, offsets)
    return np.where(spread < _SMALLEST, exact, min_max(exact, offsets))


def _l2_norm(scores: NDArray[np.floating], offsets: NDArray[np.int64]) -> NDArray[np.float64]:
    exact = np.asarray(scores, np.float64)
    length = np.sqrt(per_hit(np.add, exact**2, offsets))
    return np.divide(exact, length, out=exact.copy(), where=length >= _SMALLEST)


_NORMS: dict[str, Normalizer] = {"minmax": _minmax, "l2_norm": _l2_norm, "none": identity}

METHODS: dict[str, Callable[..., FusionMethod]] = {
    "rrf": lambda *, k=60, weights=None: ReciprocalRank(k=k, weights=weights),
    "linear": lambda *, norm="minmax", weights=None: WeightedSum(
        normalizer=choose_norm("elasticsearch", _NORMS, norm), weights=weights, convex=False
    ),
}
