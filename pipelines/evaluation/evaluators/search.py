"""Exact search for evaluators: the best documents of each query, equal scores in the order of their ids."""

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix, issparse

from pipelines.evaluation.evaluators.vectors import Similarity, Vectors, unit

if TYPE_CHECKING:
    import torch

SCORES_AT_ONCE = 1 << 25
"""The most scores that stand in memory at a time: 128 MB."""


def best(
    similarity: Similarity | Callable[[Any, Any], Any], queries: Vectors, corpus: Vectors, ids: Sequence[str], k: int
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Give the `k` best documents of each query and their scores, both [queries, k].

    Parameters
    ----------
    similarity
        By name, or a function of query and document tensors that gives all scores [queries, documents].
    queries, corpus
        Vectors of one kind.
    ids
        Of the documents; equal scores stand in their order, at the cutoff too.
    """
    k = min(k, corpus.shape[0])
    order = np.array(sorted(range(len(ids)), key=ids.__getitem__), dtype=np.int64)
    places = np.empty((queries.shape[0], k), dtype=np.int64)
    scores = np.empty((queries.shape[0], k), dtype=np.float32)
    start = 0
    for block in _blocks(similarity, queries, corpus[order]):
        found, values = _top(block, k)
        places[start : start + len(found)], scores[start : start + len(found)] = order[found], values
        start += len(found)
    return places, scores


def _blocks(similarity: Any, queries: Vectors, corpus: Vectors) -> "Iterator[torch.Tensor]":
    import torch

    rows = max(1, SCORES_AT_ONCE // max(1, corpus.shape[0]))
    starts = range(0, queries.shape[0], rows)
    if similarity in ("cosine", "dot") and issparse(corpus):
        if similarity == "cosine":
            queries, corpus = unit(queries), unit(corpus)
        # Rows of terms: a query touches only those of its own.
        terms: Any = csr_matrix(corpus.T)
        sides: Any = queries
        for low in starts:
            yield torch.from_numpy((sides[low : low + rows] @ terms).toarray())
        return
    if similarity in ("cosine", "dot"):
        if similarity == "cosine":
            queries, corpus = unit(queries), unit(corpus)
        left, right = (torch.from_numpy(np.ascontiguousarray(side, dtype=np.float32)) for side in (queries, corpus))
        for low in starts:
            yield left[low : low + rows] @ right.T
        return
    dense = [side.toarray() if issparse(side) else np.ascontiguousarray(side) for side in (queries, corpus)]
    left, right = map(torch.from_numpy, dense)
    for low in starts:
        some = left[low : low + rows]
        if callable(similarity):
            yield torch.as_tensor(similarity(some, right)).float()
        else:
            yield -torch.cdist(some, right, p=2.0 if similarity == "euclidean" else 1.0)


def _top(scores: "torch.Tensor", k: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    import torch

    # One more than asked for shows whether the cutoff falls among equal scores.
    values, places = torch.topk(scores, min(k + 1, scores.shape[1]), dim=1)
    if values.shape[1] > k:
        for row in torch.nonzero(values[:, k] == values[:, k - 1]).flatten().tolist():
            first = torch.argsort(scores[row], descending=True, stable=True)[:k]
            places[row, :k], values[row, :k] = first, scores[row, first]
        values, places = values[:, :k], places[:, :k]
    by_place = torch.argsort(places, dim=1)
    values, places = values.gather(1, by_place), places.gather(1, by_place)
    order = torch.argsort(values, dim=1, descending=True, stable=True)
    return places.gather(1, order).numpy(), values.gather(1, order).numpy()
