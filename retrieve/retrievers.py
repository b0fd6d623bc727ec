"""Retrievers: text in, ranked documents out. One for each kind of rows."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Self, overload

from indexing.errors import InputError
from indexing.hits import Hits, Ranking
from indexing.inputs import texts, whole_number
from indexing.resources import twin
from retrieve.protocols import TermEncoder, VectorEncoder, check_encoder, similarity_name
from retrieve.restriction import find_allowed
from retrieve.token_matches import TokenMatch, matches, token_names
from retrieve.trace import Trace

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from indexing.indexes.base import Index, Terms
    from indexing.token_vectors import TokenVectors
    from retrieve.encoders import MultiVectorEncoder
    from retrieve.encoders.dense_tokens import DenseTokens

FEW_QUERIES = 64
"""Largest number of queries whose token vectors are made for a reranker while they are encoded for a leg."""


class Retriever(ABC):
    """Base class of everything that searches: one query returns one `Ranking`, several return `Hits`.

    A subclass defines how queries are encoded (`encode`, by default unchanged) and how the encoded queries are searched
    (`_search`).

    Parameters
    ----------
    name
        Name of this retriever in a hit's provenance.

    Attributes
    ----------
    encoder
        The encoder of its queries, if any: retrievers with the same encoder may share its output.
    score_kind
        Scale of its scores, as `default_fusion` names it: ``"bm25"``, ``"cosine"``, or ``"other"``.
    marks
        True if `search` marks hits for a later fusion (`mark`).
    matches_terms
        True if every hit shares a term with its query.
    """

    encoder: Any = None
    score_kind: str = "other"
    marks: bool = True
    matches_terms: bool = False

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
        """Return the `k` best documents for one query or for each of several.

        Parameters
        ----------
        filter
            Only documents that match it; passed to the index unchanged.
        trace
            Records the time of each stage.

        Returns
        -------
        Ranking or Hits
            Score descending, then doc_id ascending; a `Ranking` for a single string.

        Raises
        ------
        InputError
            When `k` is not a whole number of at least 1, or `queries` is no list of strings.
        """
        k, trace = whole_number(k, "k"), trace or Trace()
        if isinstance(queries, str):
            return self._run([queries], k, filter, trace)[0]
        queries = texts(queries, "queries")
        return self._run(queries, k, filter, trace) if len(queries) else Hits.empty(0)

    def encode(self, queries: Sequence[str]) -> Any:
        """Return the queries in the form that the index takes."""
        return queries

    def find(self, encoded: Any, k: int, filter: Any = None) -> Hits:
        """Search for queries that `encode` returned."""
        return self._search(encoded, k) if filter is None else self._search(encoded, k, filter)

    def find_kept(self, queries: Sequence[str], encoded: Any, k: int, filter: Any = None) -> Hits:
        """Search as `find`, among the documents that each query's requirements and exclusions keep.

        Parameters
        ----------
        queries, encoded
            The queries, a `SyntaxQuery` for one with operators, and the same as `encode` returned them.
        """
        return find_allowed(self, queries, encoded, k, filter)

    def mark(self, encoded: Any, hits: Hits) -> Hits:
        """Return the hits of `find` with what only some fusions use (`Hits.rare`), if this kind of leg has it."""
        return hits

    def score(self, encoded: Any, doc_ids: Sequence[Sequence[str]]) -> "NDArray[np.floating]":
        """Score given candidates: for encoded query ``i`` the documents ``doc_ids[i]``; float [all candidates].

        Raises
        ------
        InputError
            When the retriever cannot score.
        """
        raise InputError(f"the leg {self.name!r} cannot score given documents: use a fusion without missing='score'")

    def terms(self, queries: Sequence[str], hits: Hits) -> "list[Terms] | None":
        """Return each hit's terms that the query contains too, with their parts of the score; None without terms."""
        return None

    def over(self, replace: "Callable[[Index], Index]") -> Self:
        """Return the same retriever over other indexes: `replace` returns the successor of each."""
        return self

    def close(self) -> None:  # noqa: B027  # most hold nothing
        """Release what the retriever itself holds; indexes and encoders belong to their owner."""

    def _run(self, queries: Sequence[str], k: int, filter: Any, trace: Trace) -> Hits:
        if self.encoder is None:
            encoded = self.encode(queries)
        else:
            with trace.stage(f"{self.name}.encode"):
                encoded = self.encode(queries)
        with trace.stage(f"{self.name}.search"):
            hits = self.find_kept(queries, encoded, k, filter)
            return self.mark(encoded, hits) if self.marks else hits

    @abstractmethod
    def _search(self, encoded: Any, k: int, filter: Any = None) -> Hits:
        """Search for encoded queries; `filter` is given only when there is one."""


