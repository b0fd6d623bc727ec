"""Reciprocal rank fusion."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite
from typing import ClassVar

from indexing.errors import InputError
from indexing.hits import Hits
from retrieve.fusion.method import WeightedMethod, or_zero
from retrieve.fusion.pool import Matrix, Pool
from retrieve.fusion.weights import Weights


@dataclass(frozen=True, kw_only=True)
class ReciprocalRank(WeightedMethod):
    """Reciprocal rank fusion (Cormack, Clarke and Büttcher, SIGIR 2009).

    ``score(d) = sum over legs of weight / (k + rank(d))`` with ranks from 1; a leg that did not return `d` adds
    nothing. With weights of 1 these are the scores of the paper, Elasticsearch, ranx and Pyserini. (Qdrant divides the
    *rank* by the weight and defines `k` differently: `RankDivided`. LlamaIndex counts ranks from 0: ``k=59``.)

    Parameters
    ----------
    k
        The constant that flattens the top ranks, above -1; the paper's 60 by default.
    unit
        Divide the weights by their sum and multiply by ``k + 1``, so that a document ranked first by every leg scores
        1 (Haystack).
    """

    name: ClassVar[str] = "rrf"

    k: float = 60
    unit: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if not (self.k > -1 and isfinite(self.k)):
            raise InputError(f"k must be above -1, not {self.k}")

    def values(self, pool: Pool) -> Matrix:
        """Return ``1 / (k + rank)``."""
        return 1 / (self.k + pool.ranks)

    def contributions(self, values: Matrix, pool: Pool) -> Matrix:
        """Multiply by the legs' weights."""
        weights = self.column(pool)
        return or_zero(values) * (weights * (self.k + 1) / weights.sum() if self.unit else weights)


def reciprocal_rank_fusion(answers: Sequence[Hits], *, k: float = 60, weights: Weights | None = None) -> Hits:
    """Fuse by ``sum of weight / (k + rank)``: `ReciprocalRank` as a function."""
    return ReciprocalRank(k=k, weights=weights)(answers)
