"""Stages of a search: first stage, reranker, refinement, documents, explanations."""

import re
import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from indexing import inputs
from indexing.collection.snapshot import Snapshot
from indexing.collection.store import DocumentStore
from indexing.documents import Document
from indexing.errors import InputError
from indexing.hits import Hit, Hits, LegHit
from indexing.indexes.registry import kind_of
from indexing.plurals import counted
from indexing.query_syntax import QuerySyntax, Synonyms, check_syntax
from pipelines.search.boosts import Boosts
from pipelines.search.cache import hashable
from pipelines.search.explaining import explain
from pipelines.search.facets import Facets
from pipelines.search.reading import read_queries, reading_notes
from pipelines.search.refine import Refine
from pipelines.search.results import Explanation, SearchResult, SearchResults
from pipelines.search.tenants import Tenant, check_tenant, with_tenant
from retrieve.reranking.base import FIRST_STAGE
from retrieve.reranking.budget import Budget
from retrieve.retrievers import Bm25Retriever, DenseRetriever, Retriever
from retrieve.trace import Trace

if TYPE_CHECKING:
    from retrieve.reranking.base import CandidateReranker

_WORD = re.compile(r"\w")

DOCUMENTS = "documents"
"""Key of hits without documents in `SearchResults.failures`."""

PAGE_WINDOW = 1000
"""Number of best hits that pages reach. Each page is cut from the same ranking, which therefore has one depth."""

Explain = Callable[[Hits, Trace], list[Explanation]]
"""Returns the explanation of each hit, in order."""


@dataclass(frozen=True, slots=True)
class SearchRequest:
    """Options of a search that do not depend on its queries; see `SearchPipeline.search`."""

    k: int = 10
    filter: Any = None
    explain: bool = False
    budget: Budget | None = None
    refine: Refine | None = None
    query_syntax: QuerySyntax | None = None
    offset: int | None = None
    boosts: Boosts | None = None
    facets: Facets | None = None
    tenant: Tenant | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "k", inputs.whole_number(self.k, "k"))
        if self.query_syntax is not None:
            check_syntax(self.query_syntax)
        for name, value, kind in (("budget", self.budget, Budget), ("refine", self.refine, Refine)):
            if not isinstance(value, kind | None):
                raise InputError(f"{name} must be a {kind.__name__} or None, not {inputs.shown(value)}")
        object.__setattr__(self, "boosts", Boosts.of(self.boosts))
        object.__setattr__(self, "facets", Facets.of(self.facets))
        check_tenant(self.tenant)
        if self.tenant is not None and not isinstance(self.tenant, str):
            object.__setattr__(self, "tenant", tuple(self.tenant))  # hashable, for the cache
        object.__setattr__(self, "explain", inputs.flag(self.explain, "explain"))
        if self.offset is not None:
            self._check_page()

    @classmethod
    def of(cls, k: Any, options: Mapping[str, Any]) -> Self:
        """Return the request of a call that takes its options by name; an InputError names an unknown one."""
        inputs.known_options(options, [entry.name for entry in fields(cls) if entry.name != "k"], "a search")
        return cls(k, **options)

    @property
    def key(self) -> tuple[Hashable, Self]:
        """The request as a part of a cached answer's key, which must be hashable."""
        return hashable(self.filter), replace(self, filter=None)

    @property
    def wanted(self) -> int:
        """Number of best hits of which the page is the end."""
        return self.k + (self.offset or 0)

    @property
    def pool(self) -> int:
        """Number of best hits from which the wanted ones are chosen."""
        return self.wanted if self.refine is None else max(self.wanted, self.refine.pool)

    def _check_page(self) -> None:
        object.__setattr__(self, "offset", inputs.whole_number(self.offset, "offset", least=0))
        if self.wanted > PAGE_WINDOW:
            raise InputError(
                f"offset + k is {self.wanted:,}: pages reach the first {counted(PAGE_WINDOW, 'hit')}; narrow the "
                "search with a filter, or ask for more hits at once, without offset"
            )
        if self.refine is not None and self.refine.mmr is not None and self.wanted > self.refine.pool:
            raise InputError(
                f"offset + k is {self.wanted}, and mmr orders the best {self.refine.pool} hits: raise pool to at least "
                f"{self.wanted} for all pages"
            )


