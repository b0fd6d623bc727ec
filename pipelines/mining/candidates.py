"""Candidates: for each query the documents that could be hard negatives, best first."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from indexing.hits import Hits
from pipelines.exact_search.search import ExactSearch
from pipelines.exact_search.top_k import first

QUERIES_AT_ONCE = 512
"""Queries whose scores against the whole corpus stand in memory at a time."""


@dataclass(frozen=True, slots=True)
class Candidates:
    """Documents for some consecutive queries.

    Parameters
    ----------
    documents
        int64 [queries, n], numbers of documents, best first; -1 where there are fewer.
    scores
        float32 [queries, n]; -inf where a candidate is missing or was ruled out.
    sources
        int64 [queries, n], which source gave it; None when there is one.
    """

    documents: NDArray[np.int64]
    scores: NDArray[np.float32]
    sources: NDArray[np.int64] | None = None

    def with_scores(self, scores: NDArray[np.float32]) -> "Candidates":
        """Give the same documents with other scores."""
        return replace(self, scores=np.where(self.documents < 0, np.float32(-np.inf), scores))

    def without(self, mask: NDArray[np.bool_]) -> "Candidates":
        """Rule some out."""
        return replace(self, scores=np.where(mask, np.float32(-np.inf), self.scores))

    def take(self, places: NDArray[np.int64]) -> "Candidates":
        """Choose by place [queries, m]."""
        sources = None if self.sources is None else np.take_along_axis(self.sources, places, axis=1)
        return Candidates(
            np.take_along_axis(self.documents, places, axis=1), np.take_along_axis(self.scores, places, axis=1), sources
        )

    def sorted(self) -> "Candidates":
        """Give them by score, equal ones in the order in which they stand."""
        return self.take(np.argsort(-self.scores, axis=1, kind="stable"))


def nearest(
    queries: NDArray[np.floating], corpus: NDArray[np.floating], count: int, *, metric: str = "cosine"
) -> Iterator[Candidates]:
    """Search the corpus exactly, some queries at a time: the `count` nearest of each, by dot product.

    Parameters
    ----------
    queries, corpus
        float32 [queries, width] and [documents, width]; of length 1 for the cosine.
    metric
        "cosine" or "dot" (of the vectors as they are), or "euclidean" or "manhattan" (the distance, negative).

    Yields
    ------
    Candidates
        Of `QUERIES_AT_ONCE` queries each; fewer documents than `count` leave -1 and -inf.
    """
    found, order = min(count, len(corpus)), np.arange(len(corpus))
    search: Callable[..., Any]
    if metric in ("euclidean", "manhattan"):
        search = _by_distance(corpus, 2.0 if metric == "euclidean" else 1.0)
    else:  # Its memory serves all blocks: pieces of some 20 MB that come and go leave gaps that add up to gigabytes.
        search = ExactSearch(corpus, min(QUERIES_AT_ONCE, len(queries)), len(queries))
    for low in range(0, len(queries), QUERIES_AT_ONCE):
        places, scores = search(queries[low : low + QUERIES_AT_ONCE], found, order)
        yield Candidates(_padded(places, count, -1), _padded(scores, count, -np.inf))


def _by_distance(corpus: NDArray[np.floating], power: float) -> Callable[..., Any]:
    import torch

    documents = torch.from_numpy(np.ascontiguousarray(corpus, dtype=np.float32))

    def search(some: NDArray[np.floating], k: int, order: NDArray[np.int64]) -> Any:
        asked = torch.from_numpy(np.ascontiguousarray(some, dtype=np.float32))
        return first(-torch.cdist(asked, documents, p=power), k, order)

    return search


def from_hits(hits: Mapping[str, Hits], numbers: Mapping[str, int], count: int) -> Candidates:
    """Lay the hits of several retrievers side by side, source after source, each document once.

    Parameters
    ----------
    hits
        By source, over the same queries.
    numbers
        The number of each doc_id.
    count
        At most so many of each source.
    """
    blocks, scores, sources = [], [], []
    for at, of_source in enumerate(hits.values()):
        block = np.full((len(of_source), count), -1, dtype=np.int64)
        values = np.full(block.shape, -np.inf, dtype=np.float32)
        kept = of_source.top(count)
        table = np.array([numbers.get(str(doc_id), -1) for doc_id in kept.ids], dtype=np.int64)
        rows = kept.rows
        columns = np.arange(len(rows)) - kept.offsets[rows]
        block[rows, columns] = table[kept.codes]
        values[rows, columns] = kept.scores
        blocks.append(block)
        scores.append(np.where(block < 0, np.float32(-np.inf), values))
        sources.append(np.full(block.shape, at, dtype=np.int64))
    documents = np.concatenate(blocks, axis=1)
    return Candidates(documents, np.concatenate(scores, axis=1), np.concatenate(sources, axis=1)).without(
        _seen_before(documents)
    )


def _seen_before(documents: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Say where a row repeats a document that stands further left."""
    order = np.argsort(documents, axis=1, kind="stable")
    ordered = np.take_along_axis(documents, order, axis=1)
    again = np.zeros(documents.shape, dtype=np.bool_)
    again[:, 1:] = ordered[:, 1:] == ordered[:, :-1]
    found = np.zeros_like(again)
    np.put_along_axis(found, order, again, axis=1)
    return found


def _padded(values: NDArray, count: int, filler: float) -> NDArray:
    missing = count - values.shape[1]
    return np.pad(values, ((0, 0), (0, missing)), constant_values=filler) if missing > 0 else values
