"""LangChain retriever and document compressor, run by langchain-core."""

import asyncio

import pytest

pytest.importorskip("langchain_core", reason="pip install 'retrieve-rerank[langchain]'")

from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.documents import Document

from indexing.errors import InputError
from pipelines.adapters.langchain import PipelineRetriever, RerankerCompressor
from retrieve import LateInteractionReranker

QUERY = "bake something with flour"


@pytest.fixture
def retriever(pipeline):
    return PipelineRetriever(pipeline=pipeline, k=4)


class Heard(BaseCallbackHandler):
    def __init__(self):
        self.queries, self.answers = [], []

    def on_retriever_start(self, serialized, query, **_):
        self.queries.append(query)

    def on_retriever_end(self, documents, **_):
        self.answers.append([document.id for document in documents])


def ids(documents):
    return [document.id for document in documents]


class TestRetriever:
    def test_documents_say_where_they_came_from(self, retriever, pipeline):
        expected = pipeline.search(QUERY, k=4)
        found = retriever.invoke(QUERY)
        assert ids(found) == [result.doc_id for result in expected]
        for document, result in zip(found, expected, strict=True):
            assert document.page_content == result.text
            assert document.metadata["title"] == result.title
            retrieval = document.metadata["retrieval"]
            assert (retrieval["score"], retrieval["rank"]) == (result.score, result.rank)
            assert retrieval["legs"] == result.as_dict()["legs"]

    def test_the_documents_own_fields_stay(self, retriever):
        eigenvalues = next(found for found in retriever.invoke("eigenvalues of a matrix") if found.id == "eig")
        assert eigenvalues.metadata["year"] == 1965

    def test_a_call_may_ask_for_something_else(self, pipeline):
        retriever = PipelineRetriever(pipeline=pipeline, k=4, options={"explain": True})
        found = retriever.invoke(QUERY, k=2)
        assert len(found) == 2 and "explanation" in found[0].metadata["retrieval"]
        assert "explanation" not in retriever.invoke(QUERY, explain=False)[0].metadata["retrieval"]

    def test_async(self, retriever):
        assert asyncio.run(retriever.ainvoke(QUERY)) == retriever.invoke(QUERY)

    def test_a_batch_is_searched_at_once_and_callbacks_see_each_query(self, retriever, pipeline, monkeypatch):
        queries = [QUERY, "lost packets", QUERY, "matrix"]
        alone = [ids(retriever.invoke(query, k=3)) for query in queries]
        calls = []
        search, batch = type(pipeline).search, type(pipeline).batch_search
        monkeypatch.setattr(type(pipeline), "search", lambda *a, **b: calls.append("search") or search(*a, **b))
        monkeypatch.setattr(type(pipeline), "batch_search", lambda *a, **b: calls.append("batch") or batch(*a, **b))
        heard = Heard()
        assert [ids(found) for found in retriever.batch(queries, {"callbacks": [heard]}, k=3)] == alone
        assert [ids(found) for found in asyncio.run(retriever.abatch(queries, k=3))] == alone
        assert calls == ["batch", "batch"]
        assert sorted(heard.queries) == sorted(queries) and sorted(heard.answers) == sorted(alone)
        assert retriever.batch([]) == []

    def test_what_a_batch_found_is_not_kept(self, retriever, pipeline, monkeypatch):
        retriever.batch([QUERY, "matrix"])
        monkeypatch.setattr(type(pipeline), "search", lambda *_, **__: [])
        assert retriever.invoke(QUERY) == []

    def test_errors_of_a_batch_are_the_callers_or_answers(self, retriever):
        with pytest.raises(InputError, match="must be a string, not 7"):
            retriever.batch([QUERY, 7])
        good, bad = retriever.batch([QUERY, 7], return_exceptions=True)
        assert ids(good) == ids(retriever.invoke(QUERY)) and isinstance(bad, InputError)

    def test_it_composes(self, retriever):
        chain = retriever | (lambda documents: [document.id for document in documents])
        assert chain.invoke(QUERY) == ids(retriever.invoke(QUERY))


class TestCompressor:
    def test_after_the_retriever_it_is_the_pipelines_own_reranker(self, pipeline, reranked, reranker):
        found = PipelineRetriever(pipeline=pipeline, k=8).invoke(QUERY)
        compressed = RerankerCompressor(reranker=reranker, top_n=3).compress_documents(found, QUERY)
        expected = reranked.search(QUERY, k=3)
        assert ids(compressed) == [result.doc_id for result in expected]
        for document, result in zip(compressed, expected, strict=True):
            retrieval = document.metadata["retrieval"]
            assert retrieval["score"] == pytest.approx(result.score, abs=1e-5)
            assert retrieval["rank"] == result.rank
            assert retrieval["legs"]["first-stage"]["rank"] == result.legs["first-stage"].rank
            assert retrieval["legs"]["reranker"]["score"] == pytest.approx(result.legs["reranker"].score, abs=1e-5)
            assert set(retrieval["legs"]) == set(result.legs)
        assert "reranker" not in found[0].metadata["retrieval"]["legs"], "what was given is not changed"

    def test_documents_of_any_retriever(self, reranker):
        documents = [
            Document(page_content="A reliable stream of bytes.", metadata={"page": 1}),
            Document(page_content="Bake the cake in an oven."),
        ]
        compressor = RerankerCompressor(reranker=LateInteractionReranker(reranker.encoder, weight=0))
        best, other = compressor.compress_documents(documents, "how long to bake a cake in the oven")
        assert best.page_content == "Bake the cake in an oven." and "retrieval" in best.metadata
        assert other.metadata["page"] == 1
        assert compressor.compress_documents([], "anything") == []
        again = asyncio.run(compressor.acompress_documents(documents, "how long to bake a cake in the oven"))
        assert again == [best, other]


def test_the_example_of_the_docs(run_example, collection):
    lines = run_example("LangChain", collection=collection)
    assert len(lines) == 3 and all("'reranker': {'rank'" in line and "'dense'" in line for line in lines)
