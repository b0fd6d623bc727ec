"""Exact search by any similarity, dense or sparse: the best documents of each query, equal scores ordered by rank."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix, issparse

from retrieve.encoders.similarity import Similarity, Vectors, dense_rows, unit

if TYPE_CHECKING:
    import torch

    from pipelines.exact_search.search import Found

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


class Nearest:
    """Exact search of a corpus of vectors by any similarity.

    Parameters
    ----------
    similarity
        Name, or a function of query and document tensors that returns all scores [queries, documents].
    corpus
        Vectors, dense or sparse.
    queries
        Total number of queries to expect.
    """

    def __init__(self, similarity: Similarity | Callable[[Any, Any], Any], corpus: Vectors, queries: int) -> None:
        import torch

        self._cosine = similarity == "cosine"
        corpus = unit(corpus) if self._cosine else corpus
        product = similarity in ("cosine", "dot")
        self._documents = corpus.shape[0]
        self._dense: Callable[..., Found] | None = None
        if product and isinstance(corpus, np.ndarray):
            from pipelines.exact_search.search import ExactSearch

            # The corpus in bfloat16 takes as much memory as the scores.
            self._dense = ExactSearch(corpus, _rows(queries, self._documents, 2), queries)
            return
        # A product of sparse vectors uses one core; other scores use all cores by themselves.
        self._workers = torch.get_num_threads() if product else 1
        self._score = _sparse(csr_matrix(corpus)) if product else _any(similarity, corpus)
        self._room: list[torch.Tensor] = []

    def __call__(self, queries: Vectors, k: int, ranks: NDArray[np.int64]) -> "Found":
        """Return the `k` best documents of each query and their scores, both [queries, k].

        Parameters
        ----------
        queries
            Vectors, dense or sparse as the corpus.
        k
            Number of documents, at most all.
        ranks
            Rank of each document; equal scores are ordered by it, also at the cutoff.
        """
        queries, k = unit(queries) if self._cosine else queries, min(k, self._documents)
        if self._dense is not None:
            return self._dense(np.asarray(queries), k, ranks)
        from pipelines.exact_search.top_k import first, room_for_scores

        count = queries.shape[0]
        rows = _rows(count, self._documents, self._workers)
        if not self._room or len(self._room[0]) < rows:
            self._room = [room_for_scores(rows, self._documents) for _ in range(self._workers)]
        places = np.empty((count, k), dtype=np.int64)
        scores = np.empty((count, k), dtype=np.float32)
        memory: SimpleQueue[torch.Tensor] = SimpleQueue()
        for room in self._room:
            memory.put(room)

        def search(low: int) -> None:
            some, mine = queries[low : low + rows], memory.get()
            try:
                found = first(self._score(some, mine[: some.shape[0]]), k, ranks)
            finally:
                memory.put(mine)
            places[low : low + rows], scores[low : low + rows] = found

        with ThreadPoolExecutor(self._workers) as pool:
            list(pool.map(search, range(0, count, rows)))
        return places, scores


def best(
    similarity: Similarity | Callable[[Any, Any], Any],
    queries: Vectors,
    corpus: Vectors,
    ranks: NDArray[np.int64],
    k: int,
) -> "Found":
    """Return the `k` best documents of each query and their scores, both [queries, k]: one search by `Nearest`."""
    return Nearest(similarity, corpus, queries.shape[0])(queries, k, ranks)


def ranks_of(ids: Sequence[str]) -> NDArray[np.int64]:
    """Return the position of each id in sorted order."""
    ranks = np.empty(len(ids), dtype=np.int64)
    ranks[sorted(range(len(ids)), key=ids.__getitem__)] = np.arange(len(ids))
    return ranks


def _rows(queries: int, documents: int, workers: int) -> int:
    """Return the number of queries whose scores may be in memory together."""
    return max(1, min(queries, SCORES_AT_ONCE // workers // max(1, documents)))


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

    return torch.from_numpy(dense_rows(vectors))
