"""Search in segments of token vectors: candidates by centroids, then full scores."""

from collections.abc import Callable, Iterator, Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from indexing.indexes.tokens.codebook import Codebook
from indexing.indexes.tokens.segment import Segment
from indexing.max_sim import query_sums
from indexing.token_vectors import TokenVectors

QUERY_VECTORS = 1024
"""Query vectors that are compared with all documents together."""
SHORTLIST = 8
"""Documents compared by the centroids of all their vectors, for each one whose full score is computed."""
_FOUND = np.float32(1e-6)
"""Least gain of a document of a probed centroid: it distinguishes found documents from others."""

Maxima: TypeAlias = "Callable[[NDArray[np.float32], NDArray[np.int64]], NDArray[np.float32]]"
"""Return each query vector's largest inner product with the vectors of documents at ascending positions."""


def maxima_of(
    query: NDArray[np.float32], positions: NDArray[np.int64], segments: Sequence[Segment], book: Codebook | None
) -> NDArray[np.float32]:
    """Return `Maxima` over the vectors that the segments keep, float32 [positions, query vectors]."""
    centroid_scores = None if book is None else book.centroids @ query.T
    best = np.zeros((len(positions), len(query)), np.float32)
    for segment, part, documents in _by_segment(segments, positions):
        best[part] = segment.maxima(query, centroid_scores, documents, book)
    return best


def score_all(
    queries: TokenVectors, positions: NDArray[np.int64], maxima: Maxima
) -> Iterator[tuple[int, NDArray[np.float32]]]:
    """Yield (number of the first query, scores [queries, positions]) for blocks of queries."""
    count = max(1, QUERY_VECTORS // max(1, int(queries.lengths.max(initial=1))))
    for first in range(0, queries.texts, count):
        block = queries.slice(first, min(first + count, queries.texts))
        yield first, query_sums(maxima(block.vectors, positions), block.offsets)


def find_candidates(
    centroid_scores: NDArray[np.float32],
    segments: Sequence[Segment],
    nprobe: int,
    count: int,
    allowed: NDArray[np.bool_],
) -> NDArray[np.int64]:
    """Return the positions of the documents that look best by their centroids, ascending.

    A query vector finds the documents of its `nprobe` best centroids; for other documents the score of the last of
    these centroids stands in, as Lee et al. do in XTR (2023). The best of these are compared by the centroids of all
    their vectors, as Santhanam et al. do in PLAID (2022).

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
    positions, sums = _probe(centroid_scores, segments, nprobe, allowed)
    positions = _best(positions, sums, SHORTLIST * count)
    if len(positions) > count:
        positions = _best(positions, _centroid_sums(centroid_scores, segments, positions), count)
    return positions


def decoded(
    positions: NDArray[np.int64], segments: Sequence[Segment], book: Codebook | None
) -> list[NDArray[np.float32]]:
    """Return the vectors of each of these documents that the segments keep, in float32."""
    starts = np.cumsum([0, *(segment.documents for segment in segments)])
    owners = np.searchsorted(starts, positions, side="right") - 1
    return [
        segments[owner].one(place - int(starts[owner]), book)
        for owner, place in zip(owners.tolist(), positions.tolist(), strict=True)
    ]


def _best(positions: NDArray[np.int64], sums: NDArray[np.number], count: int) -> NDArray[np.int64]:
    """Return the `count` positions with the largest sums, ascending."""
    if len(positions) <= count:
        return positions
    return np.sort(positions[np.argpartition(sums, len(sums) - count)[-count:]])


def _probe(
    centroid_scores: NDArray[np.float32], segments: Sequence[Segment], nprobe: int, allowed: NDArray[np.bool_]
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Return the positions of the documents of the best centroids, with their sums of gains by these."""
    nprobe = min(nprobe, len(centroid_scores))
    probed = np.argpartition(centroid_scores, len(centroid_scores) - nprobe, axis=0)[-nprobe:]
    values = np.take_along_axis(centroid_scores, probed, axis=0)
    order = np.argsort(values, axis=0)
    probed, values = np.take_along_axis(probed, order, axis=0), np.take_along_axis(values, order, axis=0)
    gains = values - values[0] + _FOUND
    found: list[NDArray[np.int64]] = []
    totals: list[NDArray[np.float32]] = []
    start = 0
    for segment in segments:
        total, gain = np.zeros(segment.documents, np.float32), np.zeros(segment.documents, np.float32)
        for token in range(probed.shape[1]):
            # In ascending order of the centroids' scores: a document's last assignment is its best one.
            for code, value in zip(probed[:, token].tolist(), gains[:, token].tolist(), strict=True):
                gain[segment.lists[segment.starts[code] : segment.starts[code + 1]]] = value
            # Whole arrays: adding up only what was found would read and write it in random order twice more.
            total += gain
            gain.fill(0)
        seen = np.flatnonzero((total > 0) & allowed[start : start + segment.documents])
        found.append(seen + start)
        totals.append(total[seen])
        start += segment.documents
    return np.concatenate(found), np.concatenate(totals)


def _centroid_sums(
    centroid_scores: NDArray[np.float32], segments: Sequence[Segment], positions: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Return MaxSim over the centroids of all vectors of each document, in steps of an eight-bit scale.

    A row of the table is one complex number for 16 query vectors, which NumPy copies and compares at once.
    """
    table = _eight_bits(centroid_scores)
    sums = np.zeros(len(positions), np.int64)
    for segment, part, documents in _by_segment(segments, positions):
        begins = segment.offsets[documents]
        lengths = segment.offsets[documents + 1] - begins
        # Longest first: the documents that have a vector at a place are the first ones.
        order = np.argsort(-lengths)
        begins, lengths = begins[order], lengths[order]
        best = np.zeros((len(documents), table.shape[1] * 16), np.uint8)
        counts = np.searchsorted(-lengths, -np.arange(lengths[0]))
        for place, count in enumerate(counts.tolist()):
            rows = table.take(segment.codes[begins[:count] + place], axis=0)
            np.maximum(best[:count], rows.view(np.uint8).reshape(count, -1), out=best[:count])
        sums[part.start + order] = best.sum(axis=1, dtype=np.int64)
    return sums


def _by_segment(
    segments: Sequence[Segment], positions: NDArray[np.int64]
) -> Iterator[tuple[Segment, slice, NDArray[np.int64]]]:
    """Yield each segment with the part of ascending `positions` that lies in it, counted from its first document."""
    start = 0
    for segment in segments:
        low, high = np.searchsorted(positions, [start, start + segment.documents]).tolist()
        if low < high:
            yield segment, slice(low, high), positions[low:high] - start
        start += segment.documents


def _eight_bits(centroid_scores: NDArray[np.float32]) -> NDArray[np.complex128]:
    """Return the scores in 255 steps from each query vector's mean to its largest, [centroids, query vectors / 16]."""
    count, width = centroid_scores.shape
    above = centroid_scores - centroid_scores.mean(axis=0)
    step = max(float(above.max(initial=0.0)), 1e-12) / 255
    table = np.zeros((count, -(-max(width, 1) // 16) * 16), np.uint8)
    table[:, :width] = np.clip(np.rint(above / step), 0, 255)
    return table.view(np.complex128)
