"""LlamaIndex: a pipeline as a retriever, a reranker as a node postprocessor (extra ``llamaindex``)."""

from collections.abc import Mapping
from typing import Any

from indexing.errors import InputError
from indexing.inputs import known_options, whole_number
from pipelines.adapters.common import (
    OPTIONS,
    RETRIEVAL,
    check_pipeline,
    check_reranking,
    contents_of,
    metadata_of,
    missing,
    rerank_texts,
)
from pipelines.adapters.filters import from_llamaindex
from pipelines.search import SearchPipeline
from pipelines.search.results import SearchResults

try:
    from llama_index.core.callbacks import CallbackManager
    from llama_index.core.postprocessor.types import BaseNodePostprocessor
    from llama_index.core.retrievers import BaseRetriever
    from llama_index.core.schema import MetadataMode, NodeWithScore, QueryBundle, TextNode
    from llama_index.core.vector_stores import MetadataFilters
except ModuleNotFoundError as error:
    raise missing(error, "llamaindex") from error


class PipelineRetriever(BaseRetriever):
    """A `SearchPipeline` as a LlamaIndex retriever: ``retrieve`` and ``aretrieve``.

    A node's id is the ``doc_id``; its metadata holds the document's fields and title, and under ``retrieval`` its
    score, rank and provenance, which are hidden from language models and embeddings.

    Parameters
    ----------
    pipeline
        An open pipeline; the retriever does not close it.
    k
        Number of nodes.
    callback_manager
        LlamaIndex's callback manager.
    filters
        LlamaIndex's ``MetadataFilters``, or a filter as for `SearchPipeline.search`.
    options
        Further arguments of `SearchPipeline.search`: ``refine``, ``budget``, ``explain``, ``tenant``, and ``filter``,
        which is another name of `filters`.

    Raises
    ------
    InputError
        For an unknown option, and for an operator of a filter that `SearchPipeline.search` does not have.
    """

    def __init__(
        self,
        pipeline: SearchPipeline,
        *,
        k: int = 10,
        callback_manager: CallbackManager | None = None,
        filters: "MetadataFilters | Mapping[str, Any] | None" = None,
        **options: Any,
    ) -> None:
        super().__init__(callback_manager=callback_manager)
        known_options(options, ("filter", *OPTIONS), "PipelineRetriever")
        if filters is not None and options.get("filter") is not None:
            raise InputError("filters and filter are two names of one argument: pass one of them")
        self.pipeline, self.k = check_pipeline(pipeline), whole_number(k, "k")
        chosen = options.pop("filter", None) if filters is None else filters
        self.options = {**options, "filter": from_llamaindex(chosen)}

    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        return _nodes(self.pipeline.search(query_bundle.query_str, self.k, **self.options))

    async def _aretrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        return _nodes(await self.pipeline.asearch(query_bundle.query_str, self.k, **self.options))


class RerankerPostprocessor(BaseNodePostprocessor):
    """A reranker as a LlamaIndex node postprocessor, for nodes of any retriever.

    Keeps the best `top_n`, with their new scores. Nodes without scores count as ranked in their order.

    Parameters
    ----------
    reranker
        A `Reranker` or `LateInteractionReranker`.
    top_n
        Number of nodes to return; all by default.
    """

    reranker: Any
    top_n: int | None = None

    def __init__(self, **values: Any) -> None:
        check_reranking(values, type(self))
        super().__init__(**values)

    @classmethod
    def class_name(cls) -> str:
        """Return the class name, which LlamaIndex requires of each component."""
        return "RerankerPostprocessor"

    def _postprocess_nodes(
        self, nodes: list[NodeWithScore], query_bundle: QueryBundle | None = None
    ) -> list[NodeWithScore]:
        if query_bundle is None:
            raise InputError("a reranker needs the query: pass query_str or query_bundle")
        texts = [contents_of(entry.node.get_content(MetadataMode.NONE), entry.node.metadata) for entry in nodes]
        scores = [entry.score for entry in nodes]
        ranked = []
        for reranked in rerank_texts(self.reranker, query_bundle.query_str, texts, scores, self.top_n):
            node = nodes[reranked.position].node.model_copy()
            node.metadata = reranked.added_to(node.metadata)
            node.excluded_llm_metadata_keys = _with_retrieval(node.excluded_llm_metadata_keys)
            node.excluded_embed_metadata_keys = _with_retrieval(node.excluded_embed_metadata_keys)
            ranked.append(NodeWithScore(node=node, score=reranked.score))
        return ranked


def _nodes(results: SearchResults) -> list[NodeWithScore]:
    return [
        NodeWithScore(
            node=TextNode(
                id_=result.doc_id,
                text=result.text,
                metadata=metadata_of(result),
                excluded_llm_metadata_keys=[RETRIEVAL],
                excluded_embed_metadata_keys=[RETRIEVAL],
            ),
            score=result.score,
        )
        for result in results
    ]


def _with_retrieval(keys: list[str]) -> list[str]:
    return keys if RETRIEVAL in keys else [*keys, RETRIEVAL]
