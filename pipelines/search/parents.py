"""Parent documents of found chunks: each document once, with its full text and the passages that matched."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from indexing.collection.reader import Collection
from indexing.collection.snapshot import Snapshot
from indexing.corpora.chunked import CHUNK, PARENT_ID, assemble, is_chunk, siblings
from indexing.documents import Document
from indexing.errors import InputError
from indexing.inputs import whole_number
from pipelines.search.results import SearchResult, SearchResults
from pipelines.search.tenants import Tenant, tenants_of

if TYPE_CHECKING:
    from pipelines.search.pipeline import SearchPipeline
    from pipelines.search.stages import Stages

CHUNK_POOL = 100
"""Number of chunks that are searched for, to find their documents."""


@dataclass(frozen=True, slots=True)
class ParentResult:
    """A document found through one or more of its chunks.

    Parameters
    ----------
    document
        The document, reassembled from its chunks.
    score
        Score of its best passage.
    rank
        From 1.
    passages
        The found chunks, best first.
    """

    document: Document
    score: float
    rank: int
    passages: tuple[SearchResult, ...]

    @property
    def spans(self) -> list[tuple[int, int]]:
        """Character range of each passage in the document's text."""
        return [_span(passage) for passage in self.passages]

    def as_dict(self) -> dict[str, Any]:
        """Return JSON values; each passage with its place in the document's text."""
        return {
            "doc_id": self.document.doc_id,
            "score": self.score,
            "rank": self.rank,
            "title": self.document.title,
            "text": self.document.text,
            "metadata": dict(self.document.metadata),
            "passages": [
                {**passage.as_dict(), "start": start, "end": end}
                for passage, (start, end) in zip(self.passages, self.spans, strict=True)
            ],
        }


class ParentResults(list[ParentResult]):
    """The documents found for one query, best first.

    Attributes
    ----------
    found
        The results of the search for chunks: timings, failed legs, number of reranked candidates.
    """

    __slots__ = ("found",)

    def __init__(self, results: Iterable[ParentResult], found: SearchResults) -> None:
        super().__init__(results)
        self.found = found

    def as_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        return {**self.found.as_dict(), "hits": [result.as_dict() for result in self]}


def search_parents(
    pipeline: "SearchPipeline",
    query: str | Sequence[str],
    k: int = 10,
    *,
    pool: int = CHUNK_POOL,
    offset: int | None = None,
    **options: Any,
) -> ParentResults:
    """Return the `k` documents with the best chunks.

    Parameters
    ----------
    pipeline
        Pipeline of a collection of chunks (`ChunkedCorpus`); a document that is not a chunk is its own parent.
    query
        The query, or a list of several phrasings of it.
    pool
        Number of chunks to search for; fewer than `k` documents are returned when these chunks have fewer parents.
    offset
        Leave out so many better documents, as in `SearchPipeline.search`.
    options
        Options of `SearchPipeline.search`; for several phrasings, of `SearchPipeline.multi_search`.

    Raises
    ------
    InputError
        As for `SearchPipeline.search`, and when a chunk of a found document is missing.
    """
    k, better = whole_number(k, "k"), 0 if offset is None else whole_number(offset, "offset", least=0)
    depth = max(whole_number(pool, "pool"), k + better)
    if offset is not None:
        options["offset"] = 0
    if (refine := options.get("refine")) is not None:
        options["refine"] = refine.among(depth)

    def found(stages: Any, _: Any) -> ParentResults:
        if isinstance(query, str):
            results = pipeline.search(query, depth, **options)
        else:
            results = pipeline.multi_search(query, depth, **options)
        return parents_of(results, stages, k, better, options.get("tenant"))

    return pipeline.in_one_state(found)


def parents_of(
    results: SearchResults, stages: "Stages", k: int, offset: int = 0, tenant: Tenant | None = None
) -> ParentResults:
    """Return the `k` documents with the best of these chunks, without the first ones; see `search_parents`.

    Parameters
    ----------
    stages
        The state of the collection that was searched.
    tenant
        The tenants that the search was held to: all chunks of a document must be theirs, not only those it found.
    """
    passages: dict[str, list[SearchResult]] = {}
    for result in results:
        passages.setdefault(parent_id(result), []).append(result)
    best = list(passages.values())[offset : offset + k]
    wanted = [siblings(found[0].metadata) if is_chunk(found[0].metadata) else [found[0].doc_id] for found in best]
    stored = iter(_stored([doc_id for ids in wanted for doc_id in ids], stages, tenant))
    whole = [_assembled([next(stored) for _ in ids]) for ids in wanted]
    parents = [
        ParentResult(document, found[0].score, rank, tuple(found))
        for rank, (document, found) in enumerate(zip(whole, best, strict=True), offset + 1)
    ]
    return ParentResults(parents, results)


def holds_chunks(collection: Collection | Snapshot) -> bool:
    """Return whether a collection's documents are chunks, judged by the first one."""
    first = next(iter(collection.documents), None)
    return first is not None and is_chunk(first.metadata)


def _stored(ids: Sequence[str], stages: "Stages", tenant: Tenant | None) -> list[Document]:
    """Return documents by their ids; of other tenants' ones the error is that of missing ones."""
    if tenant is None:
        return stages.documents.get(ids)
    named = {tenant} if isinstance(tenant, str) else set(tenant)
    try:
        found = stages.documents.get(ids)
    except InputError:
        found = []
    if len(found) < len(ids) or any(named.isdisjoint(tenants_of(one, str(stages.tenants))) for one in found):
        raise InputError("a document cannot be reassembled from chunks of its tenant: index it again")
    return found


def parent_id(result: SearchResult) -> str:
    """Return the id of the document that a result is a chunk of; its own, if it is whole."""
    return str(result.metadata[PARENT_ID]) if is_chunk(result.metadata) else result.doc_id


def _assembled(documents: Sequence[Document]) -> Document:
    return assemble(documents) if is_chunk(documents[0].metadata) else documents[0]


def _span(passage: SearchResult) -> tuple[int, int]:
    if not is_chunk(passage.metadata):
        return 0, len(passage.text)
    place = passage.metadata[CHUNK]
    return place["start"], place["end"]
