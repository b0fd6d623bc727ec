"""SearchPipeline: the whole way from a question to ranked, explained documents."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from tqdm import tqdm

from indexing.collection import Collection, Leg
from indexing.errors import InputError, ModelError
from indexing.hits import Hit, Hits, LegHit
from pipelines.identity import check_identity
from retrieve.fusion import Fusion, weighted_sum
from retrieve.hybrid import HybridRetriever
from retrieve.retrievers import Bm25Retriever, DenseRetriever, Retriever, SparseRetriever

if TYPE_CHECKING:
    from retrieve.encoders import DenseEncoder, SparseEncoder
    from retrieve.rerankers import CandidateReranker

LATE_INTERACTION = "late-interaction"
"""The reranker that needs no weights of its own: MaxSim over the dense leg's token vectors."""

QUERIES_AT_ONCE = 256


@dataclass(frozen=True, slots=True)
class SearchResult:
    """One found document.

    Parameters
    ----------
    doc_id, title, text, metadata
        The document.
    score
        What it was ranked by: the reranker's score, else the fused one, else the single leg's.
    rank
        From 1.
    legs
        Where it came from: each stage that returned it (``bm25``, ``dense``, ``sparse``, and ``first-stage`` before a
        reranker) with its rank and score there.
    """

    doc_id: str
    score: float
    rank: int
    title: str
    text: str
    metadata: Mapping[str, Any] = field(default_factory=dict)
    legs: Mapping[str, LegHit] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """Give plain values that JSON can hold."""
        return {
            "doc_id": self.doc_id,
            "score": self.score,
            "rank": self.rank,
            "title": self.title,
            "text": self.text,
            "metadata": dict(self.metadata),
            "legs": {name: {"rank": leg.rank, "score": leg.score} for name, leg in self.legs.items()},
        }


class SearchPipeline:
    """A first stage (one leg, or several fused), an optional reranker, and the documents they speak of.

    `open` makes one from a collection on disk; the constructor takes parts of your own.

    Parameters
    ----------
    retriever
        The first stage.
    collection
        Where the documents are; closed with the pipeline.
    reranker
        The second stage, if any.
    candidates
        How many first-stage hits the reranker reads.
    """

    def __init__(
        self,
        retriever: Retriever,
        collection: Collection,
        *,
        reranker: "CandidateReranker | None" = None,
        candidates: int = 50,
    ) -> None:
        if candidates < 1:
            raise InputError(f"candidates must be at least 1, not {candidates}")
        self.retriever, self.collection, self.reranker, self.candidates = retriever, collection, reranker, candidates

    @classmethod
    def open(
        cls,
        directory: str | Path,
        *,
        legs: Sequence[str] | None = None,
        fusion: Fusion = weighted_sum,
        depth: int = 100,
        dense: "str | DenseEncoder | None" = None,
        sparse: "str | SparseEncoder | None" = None,
        reranker: "str | CandidateReranker | None" = None,
        candidates: int = 50,
    ) -> Self:
        """Open a collection with all its legs, or the named ones.

        Parameters
        ----------
        directory
            What `build_collection` or ``retrieve index`` made.
        legs
            Names of legs (``bm25``, ``dense``, ``sparse``), all by default; several are fused.
        fusion, depth
            As for `HybridRetriever`.
        dense, sparse
            The query encoder, loaded or by path or name; by default the one the manifest names.
        reranker
            A reranker, or the path or name of a cross-encoder, or ``"late-interaction"``: MaxSim over the token
            vectors of the dense leg's encoder.
        candidates
            How many first-stage hits the reranker reads.

        Raises
        ------
        StorageError
            No collection there, or no such leg.
        ModelError
            An encoder that cannot be found, or is not the one the leg was built with.
        """
        if isinstance(legs, str):
            raise InputError(f"legs must be a list of names, not the string {legs!r}: legs=[{legs!r}]")
        collection = Collection.open(directory)
        try:
            names = list(legs) if legs is not None else list(collection.manifest.legs)
            retrievers = [_retriever(collection, name, {"faiss": dense, "impact": sparse}) for name in names]
            return cls(
                retrievers[0] if len(retrievers) == 1 else HybridRetriever(retrievers, fusion=fusion, depth=depth),
                collection,
                reranker=make_reranker(reranker, collection, retrievers, dense) if reranker is not None else None,
                candidates=candidates,
            )
        except BaseException:
            collection.close()
            raise

    def search(self, query: str, k: int = 10) -> list[SearchResult]:
        """Find the `k` best documents for one query."""
        return self.batch_search({"": query}, k)[""]

    def batch_search(self, queries: Mapping[str, str], k: int = 10) -> dict[str, list[SearchResult]]:
        """Find the `k` best documents for each query, given as ``{query_id: text}``."""
        if not isinstance(queries, Mapping):
            raise InputError("batch_search takes {query_id: text}; for a list of texts there is retrieve")
        hits = self.retrieve(list(queries.values()), k)
        ids = sorted(set(hits.doc_ids))
        documents = dict(zip(ids, self.collection.documents.get(ids), strict=True))
        return {
            query_id: [_result(hit, documents[hit.doc_id]) for hit in ranking]
            for query_id, ranking in zip(queries, hits, strict=True)
        }

    def retrieve(self, queries: Sequence[str], k: int = 10, *, show_progress: bool = False) -> Hits:
        """Find without fetching texts: `Hits` for several queries, as a harness wants them."""
        if k < 1:
            raise InputError(f"k must be at least 1, not {k}")
        depth = k if self.reranker is None else max(k, self.candidates)
        parts = []
        with tqdm(total=len(queries), desc="searching", unit="query", disable=not show_progress) as bar:
            for block in _blocks(queries):
                hits = self.retriever.search(block, depth)
                if not hits.legs:
                    hits = hits.as_leg(self.retriever.name)
                if self.reranker is not None:
                    documents = self.collection.documents
                    hits = self.reranker.rerank(block, hits, documents, depth=self.candidates).top(k)
                parts.append(hits)
                bar.update(len(block))
        return Hits.concatenate(parts)

    def close(self) -> None:
        """Close the collection and the threads."""
        if isinstance(self.retriever, HybridRetriever):
            self.retriever.close()
        self.collection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def make_reranker(
    reranker: "str | CandidateReranker",
    collection: Collection,
    retrievers: Sequence[Retriever],
    dense: "str | DenseEncoder | None",
) -> "CandidateReranker":
    """Give the reranker that a name stands for (see `SearchPipeline.open`)."""
    if not isinstance(reranker, str):
        return reranker
    if reranker != LATE_INTERACTION:
        from retrieve.encoders import CrossEncoder
        from retrieve.rerankers import Reranker

        return Reranker(CrossEncoder(reranker))
    from retrieve.late_interaction import LateInteractionReranker

    for retriever in retrievers:
        if isinstance(retriever, DenseRetriever):
            return LateInteractionReranker(retriever.encoder)
    leg = next((leg for leg in collection.manifest.legs.values() if leg.backend == "faiss"), None)
    if dense is None and leg is None:
        raise InputError(
            "the late-interaction reranker reads token vectors of a dense encoder, and this collection has no dense "
            "leg: name an encoder (--dense MODEL), or a cross-encoder as the reranker"
        )
    from retrieve.encoders import DenseEncoder

    return LateInteractionReranker(_encoder(DenseEncoder, dense, leg, LATE_INTERACTION))


