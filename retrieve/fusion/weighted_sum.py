"""Weighted sum of normalised scores."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from indexing.hits import Hits
from retrieve.fusion.method import WeightedMethod, or_zero
from retrieve.fusion.pool import Matrix, Pool
from retrieve.fusion.score_method import ScoreMethod
from retrieve.fusion.weights import Weights


@dataclass(frozen=True, kw_only=True)
class WeightedSum(ScoreMethod, WeightedMethod):
    """Convex combination of normalised scores (Bruch, Gai and Ingber, TOIS 2023).

    ``score(d) = sum over legs of weight * normalized(d) / sum of weights``. With min-max and ``missing="zero"`` a
    missing document scores like the leg's last hit, and scores lie in [0, 1].

    Parameters
    ----------
    convex
        Divide by the sum of the weights (default). False is the plain weighted sum (Fox and Shaw, TREC-2; ranx).
    """

    name: ClassVar[str] = "weighted-sum"

    convex: bool = True

    def contributions(self, values: Matrix, pool: Pool) -> Matrix:
        """Multiply by the legs' weights."""
        weights = self.column(pool)
        return or_zero(values) * (weights / weights.sum() if self.convex else weights)


def weighted_sum(answers: Sequence[Hits], *, weights: Weights | None = None) -> Hits:
    """Fuse by ``sum of weight * min_max(score) / sum of weights``: `WeightedSum` as a function."""
    return WeightedSum(weights=weights)(answers)
