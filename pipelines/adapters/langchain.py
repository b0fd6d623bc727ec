"""LangChain: a pipeline as a retriever, a reranker as a document compressor (extra ``langchain``)."""

import asyncio
from collections.abc import Mapping, Sequence
from contextvars import ContextVar
from typing import Any, TypeAlias

from pipelines.adapters.common import RETRIEVAL, contents_of, metadata_of, missing, rerank_texts
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


class PipelineRetriever(BaseRetriever):
    """A `SearchPipeline` as a LangChain retriever: ``invoke``, ``ainvoke``, ``batch`` and ``abatch``.

    A document's id is its ``doc_id``; its metadata are its own fields, its title, and under ``retrieval`` its score,
    rank and provenance. A batch is encoded and searched together; callbacks are called for each query all the same.

    Parameters
    ----------
    pipeline
        An opened `SearchPipeline`; the retriever does not close it.
    k
        How many documents; ``retriever.invoke(query, k=3)`` says otherwise for once.
    options
        Further arguments of `SearchPipeline.search` (``filter``, ``refine``, ``budget``, ``explain``); a call's own
        come before them.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True)

    pipeline: Any
    k: int = 10
    options: dict[str, Any] = Field(default_factory=dict)

    def _get_relevant_documents(
        self, query: str, *, run_manager: CallbackManagerForRetrieverRun, **asked: Any
    ) -> list[Document]:
        found = self._prepared(query, asked)
        return _documents(found if found is not None else self.pipeline.search(query, **self._arguments(asked)))

    async def _aget_relevant_documents(
        self, query: str, *, run_manager: AsyncCallbackManagerForRetrieverRun, **asked: Any
    ) -> list[Document]:
        found = self._prepared(query, asked)
        return _documents(found if found is not None else await self.pipeline.asearch(query, **self._arguments(asked)))

    def batch(
        self, inputs: list[str], config: Configs = None, *, return_exceptions: bool = False, **asked: Any
    ) -> list[list[Document]]:
        """Answer several queries, searching for all of them at once."""
        token = _prepared.set((self, asked, self._together(inputs, return_exceptions, asked)))
        try:
            return super().batch(inputs, config, return_exceptions=return_exceptions, **asked)
        finally:
            _prepared.reset(token)

    async def abatch(
        self, inputs: list[str], config: Configs = None, *, return_exceptions: bool = False, **asked: Any
    ) -> list[list[Document]]:
        """Answer several queries without blocking the event loop, searching for all of them at once in a thread."""
        answers = await asyncio.to_thread(self._together, inputs, return_exceptions, asked)
        token = _prepared.set((self, asked, answers))
        try:
            return await super().abatch(inputs, config, return_exceptions=return_exceptions, **asked)
        finally:
            _prepared.reset(token)

    def _arguments(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        return {"k": self.k, **self.options, **asked}

    def _together(
        self, queries: Sequence[str], return_exceptions: bool, asked: Mapping[str, Any]
    ) -> Mapping[str, SearchResults]:
        try:
            found: dict[str, SearchResults] = self.pipeline.batch_search(
                {query: query for query in queries}, **self._arguments(asked)
            )
            return found
        except Exception:
            if not return_exceptions:
                raise
            # One by one, so that the error is the answer of the query at fault only.
            return {}

    def _prepared(self, query: str, asked: Mapping[str, Any]) -> SearchResults | None:
        """Give the answer that a batch around this call has found already."""
        owner, arguments, answers = _prepared.get()
        return answers.get(query) if owner is self and arguments == asked else None


_prepared: ContextVar[tuple[Any, Mapping[str, Any], Mapping[str, SearchResults]]] = ContextVar(
    "prepared", default=(None, {}, {})
)
"""The retriever whose batch runs, what it was asked with, and its answers: LangChain runs each query in a copy of the
context, with its own callbacks."""


class RerankerCompressor(BaseDocumentCompressor):
    """A reranker as a LangChain document compressor, for documents of any retriever.

    It keeps the best `top_n`, with their new score and rank, and both stages' own, under ``retrieval`` in the
    metadata. Documents that no `PipelineRetriever` found count as ranked in the order given.

    Parameters
    ----------
    reranker
        A `Reranker` or `LateInteractionReranker`.
    top_n
        How many documents are kept; all by default.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True)

    reranker: Any
    top_n: int | None = None

    def compress_documents(
        self, documents: Sequence[Document], query: str, callbacks: Callbacks | None = None
    ) -> Sequence[Document]:
        """Give the documents in the reranker's order; ``acompress_documents`` does it in a thread."""
        texts = [contents_of(document.page_content, document.metadata) for document in documents]
        scores = [document.metadata.get(RETRIEVAL, {}).get("score") for document in documents]
        return [
            documents[found.position].model_copy(
                update={"metadata": found.added_to(documents[found.position].metadata)}
            )
            for found in rerank_texts(self.reranker, query, texts, scores, self.top_n)
        ]


def _documents(results: Sequence[SearchResult]) -> list[Document]:
    return [Document(id=result.doc_id, page_content=result.text, metadata=metadata_of(result)) for result in results]
