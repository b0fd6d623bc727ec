"""Stages of a search: first stage, reranker, refinement, documents, explanations."""

import re
import time
from collections.abc import Callable, Mapping, Sequence
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
from indexing.hits import Hit, Hits
from pipelines.search.explaining import explain
from pipelines.search.refine import Refine
from pipelines.search.results import Explanation, SearchResult, SearchResults
from retrieve.reranking.budget import Budget
from retrieve.retrievers import Bm25Retriever, DenseRetriever, Retriever
from retrieve.trace import Trace

if TYPE_CHECKING:
    from retrieve.reranking.base import CandidateReranker

_WORD = re.compile(r"\w")

DOCUMENTS = "documents"
"""Key of hits without documents in `SearchResults.failures`."""

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

    def __post_init__(self) -> None:
        object.__setattr__(self, "k", inputs.whole_number(self.k, "k"))
        for name, value, kind in (("budget", self.budget, Budget), ("refine", self.refine, Refine)):
            if not isinstance(value, kind | None):
                raise InputError(f"{name} must be a {kind.__name__} or None, not {inputs.shown(value)}")

    @classmethod
    def of(cls, k: Any, options: Mapping[str, Any]) -> Self:
        """Return the request of a call that takes its options by name; an InputError names an unknown one."""
        inputs.known_options(options, [entry.name for entry in fields(cls) if entry.name != "k"], "a search")
        return cls(k, **options)

    @property
    def pool(self) -> int:
        """Number of best hits from which `k` are chosen."""
        return self.k if self.refine is None else max(self.k, self.refine.pool)


@dataclass(frozen=True, slots=True)
class Stages:
    """The parts of a pipeline; see `SearchPipeline`."""

    retriever: Retriever
    snapshot: Snapshot
    reranker: "CandidateReranker | None"
    candidates: int
    budget: Budget

    @property
    def documents(self) -> DocumentStore:
        """The documents."""
        return self.snapshot.documents

    @property
    def legs(self) -> Sequence[Retriever]:
        """Retrievers of the first stage."""
        legs: Sequence[Retriever] = getattr(self.retriever, "legs", (self.retriever,))
        return legs

    def depth(self, request: SearchRequest) -> int:
        """Return the number of hits that the first stage must find."""
        return request.pool if self.reranker is None else max(request.pool, self.candidates)

    def answer(self, queries: Sequence[str], request: SearchRequest, trace: Trace) -> list[SearchResults]:
        """Return the results of a batch of queries."""
        start = time.perf_counter()
        found = self.find(queries, request, trace)
        return self.show(queries, found, request, trace, start, partial(explain, self.legs, queries, self.documents))

    def find(self, queries: Sequence[str], request: SearchRequest, trace: Trace) -> Hits:
        """Return the hits of the first stage, with the provenance of each leg."""
        hits = self.retriever.search(queries, self.depth(request), filter=request.filter, trace=trace)
        return hits if hits.legs else hits.as_leg(self.retriever.name)

    def rerank(self, queries: Sequence[str], hits: Hits, request: SearchRequest, trace: Trace) -> Hits:
        """Return the hits as the reranker orders them; without a reranker, unchanged."""
        if self.reranker is None:
            if request.budget is not None:
                raise InputError("a budget limits a reranker, and this pipeline has none: open it with a reranker")
            return hits
        budget = request.budget or self.budget
        budget = replace(budget, top=budget.top or request.k)
        hits = self._present(hits, trace)
        return self.reranker.rerank(queries, hits, self.documents, depth=self.candidates, budget=budget, trace=trace)

    def show(
        self, queries: Sequence[str], found: Hits, request: SearchRequest, trace: Trace, start: float, explain: Explain
    ) -> list[SearchResults]:
        """Rerank, refine, fetch and explain the hits of a batch that started at `start`."""
        hits = self.rerank(queries, found, request, trace).top(request.pool)
        if self.reranker is None:  # a reranker was given present documents only
            hits = self._present(hits, trace)
        rankings, documents = self._refined(hits, request, trace)
        notes = _notes_of_refining(request.refine, hits, documents)
        explanations: Sequence[Explanation | None] = [None] * len(hits.codes)
        if request.explain:
            with trace.stage("explain"):
                explanations = explain(hits, trace)
        timings = {stage: 1000 * seconds / len(queries) for stage, seconds in trace.seconds.items()}
        timings["total"] = 1000 * (time.perf_counter() - start) / len(queries)
        first = hits.offsets.tolist()
        return [
            SearchResults(
                (
                    _result(hit, rank, documents[hit.doc_id], explanations[first[row] + hit.rank - 1])
                    for rank, hit in enumerate(ranking, 1)
                ),
                timings=timings,
                failures=trace.failures,
                notes=[*trace.notes, *notes, *self._notes_of(queries[row])],
                reranked=None if trace.scored is None else int(trace.scored[row]),
            )
            for row, ranking in enumerate(rankings)
        ]

    def _notes_of(self, query: str) -> list[str]:
        """Return why legs that match words cannot find anything."""
        if _WORD.search(query):
            return []
        legs = [leg.name for leg in self.legs if isinstance(leg, Bm25Retriever)]
        return [f"the query {inputs.shown(query)} contains no word: the leg {name!r} finds nothing" for name in legs]

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
                rankings = [refine.apply(ranking, request.k, documents, self._vectors) for ranking in rankings]
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


def _result(hit: Hit, rank: int, document: Document, explanation: Explanation | None) -> SearchResult:
    return SearchResult(
        hit.doc_id, hit.score, rank, document.title, document.text, document.metadata, hit.legs, explanation
    )
