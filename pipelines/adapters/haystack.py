"""Haystack: a collection's pipeline as a retriever, a reranker as a ranker (extra ``haystack``).

The arguments of both are plain values, so a Haystack pipeline with them can be written as YAML and read again.
"""

import asyncio
from threading import Lock
from typing import Any, Literal

from indexing.errors import InputError
from indexing.inputs import text, whole_number
from pipelines.adapters.common import contents_of, metadata_of, missing, rerank_texts
from pipelines.adapters.filters import from_haystack
from pipelines.search import SearchPipeline
from pipelines.search.results import SearchResults
from retrieve.reranking.base import CandidateReranker
from retrieve.reranking.passages import Passages

try:
    from haystack import Document, component, default_from_dict, default_to_dict
except ModuleNotFoundError as error:
    raise missing(error, "haystack") from error


@component
class PipelineRetriever:
    """A collection's search pipeline as a Haystack retriever.

    A document's id is its ``doc_id``; its ``meta`` holds its fields and title, and under ``retrieval`` its score, rank
    and provenance. ``warm_up`` or the first ``run`` opens the collection.

    Parameters
    ----------
    collection
        The collection's directory.
    top_k
        Number of documents.
    config
        Mapping or path of a YAML file for `SearchConfig`; by default the collection's ``search.yaml``.
    filters
        Filter in Haystack's form or as for `SearchPipeline.search`; the filter of a ``run`` replaces it.
    """

    def __init__(
        self,
        collection: str,
        top_k: int = 10,
        config: dict[str, Any] | str | None = None,
        filters: dict[str, Any] | None = None,
    ) -> None:
        self.collection, self.config, self.filters = text(collection, "collection"), config, filters
        self.top_k = whole_number(top_k, "top_k")
        from_haystack(filters)
        self._pipeline: SearchPipeline | None = None
        self._opening = Lock()

    def warm_up(self) -> None:
        """Open the collection and load its models."""
        with self._opening:
            if self._pipeline is None:
                self._pipeline = SearchPipeline.open(self.collection, config=self.config)

    def close(self) -> None:
        """Close the collection; the next run opens it again."""
        with self._opening:
            if self._pipeline is not None:
                self._pipeline.close()
            self._pipeline = None

    def to_dict(self) -> dict[str, Any]:
        """Return the component as plain values for `from_dict`."""
        values: dict[str, Any] = default_to_dict(
            self, collection=self.collection, top_k=self.top_k, config=self.config, filters=self.filters
        )
        return values

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> "PipelineRetriever":
        """Return a component from the values of `to_dict`."""
        retriever: PipelineRetriever = default_from_dict(cls, data)
        return retriever

    @component.output_types(documents=list[Document])
    def run(self, query: str, top_k: int | None = None, filters: dict[str, Any] | None = None) -> dict[str, Any]:
        """Find the documents for a query."""
        return {"documents": _documents(self._opened().search(query, self._top_k(top_k), filter=self._filter(filters)))}

    @component.output_types(documents=list[Document])
    async def run_async(
        self, query: str, top_k: int | None = None, filters: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        """Find the documents for a query without blocking the event loop."""
        pipeline = await asyncio.to_thread(self._opened)
        return {
            "documents": _documents(await pipeline.asearch(query, self._top_k(top_k), filter=self._filter(filters)))
        }

    def _opened(self) -> SearchPipeline:
        self.warm_up()
        assert self._pipeline is not None
        return self._pipeline

    def _top_k(self, top_k: int | None) -> int:
        return self.top_k if top_k is None else whole_number(top_k, "top_k")

    def _filter(self, filters: dict[str, Any] | None) -> Any:
        return from_haystack(self.filters if filters is None else filters)


@component
class CandidateRanker:
    """A reranker as a Haystack ranker, for documents of any retriever.

    Returns the documents in their new order with new scores, and both stages' ranks and scores under ``retrieval`` in
    ``meta``. Documents without scores count as ranked in their order.

    Parameters
    ----------
    model
        Path or Hub name of a cross-encoder, or of a dense encoder with ``kind="late-interaction"``.
    kind
        Kind of reranker.
    top_k
        Number of documents to return; all by default.
    weight, passages
        Weight of the first stage's score, and how long documents are read; by default those of the reranker.
    overlap
        See `CandidateReranker`.
    dtype
        Data type of the model's computation.
    """

    def __init__(
        self,
        model: str,
        kind: Literal["cross-encoder", "late-interaction"] = "cross-encoder",
        top_k: int | None = None,
        weight: float | None = None,
        passages: Passages | None = None,
        overlap: int = 32,
        dtype: str = "auto",
    ) -> None:
        if kind not in ("cross-encoder", "late-interaction"):
            raise InputError(f"kind must be 'cross-encoder' or 'late-interaction', not {kind!r}")
        self.model, self.kind, self.weight = text(model, "model"), kind, weight
        self.top_k = None if top_k is None else whole_number(top_k, "top_k")
        self.passages, self.overlap, self.dtype = passages, overlap, dtype
        self._reranker: CandidateReranker | None = None
        self._loading = Lock()

    def warm_up(self) -> None:
        """Load the model."""
        with self._loading:
            if self._reranker is None:
                self._reranker = self._loaded()

    def to_dict(self) -> dict[str, Any]:
        """Return the component as plain values for `from_dict`."""
        values: dict[str, Any] = default_to_dict(
            self,
            model=self.model,
            kind=self.kind,
            top_k=self.top_k,
            weight=self.weight,
            passages=self.passages,
            overlap=self.overlap,
            dtype=self.dtype,
        )
        return values

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> "CandidateRanker":
        """Return a component from the values of `to_dict`."""
        ranker: CandidateRanker = default_from_dict(cls, data)
        return ranker

    @component.output_types(documents=list[Document])
    def run(self, query: str, documents: list[Document], top_k: int | None = None) -> dict[str, Any]:
        """Rerank the documents for a query."""
        top = self.top_k if top_k is None else whole_number(top_k, "top_k")
        self.warm_up()
        assert self._reranker is not None
        texts = [contents_of(document.content or "", document.meta) for document in documents]
        scores = [document.score for document in documents]
        ranked = []
        for reranked in rerank_texts(self._reranker, query, texts, scores, top):
            values = documents[reranked.position].to_dict(flatten=False)
            new = {"score": reranked.score, "meta": reranked.added_to(values["meta"])}
            ranked.append(Document.from_dict(values | new))
        return {"documents": ranked}

    @component.output_types(documents=list[Document])
    async def run_async(self, query: str, documents: list[Document], top_k: int | None = None) -> dict[str, Any]:
        """Rerank the documents for a query in a thread."""
        ranked: dict[str, Any] = await asyncio.to_thread(self.run, query, documents, top_k)
        return ranked

    def _loaded(self) -> CandidateReranker:
        from pipelines.models import LATE_INTERACTION, Models

        models, is_late = Models(), self.kind == LATE_INTERACTION
        return models.reranker(
            LATE_INTERACTION if is_late else self.model,
            models.dense(self.model, self.dtype) if is_late else None,
            weight=self.weight,
            passages=self.passages,
            overlap=self.overlap,
            dtype=self.dtype,
        )


def _documents(results: SearchResults) -> list[Document]:
    return [
        Document(id=result.doc_id, content=result.text, meta=metadata_of(result), score=result.score)
        for result in results
    ]
