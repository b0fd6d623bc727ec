"""The methods of ranx's `fuse`, by ranx's names of methods and norms.

Methods: ``wsum`` (default; option `weights`), ``sum``, ``mnz``, ``max``, ``min``, ``anz``, ``med``, ``rrf`` (option
`k`), ``isr``, ``log_isr``, ``bordafuse``, ``w_bordafuse`` (option `weights`). Methods of scores have the option `norm`:
``min-max`` (default), ``max``, ``sum``, ``zmuv``, ``rank`` or ``none``. The divisor of a norm is at least 1e-9, so
equal scores become 0 in ``min-max``, ``sum`` and ``zmuv``, and negative ones become very large in ``max``. In the
methods ``max`` and ``min`` a missing document has -1e9 or 1e9. Weights are not divided by their sum.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from retrieve.fusion.borda import Borda
from retrieve.fusion.comb_anz import CombAnz
from retrieve.fusion.comb_max import CombMax
from retrieve.fusion.comb_med import CombMed
from retrieve.fusion.comb_min import CombMin
from retrieve.fusion.comb_mnz import CombMnz
from retrieve.fusion.comb_sum import CombSum
from retrieve.fusion.isr import InverseSquareRank
from retrieve.fusion.log_isr import LogInverseSquareRank
from retrieve.fusion.method import FusionMethod
from retrieve.fusion.normalizers import Normalizer, choose_norm, identity, rank
from retrieve.fusion.pool import Matrix, Pool
from retrieve.fusion.reciprocal_rank import ReciprocalRank
from retrieve.fusion.score_method import ScoreMethod
from retrieve.fusion.segments import counts_per_hit, deviations, per_hit
from retrieve.fusion.weighted_sum import WeightedSum

_SMALLEST_DIVISOR = 1e-9


@dataclass(frozen=True, kw_only=True)
class _Max(CombMax):
    def values(self, pool: Pool) -> Matrix:
        return np.nan_to_num(super().values(pool), nan=-1e9)


@dataclass(frozen=True, kw_only=True)
class _Min(CombMin):
    def values(self, pool: Pool) -> Matrix:
        return np.nan_to_num(super().values(pool), nan=1e9)


def _score_method(kind: type[ScoreMethod]) -> Callable[..., FusionMethod]:
    return lambda *, norm="min-max": kind(normalizer=choose_norm("ranx", _NORMS, norm))


def _divided(values: NDArray[np.float64], by: NDArray[np.float64]) -> NDArray[np.float64]:
    return values / np.maximum(by, _SMALLEST_DIVISOR)


def _min_max(scores: NDArray[np.floating], offsets: NDArray[np.int64]) -> NDArray[np.float64]:
    exact = np.asarray(scores, np.float64)
    low = per_hit(np.minimum, exact, offsets)
    return _divided(exact - low, per_hit(np.maximum, exact, offsets) - low)


def _max(scores: NDArray[np.floating], offsets: NDArray[np.int64]) -> NDArray[np.float64]:
    exact = np.asarray(scores, np.float64)
    return _divided(exact, per_hit(np.maximum, exact, offsets))


def _sum(scores: NDArray[np.floating], offsets: NDArray[np.int64]) -> NDArray[np.float64]:
    exact = np.asarray(scores, np.float64)
    shifted = exact - per_hit(np.minimum, exact, offsets)
    return _divided(shifted, per_hit(np.add, shifted, offsets))


def _zmuv(scores: NDArray[np.floating], offsets: NDArray[np.int64]) -> NDArray[np.float64]:
    exact = np.asarray(scores, np.float64)
    centred = deviations(exact, offsets)
    return _divided(centred, np.sqrt(per_hit(np.add, centred**2, offsets) / counts_per_hit(offsets)))


_NORMS: dict[str, Normalizer] = {
    "min-max": _min_max,
    "max": _max,
    "sum": _sum,
    "zmuv": _zmuv,
    "rank": rank,
    "none": identity,
}

METHODS: dict[str, Callable[..., FusionMethod]] = {
    "wsum": lambda *, norm="min-max", weights=None: WeightedSum(
        normalizer=choose_norm("ranx", _NORMS, norm), weights=weights, convex=False
    ),
    "sum": _score_method(CombSum),
    "mnz": _score_method(CombMnz),
    "max": _score_method(_Max),
    "min": _score_method(_Min),
    "anz": _score_method(CombAnz),
    "med": _score_method(CombMed),
    "rrf": lambda *, k=60: ReciprocalRank(k=k),
    "isr": lambda: InverseSquareRank(),
    "log_isr": lambda: LogInverseSquareRank(),
    "bordafuse": lambda: Borda(),
    "w_bordafuse": lambda *, weights=None: Borda(weights=weights),
}
