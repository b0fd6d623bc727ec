"""LangChain: a pipeline as a retriever, a reranker as a document compressor (extra ``langchain``)."""

import asyncio
from collections.abc import Mapping, Sequence
from contextvars import ContextVar
from dataclasses import replace
from typing import Any, TypeAlias

from indexing.errors import InputError
from indexing.inputs import known_options, number, shown, whole_number
from pipelines.adapters.common import (
    OPTIONS,
    check_names,
    check_pipeline,
    check_reranking,
    contents_of,
    metadata_of,
    missing,
    rerank_texts,
    score_of,
)
from pipelines.search.refine import Refine
from pipelines.search.results import SearchResult, SearchResults

try:
    from langchain_core.callbacks import AsyncCallbackManagerForRetrieverRun, CallbackManagerForRetrieverRun, Callbacks
    from langchain_core.documents import BaseDocumentCompressor, Document
    from langchain_core.retrievers import BaseRetriever
    from langchain_core.runnables import RunnableConfig
    from pydantic import ConfigDict, Field
except ModuleNotFoundError as error:
    raise missing(error, "langchain") from error

Configs: TypeAlias = RunnableConfig | list[RunnableConfig] | None


_KNOWN = ("k", "filter", "score_threshold", *OPTIONS)
"""Options of a search, beside the query."""


class PipelineRetriever(BaseRetriever):
    """A `SearchPipeline` as a LangChain retriever: ``invoke``, ``ainvoke``, ``batch`` and ``abatch``.

    A document's id is its ``doc_id``; its metadata holds its fields and title, and under ``retrieval`` its score, rank
    and provenance. A batch is encoded and searched together, but callbacks are called for each query.

    Parameters
    ----------
    pipeline
        An open `SearchPipeline`; the retriever does not close it.
    k
        Number of documents; ``retriever.invoke(query, k=3)`` overrides it.
    filter
        As for `SearchPipeline.search`; ``retriever.invoke(query, filter=…)`` replaces it.
    search_kwargs
        ``k``, ``filter`` and ``score_threshold``, as LangChain's own retrievers name them, and the options below;
        ``score_threshold`` removes hits with a lower score.
    options
        Further arguments of `SearchPipeline.search` (``refine``, ``budget``, ``explain``, ``tenant``). The arguments of
        a call override `search_kwargs`, which override `options`.

    Raises
    ------
    InputError
        For an unknown argument, here or in a call.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True)

    pipeline: Any
    k: int = 10
    filter: Any = None
    search_kwargs: dict[str, Any] = Field(default_factory=dict)
    options: dict[str, Any] = Field(default_factory=dict)

    def __init__(self, **values: Any) -> None:
        check_names(values, type(self))
        check_pipeline(values.get("pipeline"))
        if "k" in values:
            values["k"] = whole_number(values["k"], "k")
        given = [values.get("filter")]
        for name in ("search_kwargs", "options"):
            found = values.get(name, {})
            if not isinstance(found, Mapping):
                raise InputError(f"{name} must be options by their names, not {shown(found)}")
            known_options(found, _KNOWN, name)
            given.append(found.get("filter"))
        if sum(filter is not None for filter in given) > 1:
            raise InputError("filter, search_kwargs and options state more than one filter: pass one of them")
        super().__init__(**values)
        self._arguments({})

    def _get_relevant_documents(
        self, query: str, *, run_manager: CallbackManagerForRetrieverRun, **options: Any
    ) -> list[Document]:
        results = self._batch_results(query, options)
        return _documents(results if results is not None else self.pipeline.search(query, **self._arguments(options)))

    async def _aget_relevant_documents(
        self, query: str, *, run_manager: AsyncCallbackManagerForRetrieverRun, **options: Any
    ) -> list[Document]:
        results = self._batch_results(query, options)
        return _documents(
            results if results is not None else await self.pipeline.asearch(query, **self._arguments(options))
        )

    def batch(
        self, inputs: list[str], config: Configs = None, *, return_exceptions: bool = False, **options: Any
    ) -> list[list[Document]]:
        """Return the documents of several queries, which are searched together."""
        token = _batch.set((self, options, self._search_batch(inputs, return_exceptions, options)))
        try:
            return super().batch(inputs, config, return_exceptions=return_exceptions, **options)
        finally:
            _batch.reset(token)

    async def abatch(
        self, inputs: list[str], config: Configs = None, *, return_exceptions: bool = False, **options: Any
    ) -> list[list[Document]]:
        """Return the documents of several queries, searched together in a thread that leaves the event loop free."""
        results = await asyncio.to_thread(self._search_batch, inputs, return_exceptions, options)
        token = _batch.set((self, options, results))
        try:
            return await super().abatch(inputs, config, return_exceptions=return_exceptions, **options)
        finally:
            _batch.reset(token)

    def _arguments(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """Return the arguments of `SearchPipeline.search` for a call with these options."""
        known_options(options, [*_KNOWN, "search_kwargs"], "a call of PipelineRetriever")
        called = dict(options)
        kwargs = {**self.search_kwargs, **called.pop("search_kwargs", {}), **called}
        known_options(kwargs, _KNOWN, "search_kwargs")
        stated = {} if self.filter is None else {"filter": self.filter}
        arguments = {"k": self.k, **stated, **self.options, **kwargs}
        arguments["k"] = whole_number(arguments["k"], "k")
        threshold = arguments.pop("score_threshold", None)
        if threshold is not None:
            refine = arguments.get("refine") or Refine()
            arguments["refine"] = replace(refine, threshold=number(threshold, "score_threshold"))
        return arguments

    def _search_batch(
        self, queries: Sequence[str], return_exceptions: bool, options: Mapping[str, Any]
    ) -> Mapping[str, SearchResults]:
        try:
            results: dict[str, SearchResults] = self.pipeline.batch_search(
                {query: query for query in queries}, **self._arguments(options)
            )
            return results
        except Exception:
            if not return_exceptions:
                raise
            # Without results, each query is searched alone, and only the failing one returns the error.
            return {}

    def _batch_results(self, query: str, options: Mapping[str, Any]) -> SearchResults | None:
        """Return the query's results if the batch that this call belongs to has them."""
        owner, batch_options, results = _batch.get()
        return results.get(query) if owner is self and batch_options == options else None


