"""Normalisers bring one leg's scores onto a common scale, query by query. Each has its own file."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrieve.fusion.normalizers.identity import identity
from retrieve.fusion.normalizers.maximum import maximum
from retrieve.fusion.normalizers.min_max import min_max
from retrieve.fusion.normalizers.rank import rank
from retrieve.fusion.normalizers.theoretical_min_max import theoretical_min_max
from retrieve.fusion.normalizers.three_sigma import three_sigma
from retrieve.fusion.normalizers.total import total
from retrieve.fusion.normalizers.z_score import z_score

Normalizer = Callable[..., NDArray[np.float64]]
"""``(scores, offsets) -> float64 [hits]``; query ``i`` owns ``scores[offsets[i]:offsets[i + 1]]``, best first."""

NORMALIZERS: dict[str, Callable[..., Any]] = {
    "min-max": min_max,
    "theoretical-min-max": theoretical_min_max,
    "max": maximum,
    "sum": total,
    "z-score": z_score,
    "rank": rank,
    "dbsf": three_sigma,
    "none": identity,
}
"""Normalisers by their names in a configuration."""


__all__ = [
    "NORMALIZERS",
    "Normalizer",
    "identity",
    "maximum",
    "min_max",
    "rank",
    "theoretical_min_max",
    "three_sigma",
    "total",
    "z_score",
]
