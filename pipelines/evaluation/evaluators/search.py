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
COMMON_TERMS = 256
"""Of sparse vectors, the terms that are multiplied as a dense matrix."""
DENSE_AT_ONCE = 2048
"""Sparse documents that are made dense at a time, for distances."""


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
    in_order = bool((np.diff(order) > 0).all())
    places = np.empty((queries.shape[0], k), dtype=np.int64)
    scores = np.empty((queries.shape[0], k), dtype=np.float32)
    start = 0
    for block in _blocks(similarity, queries, corpus if in_order else corpus[order]):
        found, values = _top(block, k)
        places[start : start + len(found)], scores[start : start + len(found)] = order[found], values
        start += len(found)
    return places, scores


def _blocks(similarity: Any, queries: Vectors, corpus: Vectors) -> "Iterator[torch.Tensor]":
    rows = max(1, SCORES_AT_ONCE // max(1, corpus.shape[0]))
    score = _products(similarity, queries, corpus) if similarity in ("cosine", "dot") else _any(similarity, corpus)
    if similarity == "cosine":
        queries = unit(queries)
    for low in range(0, queries.shape[0], rows):
        yield score(queries[low : low + rows])


def _products(similarity: Similarity, queries: Vectors, corpus: Vectors) -> "Callable[[Any], torch.Tensor]":
    """Give what multiplies queries with the corpus."""
    import torch

    if similarity == "cosine":
        corpus = unit(corpus)
    if not issparse(corpus):
        documents = torch.from_numpy(np.ascontiguousarray(corpus, dtype=np.float32)).T
        return lambda some: torch.from_numpy(np.ascontiguousarray(some, dtype=np.float32)) @ documents
    # Terms that many texts have are a dense product; of the others a query touches only the texts that have them.
    present = np.bincount(corpus.indices, minlength=corpus.shape[1])
    common, rare = np.split(np.argsort(-present, kind="stable"), [COMMON_TERMS])
    frequent = _dense(corpus[:, common]).T
    postings: Any = csr_matrix(corpus[:, rare].T)

    def score(some: csr_matrix) -> "torch.Tensor":
        scores = _dense(some[:, common]) @ frequent
        found: Any = some[:, rare] @ postings
        flat = np.repeat(np.arange(found.shape[0]) * found.shape[1], np.diff(found.indptr)) + found.indices
        scores.numpy().reshape(-1)[flat] += found.data
        return scores

    return score


def _any(similarity: Any, corpus: Vectors) -> "Callable[[Any], torch.Tensor]":
    """Give what scores queries by a distance or a function of one's own, some documents at a time when sparse."""
    import torch

    def score(some: Any) -> "torch.Tensor":
        asked = _dense(some)
        parts = []
        step = DENSE_AT_ONCE if issparse(corpus) else max(1, corpus.shape[0])
        for low in range(0, corpus.shape[0], step):
            documents = _dense(corpus[low : low + step])
            if callable(similarity):
                parts.append(torch.as_tensor(similarity(asked, documents)).float())
            else:
                parts.append(-torch.cdist(asked, documents, p=2.0 if similarity == "euclidean" else 1.0))
        return torch.cat(parts, dim=1)

    return score


def _dense(vectors: Any) -> "torch.Tensor":
    import torch

    array: Any = vectors
    return torch.from_numpy(array.toarray() if issparse(vectors) else np.ascontiguousarray(array))


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