def _retriever(collection: Collection, name: str, models: Mapping[str, Any]) -> Retriever:
    leg = collection.leg(name)
    index: Any = collection.index(name)
    if leg.backend == "bm25":
        return Bm25Retriever(index, name=name)
    from retrieve.encoders import DenseEncoder, SparseEncoder

    if leg.backend == "faiss":
        return DenseRetriever(_encoder(DenseEncoder, models["faiss"], leg, name), index, name=name)
    return SparseRetriever(_encoder(SparseEncoder, models["impact"], leg, name), index, name=name)


def _encoder(kind: type, given: Any, leg: Leg | None, name: str) -> Any:
    """Give `given`, loaded if it is a name, else the encoder the leg records; refuse one of another identity."""
    recorded = dict(leg.encoder or {}) if leg is not None else {}
    if given is None:
        given = recorded.get("name")
        if given is None:
            raise ModelError(f"the manifest does not say which encoder the leg {name!r} was built with: name it")
        try:
            encoder = kind(given)
        except ModelError as error:
            raise ModelError(
                f"the leg {name!r} was built with the encoder {given!r}, which cannot be loaded now ({error}); "
                f"say where it is: SearchPipeline.open(..., dense=PATH) or `retrieve search --dense PATH`"
            ) from error
    else:
        encoder = kind(given) if isinstance(given, str | Path) else given
    if recorded:
        check_identity(recorded, encoder.identity, name)
    return encoder


def _blocks(queries: Sequence[str]) -> Iterator[Sequence[str]]:
    return (queries[start : start + QUERIES_AT_ONCE] for start in range(0, len(queries), QUERIES_AT_ONCE))


def _result(hit: Hit, document: Any) -> SearchResult:
    return SearchResult(hit.doc_id, hit.score, hit.rank, document.title, document.text, document.metadata, hit.legs)
