"""Which documents are right for which query, and how they score."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Positives:
    """The right documents of each query, one query behind another.

    Parameters
    ----------
    offsets
        int64 [queries + 1]; query ``i`` owns ``offsets[i]:offsets[i + 1]``.
    documents
        int64 [positives], numbers of documents.
    """

    offsets: NDArray[np.int64]
    documents: NDArray[np.int64]

    @classmethod
    def of(cls, queries: NDArray[np.int64], documents: NDArray[np.int64], count: int) -> "Positives":
        """Group (query, document) rows by query, each document once, in the order of the rows."""
        pairs = np.stack((queries, documents), axis=1)
        _, first = np.unique(pairs, axis=0, return_index=True)
        kept = pairs[np.sort(first)]
        order = np.argsort(kept[:, 0], kind="stable")
        offsets = np.zeros(count + 1, dtype=np.int64)
        np.cumsum(np.bincount(kept[:, 0], minlength=count), out=offsets[1:])
        return cls(offsets, kept[order, 1])

    @property
    def counts(self) -> NDArray[np.int64]:
        """How many each query has."""
        return np.diff(self.offsets)

    @property
    def queries(self) -> NDArray[np.int64]:
        """The query of each positive."""
        return np.repeat(np.arange(len(self.counts)), self.counts)

    def some(self, low: int, high: int) -> "Positives":
        """Give those of the queries from `low` to below `high`."""
        bounds = self.offsets[low : high + 1]
        return Positives(bounds - bounds[0], self.documents[bounds[0] : bounds[-1]])

    def mask(self, candidates: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Say which candidates [queries, n] are positives of their query."""
        height = int(max(self.documents.max(initial=-1), candidates.max(initial=-1))) + 2
        own = np.sort(self.queries * height + self.documents)
        wanted = np.arange(len(candidates))[:, None] * height + candidates
        places = np.searchsorted(own, wanted)
        found: NDArray[np.bool_] = own[np.minimum(places, len(own) - 1)] == wanted if len(own) else wanted < -height
        return found & (candidates >= 0)

    def lowest(self, scores: NDArray[np.float32]) -> NDArray[np.float32]:
        """Give the least of each query's positive scores: what negatives must stay below."""
        return np.minimum.reduceat(scores, self.offsets[:-1]) if len(scores) else scores


def numbered(texts: Sequence[str]) -> tuple[list[str], NDArray[np.int64]]:
    """Give the different texts in the order in which they come, and which of them each is."""
    known: dict[str, int] = {}
    codes = np.fromiter((known.setdefault(text, len(known)) for text in texts), np.int64, len(texts))
    return list(known), codes
