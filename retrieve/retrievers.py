"""Retrievers: text in, ranked documents out. One for each kind of leg."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol, overload

from indexing.errors import InputError
from indexing.hits import Hits, Ranking

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from scipy.sparse import csr_matrix

    from indexing.bm25_index import Bm25Index
    from indexing.impact_index import ImpactIndex
    from retrieve.encoders import DenseEncoder, SparseEncoder


class Retriever(ABC):
    """Anything that finds: one query gives one `Ranking`, several give `Hits`.

    Parameters
    ----------
    name
        What a hit's provenance calls this retriever.
    """

    def __init__(self, name: str) -> None:
        self.name = name

    @overload
    def search(self, queries: str, k: int = 10) -> Ranking: ...  # type: ignore[overload-overlap]  # str: Sequence[str]
    @overload
    def search(self, queries: Sequence[str], k: int = 10) -> Hits: ...
    def search(self, queries: str | Sequence[str], k: int = 10) -> Ranking | Hits:
        """Find the `k` best documents for one query or for each of several.

        Returns
        -------
        Ranking or Hits
            Score descending, then doc_id ascending; a `Ranking` for a single string.

        Raises
        ------
        InputError
            When `k` is below 1 or a query is not a string.
        """
        if k < 1:
            raise InputError(f"k must be at least 1, not {k}")
        if isinstance(queries, str):
            return self._search([queries], k)[0]
        wrong = next((place for place, query in enumerate(queries) if not isinstance(query, str)), None)
        if wrong is not None:
            raise InputError(f"query number {wrong} is not a string but {queries[wrong]!r}")
        return self._search(queries, k) if len(queries) else Hits.empty(0)

    @abstractmethod
    def _search(self, queries: Sequence[str], k: int) -> Hits: ...


class VectorIndex(Protocol):
    """What `DenseRetriever` needs of an index."""

    def search(self, vectors: "NDArray[np.floating]", k: int) -> Hits:
        """Find the `k` best of each row."""


class DenseRetriever(Retriever):
    """Dense retrieval: the query's vector against an index of document vectors."""

    def __init__(self, encoder: "DenseEncoder", index: VectorIndex, *, name: str = "dense") -> None:
        super().__init__(name)
        self.encoder, self.index = encoder, index

    def _search(self, queries: Sequence[str], k: int) -> Hits:
        return self.index.search(self.encoder.encode_query(queries), k)


class SparseRetriever(Retriever):
    """Learned sparse retrieval (SPLADE): the query's term weights against an impact index."""

    def __init__(self, encoder: "SparseEncoder", index: "ImpactIndex", *, name: str = "sparse") -> None:
        super().__init__(name)
        self.encoder, self.index = encoder, index

    def _search(self, queries: Sequence[str], k: int) -> Hits:
        weights: csr_matrix = self.encoder.encode_query(queries)
        return self.index.search(weights, k)


class Bm25Retriever(Retriever):
    """BM25 (Robertson and Zaragoza 2009, Lucene's variant) over the words of title and text."""

    def __init__(self, index: "Bm25Index", *, name: str = "bm25") -> None:
        super().__init__(name)
        self.index = index

    def _search(self, queries: Sequence[str], k: int) -> Hits:
        return self.index.search(queries, k)