_batch: ContextVar[tuple[Any, Mapping[str, Any], Mapping[str, SearchResults]]] = ContextVar(
    "batch", default=(None, {}, {})
)
"""The retriever, options and results of the current batch. LangChain runs each query of a batch in a copy of the
context, with its own callbacks."""


class RerankerCompressor(BaseDocumentCompressor):
    """A reranker as a LangChain document compressor, for documents of any retriever.

    Keeps the best `top_n`, with their new score and rank and those of both stages under ``retrieval`` in the metadata.
    Documents that are not from a `PipelineRetriever` count as ranked in their order.

    Parameters
    ----------
    reranker
        A `Reranker` or `LateInteractionReranker`.
    top_n
        Number of documents to return; all by default.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True)

    reranker: Any
    top_n: int | None = None

    def __init__(self, **values: Any) -> None:
        check_reranking(values, type(self))
        super().__init__(**values)

    def compress_documents(
        self, documents: Sequence[Document], query: str, callbacks: Callbacks | None = None
    ) -> Sequence[Document]:
        """Return the documents in the reranker's order; ``acompress_documents`` runs this in a thread."""
        texts = [contents_of(document.page_content, document.metadata) for document in documents]
        scores = [score_of(document.metadata) for document in documents]
        return [
            documents[reranked.position].model_copy(
                update={"metadata": reranked.added_to(documents[reranked.position].metadata)}
            )
            for reranked in rerank_texts(self.reranker, query, texts, scores, self.top_n)
        ]


def _documents(results: Sequence[SearchResult]) -> list[Document]:
    return [Document(id=result.doc_id, page_content=result.text, metadata=metadata_of(result)) for result in results]
