"""Search in segments of token vectors: candidates by centroids, then full scores."""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from indexing.indexes.tokens.codebook import Codebook
from indexing.indexes.tokens.segment import Segment
from indexing.max_sim import query_sums
from indexing.token_vectors import TokenVectors

QUERY_VECTORS = 1024
"""Query vectors that are compared with all documents together."""


def score_all(
    queries: TokenVectors, segments: Sequence[Segment], book: Codebook | None
) -> Iterator[tuple[int, NDArray[np.float32]]]:
    """Yield (number of the first query, scores of all documents [queries, documents]) for blocks of queries."""
    count = max(1, QUERY_VECTORS // max(1, int(queries.lengths.max(initial=1))))
    for first in range(0, queries.texts, count):
        block = queries.slice(first, min(first + count, queries.texts))
        centroid_scores = None if book is None else book.centroids @ block.vectors.T
        parts = []
        for segment in segments:
            best = segment.maxima(block.vectors, centroid_scores, np.arange(segment.documents), book)
            parts.append(query_sums(best, block.offsets))
        yield first, np.concatenate(parts, axis=1) if parts else np.zeros((block.texts, 0), np.float32)


def score_some(
    query: NDArray[np.float32],
    segments: Sequence[Segment],
    book: Codebook | None,
    positions: NDArray[np.int64],
    centroid_scores: NDArray[np.float32] | None = None,
) -> NDArray[np.float32]:
    """Return the scores of one query with the documents at ascending `positions`, float32 [positions]."""
    if centroid_scores is None and book is not None:
        centroid_scores = book.centroids @ query.T
    scores = np.zeros(len(positions), np.float32)
    start = 0
    for segment in segments:
        low, high = np.searchsorted(positions, [start, start + segment.documents])
        if low < high:
            best = segment.maxima(query, centroid_scores, positions[low:high] - start, book)
            scores[low:high] = best.sum(axis=1)
        start += segment.documents
    return scores


def find_candidates(
    centroid_scores: NDArray[np.float32],
    segments: Sequence[Segment],
    nprobe: int,
    count: int,
    allowed: NDArray[np.bool_],
) -> NDArray[np.int64]:
    """Return the positions of the documents that look best by their centroids, ascending.

    A query vector finds the documents of its `nprobe` best centroids; for other documents the score of the last of
    these centroids stands in, as Lee et al. do in XTR (2023).

    Parameters
    ----------
    centroid_scores
        float32 [centroids, query vectors].
    segments
        All segments.
    nprobe, count
        Numbers of centroids and of documents.
    allowed
        bool [documents], the documents that may be returned.
    """
    nprobe = min(nprobe, len(centroid_scores))
    probed = np.argpartition(-centroid_scores, nprobe - 1, axis=0)[:nprobe]
    values = np.take_along_axis(centroid_scores, probed, axis=0)
    order = np.argsort(values, axis=0)
    probed, values = np.take_along_axis(probed, order, axis=0), np.take_along_axis(values, order, axis=0)
    gains = values - values[0]
    found: list[NDArray[np.int64]] = []
    totals: list[NDArray[np.float32]] = []
    start = 0
    for segment in segments:
        total = np.zeros(segment.documents, np.float32)
        seen = np.zeros(segment.documents, bool)
        last = np.zeros(segment.documents, np.int64)
        for token in range(probed.shape[1]):
            lists = [segment.lists[segment.starts[code] : segment.starts[code + 1]] for code in probed[:, token]]
            documents = np.concatenate(lists)
            # In ascending order of the centroids' scores, so a document's last place has its best one.
            last[documents] = places = np.arange(len(documents))
            best = last[documents] == places
            seen[documents] = True
            total[documents[best]] += np.repeat(gains[:, token], list(map(len, lists)))[best]
        seen &= allowed[start : start + segment.documents]
        found.append(np.flatnonzero(seen) + start)
        totals.append(total[seen])
        start += segment.documents
    positions, sums = np.concatenate(found), np.concatenate(totals)
    if len(positions) > count:
        positions = np.sort(positions[np.argpartition(-sums, count - 1)[:count]])
    return positions
