"""Candidates for hard negatives: for each query, documents with scores, best first."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from indexing.hits import Hits

if TYPE_CHECKING:
    from retrieve.encoders.similarity import Similarity

QUERIES_AT_ONCE = 512
"""Queries whose scores against the whole corpus are held in memory at a time."""


@dataclass(frozen=True, slots=True)
class Candidates:
    """Candidate documents of consecutive queries.

    Parameters
    ----------
    documents
        int64 [queries, n], document numbers, best first; -1 for missing candidates.
    scores
        float32 [queries, n]; -inf for candidates that are missing or excluded.
    sources
        int64 [queries, n], number of the source of each candidate; None for a single source.
    """

    documents: NDArray[np.int64]
    scores: NDArray[np.float32]
    sources: NDArray[np.int64] | None = None

    @property
    def remaining(self) -> NDArray[np.int64]:
        """Numbers as in `documents`; -1 for excluded candidates, too."""
        return np.where(np.isfinite(self.scores), self.documents, -1)

    def with_scores(self, scores: NDArray[np.float32]) -> "Candidates":
        """Return the same documents with other scores."""
        return replace(self, scores=np.where(self.documents < 0, np.float32(-np.inf), scores))

    def without(self, mask: NDArray[np.bool_]) -> "Candidates":
        """Exclude the candidates where `mask` is True."""
        return replace(self, scores=np.where(mask, np.float32(-np.inf), self.scores))

    def take(self, positions: NDArray[np.int64]) -> "Candidates":
        """Return the candidates at positions [queries, m]."""
        sources = None if self.sources is None else np.take_along_axis(self.sources, positions, axis=1)
        return Candidates(
            np.take_along_axis(self.documents, positions, axis=1),
            np.take_along_axis(self.scores, positions, axis=1),
            sources,
        )

    def sorted(self) -> "Candidates":
        """Sort by score, stably."""
        return self.take(np.argsort(-self.scores, axis=1, kind="stable"))

    def padded(self, count: int) -> "Candidates":
        """Append missing candidates, so that each query has at least `count` positions."""
        missing = count - self.scores.shape[1]
        if missing <= 0:
            return self
        width = ((0, 0), (0, missing))
        return Candidates(
            np.pad(self.documents, width, constant_values=-1),
            np.pad(self.scores, width, constant_values=-np.inf),
            None if self.sources is None else np.pad(self.sources, width, constant_values=-1),
        )


def nearest(
    queries: NDArray[np.floating], corpus: NDArray[np.floating], count: int, *, metric: "Similarity" = "cosine"
) -> Iterator[Candidates]:
    """Search the corpus exactly for the `count` nearest documents of each query, a block of queries at a time.

    Parameters
    ----------
    queries, corpus
        float32 [queries, width] and [documents, width]; of length 1 for the cosine.
    metric
        "cosine" or "dot" (both the dot product), "euclidean" or "manhattan" (both the negative distance).

    Yields
    ------
    Candidates
        Of `QUERIES_AT_ONCE` queries each, padded to `count`.
    """
    k, order = min(count, len(corpus)), np.arange(len(corpus))
    search: Callable[..., Any]
    if metric in ("euclidean", "manhattan"):
        from pipelines.exact_search.nearest import Nearest

        search = Nearest(metric, corpus, len(queries))
    else:  # One buffer serves all blocks: allocating and freeing 20 MB pieces leaves gaps that add up to gigabytes.
        from pipelines.exact_search.search import ExactSearch

        search = ExactSearch(corpus, min(QUERIES_AT_ONCE, len(queries)), len(queries))
    for low in range(0, len(queries), QUERIES_AT_ONCE):
        yield Candidates(*search(queries[low : low + QUERIES_AT_ONCE], k, order)).padded(count)


def from_hits(hits: Mapping[str, Hits], numbers: Mapping[str, int], count: int) -> Candidates:
    """Concatenate the hits of several retrievers per query, source after source.

    A document that several sources found occurs once for each. Within a source, the first hit of a text counts.

    Parameters
    ----------
    hits
        Hits of the same queries, by source.
    numbers
        Document number of each doc_id.
    count
        Maximum number of hits of each source.
    """
    blocks, scores, sources = [], [], []
    count = min(count, max((int(found.counts.max(initial=0)) for found in hits.values()), default=0))
    for source, source_hits in enumerate(hits.values()):
        block = np.full((len(source_hits), count), -1, dtype=np.int64)
        values = np.full(block.shape, -np.inf, dtype=np.float32)
        top = source_hits.top(count)
        table = np.array([numbers.get(str(doc_id), -1) for doc_id in top.ids], dtype=np.int64)
        rows = top.rows
        columns = np.arange(len(rows)) - top.offsets[rows]
        block[rows, columns] = table[top.codes]
        values[rows, columns] = top.scores
        blocks.append(block)
        scores.append(np.where((block < 0) | repeated(block), np.float32(-np.inf), values))
        sources.append(np.full(block.shape, source, dtype=np.int64))
    return Candidates(np.concatenate(blocks, axis=1), np.concatenate(scores, axis=1), np.concatenate(sources, axis=1))


def repeated(documents: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return where a document already occurs further left in its row."""
    order = np.argsort(documents, axis=1, kind="stable")
    ordered = np.take_along_axis(documents, order, axis=1)
    is_repeated = np.zeros(documents.shape, dtype=np.bool_)
    is_repeated[:, 1:] = ordered[:, 1:] == ordered[:, :-1]
    mask = np.zeros_like(is_repeated)
    np.put_along_axis(mask, order, is_repeated, axis=1)
    return mask
