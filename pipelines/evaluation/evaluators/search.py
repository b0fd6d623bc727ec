"""Exact search for evaluators: the best documents of each query, equal scores in the order of their ids."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix, issparse

from pipelines.evaluation.evaluators.vectors import Similarity, Vectors, unit
from pipelines.highest import highest, room_for_scores

if TYPE_CHECKING:
    import torch

Score: TypeAlias = "Callable[[Any, torch.Tensor], torch.Tensor]"
"""Gives the scores of some queries and all documents, in the memory given or in new."""

SCORES_AT_ONCE = 1 << 25
"""The most scores that stand in memory at a time: 128 MB."""
COMMON_TERMS = 256
"""Of sparse vectors, the terms whose weights stand in a dense matrix."""
DOCUMENTS_NEAR = 1024
"""Documents whose weights of the common terms are multiplied at a time: they fit the processor's cache."""
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
    import torch

    k = min(k, corpus.shape[0])
    ranks = np.empty(len(ids), dtype=np.int64)
    ranks[sorted(range(len(ids)), key=ids.__getitem__)] = np.arange(len(ids))
    places = np.empty((queries.shape[0], k), dtype=np.int64)
    scores = np.empty((queries.shape[0], k), dtype=np.float32)
    if similarity == "cosine":
        queries, corpus = unit(queries), unit(corpus)
    score: Score = _any(similarity, corpus)
    workers = 1  # Dense products run on all cores by themselves.
    if similarity in ("cosine", "dot"):
        score, workers = (_sparse(corpus), torch.get_num_threads()) if issparse(corpus) else (_dense(corpus), 1)
    rows = max(1, SCORES_AT_ONCE // workers // max(1, corpus.shape[0]))
    memory: SimpleQueue[torch.Tensor] = SimpleQueue()
    for _ in range(workers):
        memory.put(room_for_scores(min(rows, queries.shape[0]), corpus.shape[0]))

    def search(low: int) -> None:
        some, mine = queries[low : low + rows], memory.get()
        try:
            found = _top(score(some, mine[: some.shape[0]]), k, ranks)
        finally:
            memory.put(mine)
        places[low : low + rows], scores[low : low + rows] = found

    with ThreadPoolExecutor(workers) as pool:
        list(pool.map(search, range(0, queries.shape[0], rows)))
    return places, scores


def _dense(corpus: NDArray[np.float32]) -> Score:
    """Give what multiplies dense queries with the corpus."""
    import torch

    documents = _tensor(corpus).T
    return lambda some, memory: torch.mm(_tensor(some), documents, out=memory)


def _sparse(corpus: csr_matrix) -> Score:
    """Give what multiplies sparse queries with the corpus.

    Weights of terms that many texts have stand in a dense matrix, whose rows are added up; of the other terms a query
    touches only the texts that have them.
    """
    import torch

    present = np.bincount(corpus.indices, minlength=corpus.shape[1])
    common, rare = np.split(np.argsort(-present, kind="stable"), [COMMON_TERMS])

    def near(low: int) -> NDArray[np.float32]:
        return np.ascontiguousarray(corpus[low : low + DOCUMENTS_NEAR][:, common].toarray().T, dtype=np.float32)

    with ThreadPoolExecutor(torch.get_num_threads()) as pool:
        frequent = list(pool.map(near, range(0, corpus.shape[0], DOCUMENTS_NEAR)))
    postings: Any = csr_matrix(corpus[:, rare].T)

    def score(some: csr_matrix, memory: "torch.Tensor") -> "torch.Tensor":
        scores = memory.numpy()
        (some[:, rare] @ postings).toarray(out=scores)
        weights: Any = some[:, common]
        for number, documents in enumerate(frequent):
            low = number * DOCUMENTS_NEAR
            scores[:, low : low + documents.shape[1]] += weights @ documents
        return memory

    return score


def _any(similarity: Any, corpus: Vectors) -> Score:
    """Give what scores queries by a distance or a function of one's own, some documents at a time when sparse."""
    import torch

    def score(some: Any, memory: "torch.Tensor") -> "torch.Tensor":
        asked = _tensor(some)
        parts = []
        step = DENSE_AT_ONCE if issparse(corpus) else max(1, corpus.shape[0])
        for low in range(0, corpus.shape[0], step):
            documents = _tensor(corpus[low : low + step])
            if callable(similarity):
                parts.append(torch.as_tensor(similarity(asked, documents)).float())
            else:
                parts.append(-torch.cdist(asked, documents, p=2.0 if similarity == "euclidean" else 1.0))
        return torch.cat(parts, dim=1)

    return score


def _tensor(vectors: Any) -> "torch.Tensor":
    import torch

    array: Any = vectors
    if issparse(vectors):
        array = array.toarray()
    return torch.from_numpy(np.ascontiguousarray(array, dtype=np.float32))


def _top(scores: "torch.Tensor", k: int, ranks: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Give the places and the values of the `k` highest of each row; of equal ones, those of the lowest ranks."""
    # One more than asked for shows whether the cutoff falls among equal scores.
    values, places = (found.numpy() for found in highest(scores, min(k + 1, scores.shape[1])))
    if values.shape[1] > k:
        for row in np.flatnonzero(values[:, k] == values[:, k - 1]):
            above = int((values[row] > values[row, k]).sum())
            equal = np.flatnonzero(scores[row].numpy() == values[row, k])
            places[row, above:k] = equal[np.argpartition(ranks[equal], k - above - 1)[: k - above]]
        values, places = values[:, :k], places[:, :k]
    order = np.lexsort((ranks[places], -values), axis=1)
    return np.take_along_axis(places, order, axis=1), np.take_along_axis(values, order, axis=1)
