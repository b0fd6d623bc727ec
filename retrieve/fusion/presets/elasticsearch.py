"""Elasticsearch's retrievers, by their published source; there is no server here to compare with.

- ``rrf`` (default): ``sum of weight / (rank_constant + rank)``, ranks from 1, ``k=60``; options `k`, `weights`.
- ``linear``: ``sum of weight * normalized score``, weights not divided; options `weights` and `norm`: ``minmax``
  (default; where a query's scores lie within 1e-6 of each other they stay as they are), ``l2_norm`` or ``none``.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from indexing.errors import InputError
from retrieve.fusion.method import FusionMethod
from retrieve.fusion.normalizers import Normalizer, identity, min_max
from retrieve.fusion.reciprocal_rank import ReciprocalRank
from retrieve.fusion.segments import per_hit
from retrieve.fusion.weighted_sum import WeightedSum
from retrieve.fusion.weights import Weights

_SMALLEST = 1e-6


def rrf(*, k: float = 60, weights: Weights | None = None) -> FusionMethod:
    """Make the ``rrf`` retriever."""
    return ReciprocalRank(k=k, weights=weights)


def linear(*, norm: str = "minmax", weights: Weights | None = None) -> FusionMethod:
    """Make the ``linear`` retriever."""
    norms: dict[str, Normalizer] = {"minmax": _minmax, "l2_norm": _l2_norm, "none": identity}
    if norm not in norms:
        raise InputError(f"elasticsearch has no norm {norm!r} here: it has {', '.join(norms)}")
    return WeightedSum(normalizer=norms[norm], weights=weights, convex=False)


def _minmax(scores: NDArray[np.floating], offsets: NDArray[np.int64]) -> NDArray[np.float64]:
    exact = np.asarray(scores, np.float64)
    spread = per_hit(np.maximum, exact, offsets) - per_hit(np.minimum, exact, offsets)
    return np.where(spread < _SMALLEST, exact, min_max(exact, offsets))


def _l2_norm(scores: NDArray[np.floating], offsets: NDArray[np.int64]) -> NDArray[np.float64]:
    exact = np.asarray(scores, np.float64)
    length = np.sqrt(per_hit(np.add, exact**2, offsets))
    return np.divide(exact, length, out=exact.copy(), where=length >= _SMALLEST)


METHODS: dict[str, Callable[..., FusionMethod]] = {"rrf": rrf, "linear": linear}
