"""Haystack retriever and ranker, run by haystack-ai."""

import asyncio
import os

import pytest

os.environ.setdefault("HAYSTACK_TELEMETRY_ENABLED", "False")
pytest.importorskip("haystack", reason="pip install 'retrieve-rerank[haystack]'")

from haystack import Document, Pipeline

from indexing.errors import InputError
from pipelines.adapters.haystack import CandidateRanker, PipelineRetriever

QUERY = "bake something with flour"


@pytest.fixture
def retriever(collection):
    retriever = PipelineRetriever(
        str(collection), top_k=8, config={"legs": {"dense": {"dtype": "float32"}, "bm25": {}}}
    )
    yield retriever
    retriever.close()


def test_documents_say_where_they_came_from(retriever, pipeline):
    expected = pipeline.search(QUERY, k=4)
    found = retriever.run(QUERY, top_k=4)["documents"]
    assert [document.id for document in found] == [result.doc_id for result in expected]
    for document, result in zip(found, expected, strict=True):
        assert document.content == result.text
        assert document.score == pytest.approx(result.score, abs=1e-5)
        assert set(document.meta["retrieval"]["legs"]) == set(result.legs)
    assert asyncio.run(retriever.run_async(QUERY, top_k=4))["documents"] == found


def test_closed_it_opens_again(retriever):
    before = retriever.run(QUERY)["documents"]
    retriever.close()
    assert retriever.run(QUERY)["documents"] == before


def test_after_the_retriever_the_ranker_is_the_pipelines_own_reranker(retriever, reranked, minilm_path):
    ranker = CandidateRanker(minilm_path, kind="late-interaction", top_k=3, dtype="float32")
    found = retriever.run(QUERY)["documents"]
    ranked = ranker.run(QUERY, found)["documents"]
    expected = reranked.search(QUERY, k=3)
    assert [document.id for document in ranked] == [result.doc_id for result in expected]
    for document, result in zip(ranked, expected, strict=True):
        assert document.score == pytest.approx(result.score, abs=1e-5)
        assert document.meta["retrieval"]["legs"]["reranker"]["rank"] == result.legs["reranker"].rank
    assert "reranker" not in found[0].meta["retrieval"]["legs"], "what was given is not changed"
    assert asyncio.run(ranker.run_async(QUERY, found, top_k=1))["documents"] == ranked[:1]


def test_a_cross_encoder_ranks_documents_of_any_retriever(tiny_cross_encoder):
    documents = [Document(content=text) for text in ("water", "fire", "light")]
    ranker = CandidateRanker(tiny_cross_encoder.checkpoint.name, dtype="float32")
    ranked = ranker.run("heat", documents)["documents"]
    scores = tiny_cross_encoder.predict([("heat", document.content) for document in documents])
    assert [document.score for document in ranked] == pytest.approx(sorted(scores.tolist(), reverse=True), abs=1e-5)
    assert ranker.run("heat", [])["documents"] == []
    with pytest.raises(InputError, match="kind must be"):
        CandidateRanker("model", kind="magic")


def test_through_yaml_and_back(collection, minilm_path):
    pipeline = Pipeline()
    pipeline.add_component("retriever", PipelineRetriever(str(collection), 6, {"legs": ["bm25"]}))
    pipeline.add_component("ranker", CandidateRanker(minilm_path, "late-interaction", 2, 0.3, "max", 8, "float32"))
    pipeline.connect("retriever.documents", "ranker.documents")
    again = Pipeline.loads(pipeline.dumps(), allowed_modules=["pipelines.adapters.haystack"])
    assert again.to_dict() == pipeline.to_dict()
    asked = {"retriever": {"query": "flour"}, "ranker": {"query": "flour"}}
    answer = again.run(asked)["ranker"]["documents"]
    assert answer == pipeline.run(asked)["ranker"]["documents"]
    assert [document.id for document in answer] and set(answer[0].meta["retrieval"]["legs"]) >= {"bm25", "reranker"}
    for made in (pipeline, again):
        made.get_component("retriever").close()


def test_the_example_of_the_docs(run_example, collection):
    lines = run_example("Haystack", collection=collection)
    assert len(lines) == 3 and all("reranker" in line for line in lines)
