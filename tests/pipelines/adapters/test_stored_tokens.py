"""Collections with token vectors behind the adapters: searched, reranked from what is stored, and other texts too."""

import pytest

from indexing.documents import Document
from pipelines import SearchPipeline, build_collection
from pipelines.adapters.common import rerank_texts
from retrieve import DenseEncoder, LateInteractionReranker
from retrieve.encoders.dense_tokens import DenseTokens
from retrieve.reranking.stored_tokens import StoredTokenReranker

TEXTS = ["the price of a stock in the market", "water is light", "a wave of light and energy", "fire is heat"]
LEGS = ["bm25", "dense", "tokens"]
QUERY = "the energy of light"


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory, tiny_dense: DenseEncoder):
    path = tmp_path_factory.mktemp("adapters") / "tokens"
    # The ids are those that positions of other texts have.
    corpus = [Document(f"{place:09}", text) for place, text in enumerate(reversed(TEXTS))]
    build_collection(corpus, path, dense=tiny_dense, multi_vector=DenseTokens(tiny_dense), show_progress=False)
    with SearchPipeline.open(path, legs=LEGS, dense=tiny_dense, reranker="late-interaction") as pipeline:
        yield pipeline


def found_by(framework: str, pipeline: SearchPipeline) -> list[str]:
    if framework == "langchain":
        from pipelines.adapters.langchain import PipelineRetriever

        return [document.id for document in PipelineRetriever(pipeline=pipeline, k=3).invoke(QUERY)]
    if framework == "haystack":
        from pipelines.adapters.haystack import PipelineRetriever

        config = {"legs": LEGS, "reranker": {"model": "late-interaction"}}
        retriever = PipelineRetriever(str(pipeline.collection.path), 3, config)
        found = [document.id for document in retriever.run(QUERY)["documents"]]
        retriever.close()
        return found
    from pipelines.adapters.llamaindex import PipelineRetriever

    return [found.node.node_id for found in PipelineRetriever(pipeline, k=3).retrieve(QUERY)]


@pytest.mark.parametrize(
    ("framework", "module"),
    [("langchain", "langchain_core"), ("haystack", "haystack"), ("llamaindex", "llama_index.core")],
)
def test_a_collection_with_token_vectors_answers_as_it_does_itself(framework, module, pipeline):
    pytest.importorskip(module)
    assert isinstance(pipeline.reranker, StoredTokenReranker)
    assert found_by(framework, pipeline) == [hit.doc_id for hit in pipeline.search(QUERY, k=3)]


def test_other_texts_are_encoded_and_not_looked_up_by_their_position(pipeline, tiny_dense):
    expected = rerank_texts(LateInteractionReranker(tiny_dense), QUERY, TEXTS, [None] * len(TEXTS))
    found = rerank_texts(pipeline.reranker, QUERY, TEXTS, [None] * len(TEXTS))
    assert [one.position for one in found] == [one.position for one in expected]
    assert [one.score for one in found] == pytest.approx([one.score for one in expected], abs=1e-6)