class IndexRetriever(Retriever):
    """Base class of retrievers over the index of one leg.

    Attributes
    ----------
    keep_tokens
        Called with queries and their token vectors, for a reranker that needs these too, by retrievers that can make
        both at once.
    """

    keep_tokens: "Callable[[Sequence[str], TokenVectors], None] | None" = None

    def __init__(self, index: "Index", *, name: str) -> None:
        super().__init__(name)
        self.index = index

    def over(self, replace: "Callable[[Index], Index]") -> Self:
        """Return the same retriever over another index."""
        newer = twin(self)
        newer.index = replace(self.index)
        return newer

    def score(self, encoded: Any, doc_ids: Sequence[Sequence[str]]) -> "NDArray[np.floating]":
        """Score given candidates with the index; see `Index.score`."""
        return self.index.score(encoded, doc_ids)

    def _search(self, encoded: Any, k: int, filter: Any = None) -> Hits:
        return self.index.search(encoded, k, filter)


class DenseRetriever(IndexRetriever):
    """Dense retrieval: the query's vector against an index of document vectors."""

    def __init__(self, encoder: VectorEncoder, index: "Index", *, name: str = "dense") -> None:
        super().__init__(index, name=name)
        self.encoder = check_encoder(encoder, "encoder", "dense", ("similarity_fn_name", "encode_query"))
        self.score_kind = "other" if similarity_name(encoder) == "dot" else "cosine"

    def encode(self, queries: Sequence[str]) -> "NDArray[np.float32]":
        """Return the queries' vectors, float32 [queries, dimension]."""
        if self.keep_tokens is not None and 0 < len(queries) <= FEW_QUERIES:
            from retrieve.encoders.dense_tokens import both_vectors

            vectors, tokens = both_vectors(self.encoder, queries, "query")
            self.keep_tokens(queries, tokens)
        else:
            vectors = self.encoder.encode_query(queries)
        return vectors


class TokenRetriever(IndexRetriever):
    """Late interaction as a first stage: the query's token vectors against an index of documents' token vectors."""

    def __init__(self, encoder: "MultiVectorEncoder | DenseTokens", index: "Index", *, name: str = "tokens") -> None:
        super().__init__(index, name=name)
        self.encoder = check_encoder(encoder, "encoder", "multi_vector", ("encode_query",))

    def encode(self, queries: Sequence[str]) -> "TokenVectors":
        """Return the queries' token vectors."""
        vectors: TokenVectors = self.encoder.encode_query(queries)
        if self.keep_tokens is not None and 0 < len(queries) <= FEW_QUERIES:
            self.keep_tokens(queries, vectors)
        return vectors

    def token_matches(
        self, queries: Sequence[str], hits: Hits, texts: Mapping[str, str]
    ) -> "list[list[TokenMatch]] | None":
        """Return, for each hit, the document's token that each token of its query meets; None without stored vectors.

        Parameters
        ----------
        texts
            The indexed text of each document.
        """
        if not hasattr(self.index, "vectors"):
            return None
        encoded, ids = self.encode(queries), hits.doc_ids
        stored: TokenVectors = self.index.vectors(ids)
        asked = [token_names(self.encoder, query, "query") for query in queries]
        return [
            matches(
                encoded.text(row),
                stored.text(at),
                asked[row],
                token_names(self.encoder, texts.get(ids[at], ""), "document"),
                mean=similarity_name(self.encoder, "maxsim") == "meanmaxsim",
            )
            for at, row in enumerate(hits.rows.tolist())
        ]


class SparseRetriever(IndexRetriever):
    """Learned sparse retrieval (SPLADE): the query's term weights against an index of document weights."""

    matches_terms = True

    def __init__(self, encoder: TermEncoder, index: "Index", *, name: str = "sparse") -> None:
        super().__init__(index, name=name)
        self.encoder = check_encoder(encoder, "encoder", "sparse", ("vocabulary", "encode_query"))

    def encode(self, queries: Sequence[str]) -> Any:
        """Return the queries' term weights, CSR float32 [queries, vocabulary]."""
        return self.encoder.encode_query(queries)

    def terms(self, queries: Sequence[str], hits: Hits) -> "list[Terms] | None":
        """Return each matched term with the product of its weights in query and document."""
        return self.index.matched_terms(self.encode(queries), hits, self.encoder.vocabulary)


class Bm25Retriever(IndexRetriever):
    """BM25 (Robertson and Zaragoza 2009, Lucene's variant) over the words of title and text."""

    score_kind = "bm25"
    matches_terms = True

    def __init__(self, index: "Index", *, name: str = "bm25") -> None:
        super().__init__(index, name=name)

    def find_kept(self, queries: Sequence[str], encoded: Any, k: int, filter: Any = None) -> Hits:
        """Search; the tree of a query contains its requirements and exclusions."""
        return self.find(encoded, k, filter)

    def mark(self, encoded: Sequence[str], hits: Hits) -> Hits:
        """Mark the hits that contain the rare words of their query."""
        return replace(hits, rare=self.index.rare_hits(encoded, hits))

    def terms(self, queries: Sequence[str], hits: Hits) -> "list[Terms] | None":
        """Return each matched word, as analyzed, with its part of the BM25 score."""
        return self.index.matched_terms(queries, hits)
