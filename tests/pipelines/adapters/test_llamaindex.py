"""LlamaIndex retriever and node postprocessor, run by llama-index-core."""

import asyncio

import pytest

pytest.importorskip("llama_index.core", reason="pip install 'retrieve-rerank[llamaindex]'")

from llama_index.core.schema import MetadataMode, NodeWithScore, QueryBundle, TextNode

from indexing.errors import InputError
from pipelines.adapters.llamaindex import PipelineRetriever, RerankerPostprocessor

QUERY = "bake something with flour"


def ids(nodes):
    return [entry.node.node_id for entry in nodes]


class TestRetriever:
    def test_nodes_say_where_they_came_from(self, pipeline):
        expected = pipeline.search(QUERY, k=4)
        nodes = PipelineRetriever(pipeline, k=4).retrieve(QUERY)
        assert ids(nodes) == [result.doc_id for result in expected]
        for entry, result in zip(nodes, expected, strict=True):
            assert (entry.score, entry.node.get_content()) == (result.score, result.text)
            assert entry.node.metadata["retrieval"]["legs"] == result.as_dict()["legs"]
            assert "title: " + result.title in entry.node.get_content(MetadataMode.LLM)
            for mode in (MetadataMode.LLM, MetadataMode.EMBED):
                assert "retrieval" not in entry.node.get_content(mode)

    def test_options_and_async(self, pipeline):
        retriever = PipelineRetriever(pipeline, k=3, explain=True)
        nodes = retriever.retrieve(QueryBundle(QUERY))
        assert "explanation" in nodes[0].node.metadata["retrieval"]
        assert ids(asyncio.run(retriever.aretrieve(QUERY))) == ids(nodes)


class TestPostprocessor:
    def test_after_the_retriever_it_is_the_pipelines_own_reranker(self, pipeline, reranked, reranker):
        nodes = PipelineRetriever(pipeline, k=8).retrieve(QUERY)
        kept = RerankerPostprocessor(reranker=reranker, top_n=3).postprocess_nodes(nodes, query_str=QUERY)
        expected = reranked.search(QUERY, k=3)
        assert ids(kept) == [result.doc_id for result in expected]
        for entry, result in zip(kept, expected, strict=True):
            assert entry.score == pytest.approx(result.score, abs=1e-5)
            legs = entry.node.metadata["retrieval"]["legs"]
            assert legs["first-stage"]["rank"] == result.legs["first-stage"].rank
            assert legs["reranker"]["rank"] == result.legs["reranker"].rank
        assert "reranker" not in nodes[0].node.metadata["retrieval"]["legs"], "what was given is not changed"

    def test_nodes_of_any_retriever(self, reranker):
        nodes = [
            NodeWithScore(node=TextNode(text=text, metadata={"page": 1})) for text in ("A river.", "Baking bread.")
        ]
        postprocessor = RerankerPostprocessor(reranker=reranker)
        kept = asyncio.run(postprocessor.apostprocess_nodes(nodes, query_str="a loaf of bread"))
        assert sorted(ids(kept)) == sorted(ids(nodes))
        assert all("retrieval" not in entry.node.get_content(MetadataMode.LLM) for entry in kept)
        assert postprocessor.postprocess_nodes([], query_str="anything") == []

    def test_without_a_query_there_is_nothing_to_rank_by(self, reranker):
        with pytest.raises(InputError, match="pass query_str"):
            RerankerPostprocessor(reranker=reranker).postprocess_nodes([NodeWithScore(node=TextNode(text="a"))])


def test_the_example_of_the_docs(run_example, collection):
    lines = run_example("LlamaIndex", collection=collection)
    assert len(lines) == 3 and all("reranker" in line for line in lines)