@dataclass(frozen=True, slots=True)
class Stages:
    """The parts of a pipeline; see `SearchPipeline`."""

    retriever: Retriever
    snapshot: Snapshot
    reranker: "CandidateReranker | None"
    candidates: int
    budget: Budget
    query_syntax: QuerySyntax = "plain"
    synonyms: Synonyms | None = None
    tenants: str | None = None

    @property
    def documents(self) -> DocumentStore:
        """The documents."""
        return self.snapshot.documents

    @property
    def legs(self) -> Sequence[Retriever]:
        """Retrievers of the first stage."""
        legs: Sequence[Retriever] = getattr(self.retriever, "legs", (self.retriever,))
        return legs

    def depth(self, request: SearchRequest, *, variants: bool = False) -> int:
        """Return the number of hits that the first stage must find.

        For a page it is one of two numbers: so many that no leg is searched deeper than its own depth, or the whole
        window. So all pages of a query are cut from one ranking. A fusion of several `variants` of a query depends on
        the depth of each, which is always the window.
        """
        depth = request.pool if self.reranker is None else max(request.pool, self.candidates)
        if request.boosts is not None:
            depth = max(depth, request.boosts.pool)
        if request.facets is not None and request.facets.over == "hits":
            depth = max(depth, request.facets.hits)
        if request.offset is None:
            return depth
        depths = getattr(self.retriever, "depth", None)
        shallow = depth if depths is None else min(depths.values())
        return max(depth, PAGE_WINDOW) if variants or depth > shallow else depth

    def filter(self, request: SearchRequest) -> Any:
        """Return the filter of a search, with that of its tenant or tenants."""
        return with_tenant(request.filter, request.tenant, self.tenants, self.snapshot)

    def answer(self, queries: Sequence[str], request: SearchRequest, trace: Trace) -> list[SearchResults]:
        """Return the results of a batch of queries."""
        start = time.perf_counter()
        queries = self.read(queries, request, trace)
        found = self.find(queries, request, trace)
        why = partial(explain, self.legs, queries, self.documents, reranker=self.reranker)
        return self.show(queries, found, request, trace, start, why)

    def read(self, queries: Sequence[str], request: SearchRequest, trace: Trace) -> Sequence[str]:
        """Return the queries as the request's syntax reads them; the other stages take what this returns."""
        syntax = request.query_syntax or self.query_syntax
        if syntax == "plain" and self.synonyms is None:
            return queries
        with trace.stage("syntax"):
            return read_queries(queries, syntax, self.snapshot, self.filter(request), self.synonyms)

    def find(self, queries: Sequence[str], request: SearchRequest, trace: Trace, *, variants: bool = False) -> Hits:
        """Return the hits of the first stage, with the provenance of each leg."""
        depth = self.depth(request, variants=variants)
        hits = self.retriever.search(queries, depth, filter=self.filter(request), trace=trace)
        hits = hits if hits.legs else hits.as_leg(self.retriever.name)
        return hits if request.tenant is None else self._of_tenant(hits, request)

    def _of_tenant(self, hits: Hits, request: SearchRequest) -> Hits:
        """Leave out hits whose documents belong to other tenants by now.

        After a kill a leg may be behind the documents: it finds a document by its former tenant, and the document's
        present text is another tenant's.
        """
        ids = hits.doc_ids
        kept = self.snapshot.those_matching(ids, with_tenant(None, request.tenant, self.tenants, self.snapshot))
        return hits.where(np.fromiter((doc_id in kept for doc_id in ids), np.bool_, len(ids)))

    def rerank(self, queries: Sequence[str], hits: Hits, request: SearchRequest, trace: Trace) -> Hits:
        """Return the hits as the reranker orders them; without a reranker, unchanged."""
        if self.reranker is None:
            if request.budget is not None:
                raise InputError("a budget limits a reranker, and this pipeline has none: open it with a reranker")
            return hits
        budget = request.budget or self.budget
        # What an early exit leaves unread must not depend on the page.
        budget = replace(budget, top=budget.top or (request.k if request.offset is None else self.candidates))
        if request.offset and budget.max_ms is not None:
            trace.notes.append("max_ms limits what the reranker reads, so that pages may overlap: page without it")
        hits = self._present(hits, trace)
        return self.reranker.rerank(queries, hits, self.documents, depth=self.candidates, budget=budget, trace=trace)

    def show(
        self, queries: Sequence[str], found: Hits, request: SearchRequest, trace: Trace, start: float, explain: Explain
    ) -> list[SearchResults]:
        """Rerank, refine, fetch and explain the hits of a batch that started at `start`."""
        facets = self._facets(queries, found, request, trace)
        hits = self.rerank(queries, found, request, trace)
        if request.boosts is None:
            hits = hits.top(request.pool)
        if self.reranker is None:  # a reranker was given present documents only
            hits = self._present(hits, trace)
        if request.boosts is not None:
            hits = self._boosted(hits, request.boosts, trace).top(request.pool)
        offset = request.offset or 0
        if request.refine is None and offset:
            hits = hits.where(hits.ranks > offset)
        rankings, documents = self._refined(hits, request, trace)
        notes = _notes_of_refining(request.refine, hits, documents)
        explanations: Sequence[Explanation | None] = [None] * len(hits.codes)
        if request.explain:
            with trace.stage("explain"):
                explanations = _counted_from(explain(hits, trace), hits, 0 if request.refine else offset)
        timings = {stage: 1000 * seconds / len(queries) for stage, seconds in trace.seconds.items()}
        timings["total"] = 1000 * (time.perf_counter() - start) / len(queries)
        first = hits.offsets.tolist()
        return [
            SearchResults(
                (
                    _result(hit, rank, documents[hit.doc_id], explanations[first[row] + hit.rank - 1])
                    for rank, hit in enumerate(ranking, offset + 1)
                ),
                timings=timings,
                failures=trace.failures,
                notes=[*trace.notes, *notes, *self._notes_of(queries[row], request)],
                reranked=None if trace.scored is None else int(trace.scored[row]),
                facets=facets[row],
            )
            for row, ranking in enumerate(rankings)
        ]

    def _boosted(self, hits: Hits, boosts: Boosts, trace: Trace) -> Hits:
        """Return the hits with their boosts added to their scores."""
        fields = self.snapshot.manifest.fields
        boosts.check(fields)
        with trace.stage("boosts"):
            documents = self._documents(set(hits.top(boosts.pool).doc_ids))
            metadata = {doc_id: document.metadata for doc_id, document in documents.items()}
            return boosts.apply(hits, metadata, fields)

    def _facets(
        self, queries: Sequence[str], found: Hits, request: SearchRequest, trace: Trace
    ) -> Sequence[Mapping[str, Any] | None]:
        """Return each query's facets, counted over its first hits or over all that it matches."""
        if request.facets is None:
            return [None] * len(queries)
        with trace.stage("facets"):
            return [
                request.facets.count(self.snapshot, query, ranking.doc_ids, self.filter(request))
                for query, ranking in zip(queries, found, strict=True)
            ]

    def _notes_of(self, query: str, request: SearchRequest) -> list[str]:
        """Return how the query was read, if asked to explain, and why legs that match words cannot find anything."""
        if _WORD.search(query):
            return [*reading_notes(query), *self._remarks()] if request.explain else []
        legs = [leg.name for leg in self.legs if isinstance(leg, Bm25Retriever)]
        return [f"the query {inputs.shown(query)} contains no word: the leg {name!r} finds nothing" for name in legs]

    def _remarks(self) -> list[str]:
        """Return how the scores of words come about in legs that score them in their own way."""
        stored, words = self.snapshot.manifest.legs, [leg.name for leg in self.legs if isinstance(leg, Bm25Retriever)]
        legs = [(name, stored[name]) for name in words if name in stored]
        return [
            f"{name}: {remark}"
            for name, leg in legs
            for remark in kind_of(leg.backend).remarks(leg.rows, leg.parameters)
        ]

    def _present(self, hits: Hits, trace: Trace) -> Hits:
        """Leave out hits whose documents are gone, as an index on a server may return them, and record how many."""
        ids = hits.doc_ids
        known = self.documents.known(ids)
        present = np.fromiter((doc_id in known for doc_id in ids), np.bool_, len(ids))
        if present.all():
            return hits
        gone = len(ids) - int(present.sum())
        trace.failures[DOCUMENTS] = f"hits left out because their documents are no longer stored: {gone}"
        return hits.where(present)

    def _refined(
        self, hits: Hits, request: SearchRequest, trace: Trace
    ) -> tuple[list[list[Hit]], Mapping[str, Document]]:
        """Return the hits to show for each query, and at least their documents."""
        refine, rankings = request.refine, [ranking[:] for ranking in hits]
        documents: dict[str, Document] = {}
        with trace.stage("documents"):
            if refine is None or refine.reads_documents:
                documents = self._documents(set(hits.doc_ids))
        if refine is not None:
            with trace.stage("refine"):
                rankings = [
                    refine.apply(ranking, request.wanted, documents, self._vectors)[request.offset or 0 :]
                    for ranking in rankings
                ]
                documents |= self._documents({hit.doc_id for ranking in rankings for hit in ranking} - documents.keys())
        return rankings, documents

    def _documents(self, ids: set[str]) -> dict[str, Document]:
        wanted = sorted(ids)
        return dict(zip(wanted, self.documents.get(wanted), strict=True))

    def _vectors(self, ids: Sequence[str]) -> NDArray[np.floating]:
        """Return the stored vectors of these documents from the first dense leg."""
        dense = (leg.index for leg in self.legs if isinstance(leg, DenseRetriever) and hasattr(leg.index, "vectors"))
        index: Any = next(dense, None)
        if index is None:
            raise InputError(
                "mmr compares the vectors of hits, and no leg of this pipeline has vectors: add a dense leg"
            )
        vectors: NDArray[np.floating] = index.vectors(ids)
        return vectors


def _notes_of_refining(refine: Refine | None, hits: Hits, documents: Mapping[str, Document]) -> list[str]:
    """Return why grouping had no effect."""
    if refine is None or refine.group_by is None or not len(hits.codes):
        return []
    if any(refine.group_by in documents[doc_id].metadata for doc_id in hits.doc_ids):
        return []
    return [f"group_by had no effect: none of the hits has the field {refine.group_by!r}"]


def _counted_from(explanations: Sequence[Explanation], hits: Hits, offset: int) -> Sequence[Explanation]:
    """Return the explanations of a page, whose hits are cut off the ranking, with their ranks in all of it."""
    if not offset or FIRST_STAGE in hits.legs:
        return explanations
    return [
        replace(one, first_stage=LegHit(one.first_stage.rank + offset, one.first_stage.score)) for one in explanations
    ]


def _result(hit: Hit, rank: int, document: Document, explanation: Explanation | None) -> SearchResult:
    return SearchResult(
        hit.doc_id, hit.score, rank, document.title, document.text, document.metadata, hit.legs, explanation
    )
