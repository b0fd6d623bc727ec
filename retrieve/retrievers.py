"""Retrievers: text in, ranked documents out. One for each kind of leg."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol, overload

from indexing.errors import InputError
from indexing.hits import Hits, Ranking
from retrieve.trace import Trace

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from scipy.sparse import csr_matrix

    from indexing.indexes.lucene.bm25 import Bm25Index
    from indexing.indexes.lucene.impact import ImpactIndex
    from retrieve.encoders import DenseEncoder, SparseEncoder

Terms = tuple[tuple[str, float], ...]
"""The query's terms that a document has, each with what it adds to the score, the largest first."""


class Retriever(ABC):
    """Anything that finds: one query gives one `Ranking`, several give `Hits`.

    A subclass says how queries are encoded (`encode`: as they are, unless it says otherwise) and how the encoded ones
    are searched for (`_search`).

    Parameters
    ----------
    name
        What a hit's provenance calls this retriever.

    Attributes
    ----------
    encoder
        What encodes its queries, if anything does: retrievers with the same one may share what it gives.
    score_kind
        Scale of its scores, as `default_fusion` names it: ``"bm25"``, ``"cosine"``, or ``"other"``.
    """

    encoder: Any = None
    score_kind: str = "other"

    def __init__(self, name: str) -> None:
        self.name = name

    @overload
    def search(  # type: ignore[overload-overlap]  # a str is a Sequence[str]
        self, queries: str, k: int = 10, *, filter: Any = None, trace: Trace | None = None
    ) -> Ranking: ...
    @overload
    def search(
        self, queries: Sequence[str], k: int = 10, *, filter: Any = None, trace: Trace | None = None
    ) -> Hits: ...
    def search(
        self,
        queries: str | Sequence[str],
        k: int = 10,
        *,
        filter: Any = None,
        trace: Trace | None = None,
    ) -> Ranking | Hits:
        """Find the `k` best documents for one query or for each of several.

        Parameters
        ----------
        filter
            Only documents that it lets through; handed to the index as it is.
        trace
            Is told what took how long.

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
        trace = trace or Trace()
        if isinstance(queries, str):
            return self._run([queries], k, filter, trace)[0]
        wrong = next((place for place, query in enumerate(queries) if not isinstance(query, str)), None)
        if wrong is not None:
            raise InputError(f"query number {wrong} is not a string but {queries[wrong]!r}")
        return self._run(queries, k, filter, trace) if len(queries) else Hits.empty(0)

    def encode(self, queries: Sequence[str]) -> Any:
        """Give the queries as the index takes them."""
        return queries

    def find(self, encoded: Any, k: int, filter: Any = None) -> Hits:
        """Search for queries that `encode` made."""
        return self._search(encoded, k) if filter is None else self._search(encoded, k, filter)

    def score(self, encoded: Any, doc_ids: Sequence[Sequence[str]]) -> "NDArray[np.floating]":
        """Score given candidates: for encoded query ``i`` the documents ``doc_ids[i]``; float [all candidates].

        Raises
        ------
        InputError
            When its index cannot.
        """
        score = getattr(getattr(self, "index", None), "score", None)
        if score is None:
            raise InputError(
                f"the leg {self.name!r} cannot score given documents: use a fusion without missing='score'"
            )
        scores: NDArray[np.floating] = score(encoded, doc_ids)
        return scores

    def terms(self, queries: Sequence[str], hits: Hits) -> list[Terms] | None:
        """Say which of the query's terms each hit has and what they add; None where no terms are matched."""
        return None

    def close(self) -> None:  # noqa: B027  # most hold nothing
        """Let go what the retriever itself holds; indexes and encoders are their owner's."""

    def _run(self, queries: Sequence[str], k: int, filter: Any, trace: Trace) -> Hits:
        if self.encoder is None:
            encoded = self.encode(queries)
        else:
            with trace.stage(f"{self.name}.encode"):
                encoded = self.encode(queries)
        with trace.stage(f"{self.name}.search"):
            return self.find(encoded, k, filter)

    @abstractmethod
    def _search(self, encoded: Any, k: int, filter: Any = None) -> Hits:
        """Search for encoded queries; `filter` is given only when there is one."""


