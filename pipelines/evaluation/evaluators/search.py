"""Exact search for evaluators: the best documents of each query, equal scores ordered by id."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix, issparse

from pipelines.evaluation.evaluators.vectors import Similarity, Vectors, unit

if TYPE_CHECKING:
    import torch

Score: TypeAlias = "Callable[[Any, torch.Tensor], torch.Tensor]"
"""Function that returns the scores of some queries and all documents, in the given memory or in new memory."""

SCORES_AT_ONCE = 1 << 25
"""Largest number of scores in memory: 128 MB."""
COMMON_TERMS = 256
"""Number of the most frequent terms of sparse vectors that are stored in a dense matrix."""
DOCUMENTS_NEAR = 2048
"""Number of documents whose common terms are multiplied together: they fit the processor's cache."""
DENSE_AT_ONCE = 2048
"""Number of sparse documents that are made dense together, for distances."""


def best(
    similarity: Similarity | Callable[[Any, Any], Any],
    queries: Vectors,
    corpus: Vectors,
    ranks: NDArray[np.int64],
    k: int,
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Return the `k` best documents of each query and their scores, both [queries, k].

    Parameters
    ----------
    similarity
        Name, or a function of query and document tensors that returns all scores [queries, documents].
    queries, corpus
        Vectors, both dense or both sparse.
    ranks
        Rank of each document; equal scores are ordered by it, also at the cutoff.
    """
    import torch

    from pipelines.exact_search.search import ExactSearch
    from pipelines.exact_search.top_k import first, room_for_scores

    k = min(k, corpus.shape[0])
    if similarity == "cosine":
        queries, corpus = unit(queries), unit(corpus)
    product = similarity in ("cosine", "dot")
    if product and isinstance(corpus, np.ndarray):
        rows = _rows(queries, corpus, 2)  # The corpus in bfloat16 takes as much memory as the scores.
        return ExactSearch(corpus, rows, queries.shape[0])(np.asarray(queries), k, ranks)
    # A product of sparse vectors uses one core; other scores use all cores by themselves.
    workers = torch.get_num_threads() if product else 1
    score: Score = _sparse(csr_matrix(corpus)) if product else _any(similarity, corpus)
    rows = _rows(queries, corpus, workers)
    memory: SimpleQueue[torch.Tensor] = SimpleQueue()
    for _ in range(workers):
        memory.put(room_for_scores(rows, corpus.shape[0]))
    places = np.empty((queries.shape[0], k), dtype=np.int64)
    scores = np.empty((queries.shape[0], k), dtype=np.float32)

    def search(low: int) -> None:
        some, mine = queries[low : low + rows], memory.get()
        try:
            found = first(score(some, mine[: some.shape[0]]), k, ranks)
        finally:
            memory.put(mine)
        places[low : low + rows], scores[low : low + rows] = found

    with ThreadPoolExecutor(workers) as pool:
        list(pool.map(search, range(0, queries.shape[0], rows)))
    return places, scores


def ranks_of(ids: Sequence[str]) -> NDArray[np.int64]:
    """Return the position of each id in sorted order."""
    ranks = np.empty(len(ids), dtype=np.int64)
    ranks[sorted(range(len(ids)), key=ids.__getitem__)] = np.arange(len(ids))
    return ranks


def _rows(queries: Vectors, corpus: Vectors, workers: int = 1) -> int:
    """Return the number of queries whose scores may be in memory together."""
    return max(1, min(queries.shape[0], SCORES_AT_ONCE // workers // max(1, corpus.shape[0])))


def _sparse(corpus: csr_matrix) -> Score:
    """Return a function that multiplies sparse queries with the corpus.

    Weights of frequent terms are in a dense matrix; for other terms a query reads only the texts that have them.
    """
    import torch

    present = np.bincount(corpus.indices, minlength=corpus.shape[1])
    common, rare = np.split(np.argsort(-present, kind="stable"), [COMMON_TERMS])

    def common_weights(low: int) -> NDArray[np.float32]:
        found: NDArray[np.float32] = corpus[low : low + DOCUMENTS_NEAR][:, common].T.toarray(order="C")
        return found

    with ThreadPoolExecutor(torch.get_num_threads()) as pool:
        rest = pool.submit(lambda: csr_matrix(corpus[:, rare].T))
        frequent = list(pool.map(common_weights, range(0, corpus.shape[0], DOCUMENTS_NEAR)))
        postings: Any = rest.result()

    def score(some: csr_matrix, memory: "torch.Tensor") -> "torch.Tensor":
        scores = memory.numpy()
        weights: Any = some[:, common]
        (some[:, rare] @ postings).toarray(out=scores)
        for number, documents in enumerate(frequent):
            low = number * DOCUMENTS_NEAR
            scores[:, low : low + documents.shape[1]] += weights @ documents
        return memory

    return score


def _any(similarity: Any, corpus: Vectors) -> Score:
    """Return a function that scores queries by a distance or a given function; sparse documents go in blocks."""
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
