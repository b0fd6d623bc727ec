"""Searches beyond FAISS's own: by scanning some positions, with all ties at rank k, and past deleted vectors."""

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
    index: "faiss.Index", queries: NDArray[np.float32], positions: NDArray[np.int64], k: int, ids: StringArray
) -> Hits:
    """Compare the queries with every vector at these positions; `k` is at most their number."""
    size = max(1, SCORES_AT_ONCE // len(positions))
    rows, columns, top_scores = [], [], []
    for start in range(0, len(queries), size):
        scores = faiss_storage.scores_at(index, positions, queries[start : start + size])
        kth = np.partition(scores, len(positions) - k, axis=1)[:, len(positions) - k]
        row, column = np.nonzero(scores >= kth[:, None])
        rows.append(row + start)
        columns.append(column)
        top_scores.append(scores[row, column])
    codes = positions[np.concatenate(columns)]
    return Hits.ranked(len(queries), np.concatenate(rows), codes, np.concatenate(top_scores), ids, k)


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
    index: "faiss.Index", queries: NDArray[np.float32], k: int, alive: NDArray[np.bool_]
) -> ScoredPositions:
    """Search deeper until each query has `k` hits that are not deleted, for kinds that take no selector."""
    depth = k
    while True:
        depth = min(2 * depth, len(alive))
        scores, codes = index.search(queries, depth)
        codes[(codes >= 0) & ~alive[codes]] = -1
        if depth == len(alive) or ((codes >= 0).sum(axis=1) >= k).all():
            return scores, codes