class VectorIndex(Protocol):
    """What `DenseRetriever` needs of an index; with a filter, ``filter=`` is given as well."""

    def search(self, vectors: "NDArray[np.floating]", k: int) -> Hits:
        """Find the `k` best of each row."""


class DenseRetriever(Retriever):
    """Dense retrieval: the query's vector against an index of document vectors."""

    def __init__(self, encoder: "DenseEncoder", index: VectorIndex, *, name: str = "dense") -> None:
        super().__init__(name)
        self.encoder, self.index = encoder, index
        self.score_kind = "other" if encoder.similarity == "dot" else "cosine"

    def encode(self, queries: Sequence[str]) -> "NDArray[np.float32]":
        """Give the queries' vectors, float32 [queries, dim]."""
        vectors: NDArray[np.float32] = self.encoder.encode_query(queries)
        return vectors

    def _search(self, encoded: Any, k: int, filter: Any = None) -> Hits:
        return _searched(self.index, encoded, k, filter)


class SparseRetriever(Retriever):
    """Learned sparse retrieval (SPLADE): the query's term weights against an impact index."""

    def __init__(self, encoder: "SparseEncoder", index: "ImpactIndex", *, name: str = "sparse") -> None:
        super().__init__(name)
        self.encoder, self.index = encoder, index

    def encode(self, queries: Sequence[str]) -> Any:
        """Give the queries' term weights, CSR float32 [queries, vocabulary]."""
        return self.encoder.encode_query(queries)

    def terms(self, queries: Sequence[str], hits: Hits) -> list[Terms] | None:
        """Give each matched term with the product of its weights in query and document."""
        weights = self.encode(queries)
        if not hasattr(self.index, "query_texts"):
            return _terms_by_score(self.index, weights, self.encoder.vocabulary, hits)
        from indexing.indexes.lucene.matched_terms import matched_impacts

        return matched_impacts(self.index, weights, hits)

    def _search(self, encoded: Any, k: int, filter: Any = None) -> Hits:
        return _searched(self.index, encoded, k, filter)


class Bm25Retriever(Retriever):
    """BM25 (Robertson and Zaragoza 2009, Lucene's variant) over the words of title and text."""

    score_kind = "bm25"

    def __init__(self, index: "Bm25Index", *, name: str = "bm25") -> None:
        super().__init__(name)
        self.index = index

    def terms(self, queries: Sequence[str], hits: Hits) -> list[Terms] | None:
        """Give each matched word, as it was analyzed, with its summand of the BM25 score."""
        from indexing.indexes.lucene.matched_terms import matched_terms

        return matched_terms(self.index, queries, hits)

    def _search(self, encoded: Any, k: int, filter: Any = None) -> Hits:
        return _searched(self.index, encoded, k, filter)


def _searched(index: Any, encoded: Any, k: int, filter: Any) -> Hits:
    hits: Hits = index.search(encoded, k) if filter is None else index.search(encoded, k, filter=filter)
    return hits


def _terms_by_score(index: Any, weights: "csr_matrix", vocabulary: Sequence[str], hits: Hits) -> list[Terms]:
    """Say what each term adds to each hit's score, by asking an index of weights for one term at a time."""
    from scipy.sparse import csr_matrix

    columns, bounds = weights.indices.tolist(), weights.indptr.tolist()
    single = csr_matrix(
        (weights.data, weights.indices, range(len(columns) + 1)), shape=(len(columns), weights.shape[1])
    )
    wanted = [ids for row, ids in enumerate(r.doc_ids for r in hits) for _ in range(bounds[row], bounds[row + 1])]
    scores = iter(index.score(single, wanted).tolist())
    found: list[Terms] = []
    for row, ranking in enumerate(hits):
        summands: list[list[tuple[str, float]]] = [[] for _ in range(len(ranking))]
        for column in columns[bounds[row] : bounds[row + 1]]:
            for terms in summands:
                if (score := next(scores)) > 0:
                    terms.append((vocabulary[column], score))
        found += [tuple(sorted(terms, key=lambda term: (-term[1], term[0]))) for terms in summands]
    return found
