"""Base class of the fusions of normalised scores."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from indexing.errors import InputError
from indexing.hits import Hits
from retrieve.fusion.method import FusionMethod
from retrieve.fusion.missing import fill
from retrieve.fusion.normalizers import NORMALIZERS, Normalizer, theoretical_min_max
from retrieve.fusion.pool import Matrix, Pool
from retrieve.fusion.weights import by_leg

Bounds = tuple[float, float | None]
"""A leg's lowest and highest possible score; None as the highest means the query's best returned score."""


@dataclass(frozen=True, kw_only=True)
class ScoreMethod(FusionMethod):
    """Base class of fusions of normalised scores.

    Parameters
    ----------
    normalizer
        A name of `NORMALIZERS` (``"min-max"``), or a function ``(scores, offsets) -> float64 [hits]``.
    bounds
        Each leg's ``(lowest, highest)`` possible score for ``"theoretical-min-max"``, in the legs' order or by name.
    """

    policies: ClassVar[tuple[str, ...]] = ("zero", "min", "score", "skip")

    normalizer: str | Normalizer = "min-max"
    bounds: Sequence[Bounds] | Mapping[str, Bounds] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if isinstance(self.normalizer, str) and self.normalizer not in NORMALIZERS:
            raise InputError(f"there is no normalizer {self.normalizer!r}; choose one of {', '.join(NORMALIZERS)}")
        if (self.bounds is None) == (self.normalizer == "theoretical-min-max"):
            raise InputError(
                "the normalizer theoretical-min-max needs bounds, the (lowest, highest) score of each leg"
                if self.bounds is None
                else f"bounds are for the normalizer theoretical-min-max, not for {self.normalizer!r}"
            )
        for low, high in self.bounds.values() if isinstance(self.bounds, Mapping) else self.bounds or ():
            if high is not None and not float(low) < float(high):
                raise InputError(f"the lowest bound must be below the highest, not {low} and {high}")

    def fit(self, answers: Sequence[Hits]) -> None:
        """Check the options by leg."""
        super().fit(answers)
        if self.bounds is not None:
            by_leg(answers, self.bounds, "bounds")

    def values(self, pool: Pool) -> Matrix:
        """Normalise each leg's scores for each query, and fill in the missing ones."""
        return fill(pool.spread(self._normalized(pool.answers)), pool, self.missing)

    def _normalized(self, answers: Sequence[Hits]) -> list[NDArray[np.float64]]:
        if self.bounds is not None:
            return [
                theoretical_min_max(hits.scores, hits.offsets, low=low, high=high)
                for hits, (low, high) in zip(answers, by_leg(answers, self.bounds, "bounds"), strict=True)
            ]
        normalize = NORMALIZERS[self.normalizer] if isinstance(self.normalizer, str) else self.normalizer
        return [normalize(hits.scores, hits.offsets) for hits in answers]


def only_chosen(values: Matrix, argbest: Callable[..., Any]) -> Matrix:
    """Keep one leg's value for each candidate, 0 for the other legs; `argbest` is ``np.nanargmax`` or the like."""
    chosen = argbest(values, axis=0, keepdims=True)
    return np.where(np.arange(len(values))[:, np.newaxis] == chosen, values, 0.0)
