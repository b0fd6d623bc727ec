"""Searches beyond FAISS's own: by scanning some positions, with all ties at rank k, and past deleted vectors."""

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from indexing.hits import Hits, StringArray
from indexing.indexes.faiss import storage as faiss_storage

if TYPE_CHECKING:
    import faiss

SCORES_AT_ONCE = 1 << 22
"""Maximum number of scores that `scan` computes at once."""

ScoredPositions = tuple[NDArray[np.float32], NDArray[np.int64]]
"""Scores and positions [queries, depth], as FAISS returns them; position -1 means no hit."""


def scan(
    read: faiss_storage.Read, queries: NDArray[np.float32], positions: NDArray[np.int64], k: int, ids: StringArray
) -> Hits:
    """Compare the queries with every vector at these positions; `k` is at most their number."""
    size = max(1, SCORES_AT_ONCE // len(positions))
    rows, columns, top_scores = [], [], []
    for start in range(0, len(queries), size):
        scores = faiss_storage.scores_at(read, positions, queries[start : start + size])
        kth = np.partition(scores, len(positions) - k, axis=1)[:, len(positions) - k]
        row, column = np.nonzero(scores >= kth[:, None])
        rows.append(row + start)
        columns.append(column)
        top_scores.append(scores[row, column])
    codes = positions[np.concatenate(columns)]
    return Hits.ranked(len(queries), np.concatenate(rows), codes, np.concatenate(top_scores), ids, k)


def search_part(
    index: Any,
    queries: NDArray[np.float32],
    k: int,
    mask: NDArray[np.bool_] | None,
    parameters: Callable[[int], Any],
    *,
    exact: bool,
    past: bool,
) -> ScoredPositions:
    """Search one index for the best `k` among the positions of a mask (None: all).

    Parameters
    ----------
    index, queries
        FAISS's index, or what searches like one.
    k
        At least 1.
    mask
        The positions that may be found.
    parameters
        Return FAISS's search parameters for a depth, with a selector of the mask; None if the index takes none.
    exact
        The index compares every vector: ties at rank `k` are resolved.
    past
        Search past other positions, without the selector.
    """
    matching = int(index.ntotal if mask is None else np.count_nonzero(mask))
    k = min(k, matching)
    if not k:
        return np.zeros((len(queries), 0), np.float32), np.zeros((len(queries), 0), np.int64)
    if past and mask is not None:
        return search_past_deleted(index, queries, k, mask, ties=exact)
    chosen = parameters(k)
    if exact:
        return search_all_ties(index, queries, k, chosen, matching)
    if mask is not None and chosen is None:
        return search_past_deleted(index, queries, k, mask)
    scores, codes = index.search(queries, k, params=chosen)
    return scores, codes


def search_all_ties(
    index: "faiss.Index", queries: NDArray[np.float32], k: int, parameters: Any, searchable: int
) -> ScoredPositions:
    """Search an exact index until each result contains all ties of the k-th score; `searchable` vectors can match."""
    depth = min(k + 1, searchable)
    scores, codes = index.search(queries, depth, params=parameters)
    while depth < searchable and (open_ties := scores[:, k - 1] == scores[:, -1]).any():
        depth = min(2 * depth, searchable)
        wider = np.full((len(queries), depth), -np.inf, np.float32)
        wider_codes = np.full((len(queries), depth), -1, np.int64)
        wider[:, : scores.shape[1]], wider_codes[:, : scores.shape[1]] = scores, codes
        wider[open_ties], wider_codes[open_ties] = index.search(queries[open_ties], depth, params=parameters)
        scores, codes = wider, wider_codes
    return scores, codes


def search_past_deleted(
    index: "faiss.Index", queries: NDArray[np.float32], k: int, alive: NDArray[np.bool_], *, ties: bool = False
) -> ScoredPositions:
    """Search deeper until each query has `k` hits that are not deleted, and with `ties` all ties of the k-th score.

    For kinds that take no selector, and for many queries at once, which FAISS compares faster without one.
    """
    living = int(np.count_nonzero(alive))
    depth = k + 1 + 2 * math.ceil((k + 1) * (len(alive) - living) / living)
    while True:
        depth = min(2 * depth, len(alive))
        scores, codes = index.search(queries, depth)
        last = scores[:, -1].copy()
        codes[(codes >= 0) & ~alive[np.maximum(codes, 0)]] = -1
        if depth == len(alive):
            return scores, codes
        found = codes >= 0
        enough = found.sum(axis=1) >= k
        if ties and enough.all():
            # Scores descend: the k-th living one stands where as many living ones have been counted.
            kth = np.argmax(np.cumsum(found, axis=1) >= k, axis=1)
            enough &= scores[np.arange(len(scores)), kth] > last
        if enough.all():
            return scores, codes
