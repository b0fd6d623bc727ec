"""Ways to search a FAISS index beyond its own `search`: all ties, among few, around tombstones."""

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from indexing.hits import Hits, StringArray
from indexing.indexes.faiss import storage as faiss_storage

if TYPE_CHECKING:
    import faiss

SCORES_AT_ONCE = 1 << 22
"""Bound on the scores that `scan` computes together."""

Found = tuple[NDArray[np.float32], NDArray[np.int64]]
"""Scores and positions [queries, depth], as FAISS gives them; position -1 is no hit."""


def scan(
    index: "faiss.Index", queries: NDArray[np.float32], places: NDArray[np.int64], k: int, ids: StringArray
) -> Hits:
    """Compare the queries with the vectors at these positions, all of them; `k` is at most their number."""
    size = max(1, SCORES_AT_ONCE // len(places))
    rows, columns, found = [], [], []
    for start in range(0, len(queries), size):
        scores = faiss_storage.scores_at(index, places, queries[start : start + size])
        last = np.partition(scores, len(places) - k, axis=1)[:, len(places) - k]
        row, column = np.nonzero(scores >= last[:, None])
        rows.append(row + start)
        columns.append(column)
        found.append(scores[row, column])
    codes = places[np.concatenate(columns)]
    return Hits.ranked(len(queries), np.concatenate(rows), codes, np.concatenate(found), ids, k)


def search_all_ties(index: "faiss.Index", queries: NDArray[np.float32], k: int, parameters: Any, most: int) -> Found:
    """Search an exact index until no query's k-th score is tied with one left out; there are `most` to be found."""
    depth = min(k + 1, most)
    scores, codes = index.search(queries, depth, params=parameters)
    while depth < most and (open_ties := scores[:, k - 1] == scores[:, -1]).any():
        depth = min(2 * depth, most)
        wider = np.full((len(queries), depth), -np.inf, np.float32)
        wider_codes = np.full((len(queries), depth), -1, np.int64)
        wider[:, : scores.shape[1]], wider_codes[:, : scores.shape[1]] = scores, codes
        wider[open_ties], wider_codes[open_ties] = index.search(queries[open_ties], depth, params=parameters)
        scores, codes = wider, wider_codes
    return scores, codes


def search_past_deleted(index: "faiss.Index", queries: NDArray[np.float32], k: int, alive: NDArray[np.bool_]) -> Found:
    """Search deeper until enough hits of each query are alive: for kinds that take no selector."""
    depth = k
    while True:
        depth = min(2 * depth, len(alive))
        scores, codes = index.search(queries, depth)
        codes[(codes >= 0) & ~alive[codes]] = -1
        if depth == len(alive) or ((codes >= 0).sum(axis=1) >= k).all():
            return scores, codes
