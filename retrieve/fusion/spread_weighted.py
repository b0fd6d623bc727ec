"""Weighted sum with weights computed from each query's scores, and the default fusion."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from indexing.errors import InputError
from indexing.hits import Hits
from retrieve.fusion.method import FusionMethod, or_zero
from retrieve.fusion.normalizers import min_max
from retrieve.fusion.pool import Matrix, Pool
from retrieve.fusion.rare_words import decided, rare_words_first
from retrieve.fusion.weighted_sum import WeightedSum
from retrieve.fusion.weights import Weights, check_numbers, leg_values

LOG_ODDS = {"bm25": 1.0, "cosine": 20.0}
"""Factors by kind of leg that bring differences of scores to the scale of log-odds.

BM25 scores are roughly log-odds already; cosines are trained with a temperature, 1/20 in sentence-transformers.
Measured with BM25 and all-MiniLM-L6-v2 (docs/fusion.md).
"""

COSINE_FLOOR = 0.5
"""Default part of the weight that the cosine legs have together, whatever the spreads."""


@dataclass(frozen=True, kw_only=True)
class SpreadWeightedSum(FusionMethod):
    """Weighted sum that, query by query, gives more weight to a leg whose scores spread wider.

    Our own method; docs/fusion.md compares it with others. With ``spread = scale * (best score - mean score)`` of a
    leg's hits for the query::

        score(d) = sum over legs of weight * min_max(score(d))
        weight   = floor + (1 - sum of floors) * spread^power / sum over legs of spread^power

    A leg whose hits all have the same score (a single hit, for example) gets the widest spread of the other legs. The
    floor of a leg without hits goes to the others by their spreads.

    Parameters
    ----------
    scales
        Factor of each leg's scores, in the legs' order or by their names; 1 each by default. `default_fusion` takes
        them from `LOG_ODDS`, by kind of leg.
    floors
        Part of the weight that each leg has whatever its spread, in sum at most 1; 0 each by default. With a floor for
        the dense leg, the weight of BM25 can fall to 0, but not that of the dense leg.
    power
        How strongly weights follow spreads: 0 or more, 6 by default. 1 without floors ranks nearly like the sum of
        ``scale * score``; 0 is `WeightedSum` with equal weights.
    rare_words
        Whether hits that a leg marked for the rare words of the query (`Hits.rare`) come before all others; see
        `rare_words_first`.
    """

    name: ClassVar[str] = "spread-weighted"

    scales: Weights | None = None
    floors: Weights | None = None
    power: float = 6
    rare_words: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.power < inf:
            raise InputError(f"power must be 0 or more, not {self.power}")
        for option, given in (("scales", self.scales), ("floors", self.floors)):
            if given is not None:
                check_numbers(given, option)

    def fit(self, answers: Sequence[Hits]) -> None:
        """Check that there is one scale and one floor for each leg."""
        self._scales(answers)
        self._floors(answers)

    def values(self, pool: Pool) -> Matrix:
        """Return min-max scores."""
        return pool.spread([min_max(hits.scores, hits.offsets) for hits in pool.answers])

    def contributions(self, values: Matrix, pool: Pool) -> Matrix:
        """Multiply by each query's weights, and raise what rare words decide."""
        weighted = or_zero(values) * self.weights(pool.answers)[:, pool.rows]
        return rare_words_first(weighted, pool) if self.rare_words else weighted

    def decided(self, pool: Pool) -> Matrix:
        """Return which candidates a leg's rare words put first; see `FusionMethod.decided`."""
        return decided(pool) if self.rare_words else super().decided(pool)

    def weights(self, answers: Sequence[Hits]) -> Matrix:
        """Return each leg's weight for each query, float64 [legs, queries]; they sum to 1, 0 for a leg without hits."""
        spreads = np.stack([scale * _spread(hits) for scale, hits in zip(self._scales(answers), answers, strict=True)])
        answered = np.stack([hits.counts > 0 for hits in answers])
        widest = spreads.max(axis=0)
        known = np.where(spreads > 0, spreads, widest)
        # Relative to the widest, a power neither overflows nor is 0 for all.
        parts = np.divide(known, widest, out=np.ones_like(known), where=widest > 0) ** self.power * answered
        total = np.add.reduce(np.sort(parts, axis=0), axis=0)
        floors = np.array(self._floors(answers))[:, np.newaxis] * answered
        rest = 1 - np.add.reduce(np.sort(floors, axis=0), axis=0)
        return floors + rest * np.divide(parts, total, out=np.zeros_like(parts), where=total > 0)

    def _scales(self, answers: Sequence[Hits]) -> list[float]:
        scales = leg_values(answers, self.scales, "scales", default=1.0)
        if not all(0 < scale < inf for scale in scales):
            raise InputError(f"scales must be above 0 and finite: {scales}")
        return scales

    def _floors(self, answers: Sequence[Hits]) -> list[float]:
        floors = leg_values(answers, self.floors, "floors", default=0.0)
        if not (all(floor >= 0 for floor in floors) and sum(floors) <= 1):
            raise InputError(f"floors must be 0 or more, with a sum of at most 1: {floors}")
        return floors


def default_fusion(kinds: Mapping[str, str]) -> FusionMethod:
    """Return the fusion to use for legs of these kinds unless another was configured or tuned.

    For BM25 with cosine legs: `SpreadWeightedSum` with the scales of `LOG_ODDS` and a floor of 0.5 for the cosine legs
    together. With legs of any other kind: a sum with equal weights, because a scale that was never measured could
    silence a leg. With BM25 among several legs, hits that contain the rare words of the query come first.

    Parameters
    ----------
    kinds
        Each leg's kind by its name: ``"bm25"``, ``"cosine"`` (dense, by cosine similarity), or any other string.
    """
    rare_words = len(kinds) > 1 and "bm25" in kinds.values()
    if set(kinds.values()) != set(LOG_ODDS):
        return SpreadWeightedSum(power=0, rare_words=True) if rare_words else WeightedSum()
    cosines = [name for name, kind in kinds.items() if kind == "cosine"]
    return SpreadWeightedSum(
        scales={name: LOG_ODDS[kind] for name, kind in kinds.items()},
        floors={name: COSINE_FLOOR / len(cosines) if name in cosines else 0.0 for name in kinds},
        rare_words=rare_words,
    )


def _spread(hits: Hits) -> NDArray[np.float64]:
    """Return each query's best score minus the mean of its scores, float64 [queries]; 0 without hits."""
    spreads = np.zeros(len(hits))
    answered = hits.counts > 0
    scores = hits.scores.astype(np.float64)
    starts = hits.offsets[:-1][answered]
    if len(starts):
        above = np.maximum.reduceat(scores, starts) - np.add.reduceat(scores, starts) / hits.counts[answered]
        varies = np.maximum.reduceat(scores, starts) > np.minimum.reduceat(scores, starts)
        spreads[answered] = np.where(varies, above, 0.0)
    return spreads
