"""Positives of queries, and the lowest of their scores."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

Value = TypeVar("Value", bound=Hashable)


@dataclass(frozen=True, slots=True)
class Positives:
    """The positive documents of each query, concatenated.

    Parameters
    ----------
    offsets
        int64 [queries + 1]; the positives of query ``i`` are ``documents[offsets[i]:offsets[i + 1]]``.
    documents
        int64 [positives], document numbers.
    """

    offsets: NDArray[np.int64]
    documents: NDArray[np.int64]

    @classmethod
    def of(cls, queries: NDArray[np.int64], documents: NDArray[np.int64], count: int) -> "Positives":
        """Group (query, document) rows by query; drop duplicates and keep the order of the rows."""
        pairs = np.stack((queries, documents), axis=1)
        _, first = np.unique(pairs, axis=0, return_index=True)
        distinct = pairs[np.sort(first)]
        order = np.argsort(distinct[:, 0], kind="stable")
        offsets = np.zeros(count + 1, dtype=np.int64)
        np.cumsum(np.bincount(distinct[:, 0], minlength=count), out=offsets[1:])
        return cls(offsets, distinct[order, 1])

    @property
    def counts(self) -> NDArray[np.int64]:
        """Number of positives of each query."""
        return np.diff(self.offsets)

    @property
    def queries(self) -> NDArray[np.int64]:
        """Query number of each positive."""
        return np.repeat(np.arange(len(self.counts)), self.counts)

    def of_queries(self, low: int, high: int) -> "Positives":
        """Return the positives of the queries from `low` to below `high`."""
        bounds = self.offsets[low : high + 1]
        return Positives(bounds - bounds[0], self.documents[bounds[0] : bounds[-1]])

    def mask(self, candidates: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Return which candidates [queries, n] are positives of their query."""
        height = int(max(self.documents.max(initial=-1), candidates.max(initial=-1))) + 2
        own = np.sort(self.queries * height + self.documents)
        wanted = np.arange(len(candidates))[:, None] * height + candidates
        positions = np.searchsorted(own, wanted)
        mask: NDArray[np.bool_] = own[np.minimum(positions, len(own) - 1)] == wanted if len(own) else wanted < -height
        return mask & (candidates >= 0)

    def lowest(self, scores: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the lowest positive score of each query, [queries]."""
        return np.minimum.reduceat(scores, self.offsets[:-1]) if len(scores) else scores


def numbered(values: Sequence[Value]) -> tuple[list[Value], NDArray[np.int64]]:
    """Return the distinct values in order of first occurrence, and for each value its number among them."""
    known: dict[Value, int] = {}
    codes = np.fromiter((known.setdefault(value, len(known)) for value in values), np.int64, len(values))
    return list(known), codes
