"""Weighted sum whose weights each query's own scores decide."""

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
from retrieve.fusion.weights import Weights, by_leg, check_numbers

LOG_ODDS = {"bm25": 1.0, "cosine": 34.0, "dot": 1.0, "impact": 0.01}
"""What one point of a leg's score is worth, by the kind of leg, so that differences are on the scale of log-odds.

BM25's points are (about) that; cosine similarities are trained with a temperature of 1/20 to 1/50; dot products of
learned sparse models with none, and an impact is a hundredth of a weight. The value for cosines was measured with
all-MiniLM-L6-v2 (docs/fusion.md); those of dot products and impacts were not measured.
"""


@dataclass(frozen=True, kw_only=True)
class SpreadWeightedSum(FusionMethod):
    """Fuse by a weighted sum in which, for each query, a leg that tells its hits apart more sharply counts for more.

    Ours; docs/fusion.md has what it was measured against. With ``spread = scale * (best score - mean score)`` of a
    leg's hits for the query::

        score(d) = sum over legs of weight * min_max(score(d)),    weight = spread^power / sum over legs of spread^power

    With ``power=1`` this ranks nearly like the sum of the scores themselves, each times its leg's `scale`; with 0 it
    is `WeightedSum` with equal weights. A leg whose hits all have one score (a single hit, say) cannot be judged so:
    it gets the weight of the heaviest other.

    Parameters
    ----------
    scales
        What a point of each leg's score is worth, in the legs' order or by their names; 1 each by default. `LOG_ODDS`
        has values by the kind of leg, and `default_fusion` uses them.
    power
        How sharply weights follow spreads: 0 or more, 1.5 by default. Greater is better where one leg is poor (3 keeps
        a poor BM25 leg from doing harm), and somewhat worse where both are good.
    """

    name: ClassVar[str] = "spread-weighted"

    scales: Weights | None = None
    power: float = 1.5

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.power < inf:
            raise InputError(f"power must be 0 or more, not {self.power}")
        if self.scales is not None:
            check_numbers(self.scales, "scales")

    def fit(self, answers: Sequence[Hits]) -> None:
        """Check that there is one scale for each leg."""
        self._scales(answers)

    def values(self, pool: Pool) -> Matrix:
        """Give min-max scores."""
        return pool.spread([min_max(hits.scores, hits.offsets) for hits in pool.answers])

    def contributions(self, values: Matrix, pool: Pool) -> Matrix:
        """Multiply by the query's weights."""
        return or_zero(values) * self.weights(pool.answers)[:, pool.rows]

    def weights(self, answers: Sequence[Hits]) -> Matrix:
        """Give each leg's weight for each query, float64 [legs, queries]: 0 for a leg without hits, and in sum 1."""
        spreads = np.stack([scale * _spread(hits) for scale, hits in zip(self._scales(answers), answers, strict=True)])
        answered = np.stack([hits.counts > 0 for hits in answers])
        widest = spreads.max(axis=0)
        known = np.where(spreads > 0, spreads, widest)
        # In parts of the widest, a power neither overflows nor is 0 for all.
        parts = np.divide(known, widest, out=np.ones_like(known), where=widest > 0) ** self.power * answered
        total = np.add.reduce(np.sort(parts, axis=0), axis=0)
        return np.divide(parts, total, out=np.zeros_like(parts), where=total > 0)

    def _scales(self, answers: Sequence[Hits]) -> list[float]:
        if self.scales is None:
            return [1.0] * len(answers)
        scales = [float(scale) for scale in by_leg(answers, self.scales, "scales")]
        if not all(0 < scale < inf for scale in scales):
            raise InputError(f"scales must be above 0 and finite: {scales}")
        return scales


def default_fusion(kinds: Mapping[str, str]) -> SpreadWeightedSum:
    """Give the fusion for legs of these kinds where nothing was tuned.

    Parameters
    ----------
    kinds
        Each leg's kind by its name: ``"bm25"``, ``"cosine"`` (dense, by cosine similarity), ``"dot"`` (by dot product)
        or ``"impact"``.
    """
    if unknown := next((kind for kind in kinds.values() if kind not in LOG_ODDS), None):
        raise InputError(f"there is no kind of leg {unknown!r}: there are {', '.join(LOG_ODDS)}")
    return SpreadWeightedSum(scales={name: LOG_ODDS[kind] for name, kind in kinds.items()})


def _spread(hits: Hits) -> NDArray[np.float64]:
    """Give how far each query's best score lies above the mean of its scores, float64 [queries]; 0 without hits."""
    spreads = np.zeros(len(hits))
    answered = hits.counts > 0
    scores = hits.scores.astype(np.float64)
    starts = hits.offsets[:-1][answered]
    if len(starts):
        above = np.maximum.reduceat(scores, starts) - np.add.reduceat(scores, starts) / hits.counts[answered]
        varies = np.maximum.reduceat(scores, starts) > np.minimum.reduceat(scores, starts)
        spreads[answered] = np.where(varies, above, 0.0)
    return spreads
