"""Late interaction with a multi-vector encoder, and over stored token vectors."""

import numpy as np
import pytest
from late_interaction import write_colbert

from checkpoints import write_bert
from indexing.documents import Document
from indexing.hits import Hits
from indexing.indexes.tokens.index import TokenIndex
from indexing.max_sim import max_sim
from indexing.token_vectors import TokenVectors
from pipelines.build.job import build_collection
from pipelines.search import SearchPipeline
from retrieve import DenseEncoder, LateInteractionReranker, MultiVectorEncoder
from retrieve.encoders import DenseTokens
from retrieve.reranking.budget import Budget
from retrieve.reranking.stored_tokens import StoredTokenReranker

TEXTS = {
    "wave": "the energy of a wave of light",
    "fire": "fire is heat",
    "stock": "the price of a stock in the market",
    "cell": "water in a cell",
    "empty": ",",
}
QUERIES = ["the energy of fire", "market price"]


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    expansion = {"strategy": "fixed", "length": 8}
    folder = write_colbert(
        tmp_path_factory.mktemp("model") / "m", skiplist=["[CLS]", "[SEP]", ","], query_expansion=expansion
    )
    return MultiVectorEncoder(folder, dtype="float32", device="cpu")


@pytest.fixture
def index(encoder, tmp_path):
    index = TokenIndex.create(tmp_path / "index", encoder.dimension)
    index.upsert(list(TEXTS), encoder.encode_document(list(TEXTS.values())))
    yield index
    index.close()


def hits(names: list[list[str]]) -> Hits:
    ids = np.array(list(dict.fromkeys(name for row in names for name in row)), dtype=object)
    rows = np.repeat(np.arange(len(names)), [len(row) for row in names])
    codes = np.array([list(ids).index(name) for row in names for name in row])
    scores = np.concatenate([np.arange(len(row), 0, -1.0) for row in names])
    return Hits.ranked(len(names), rows, codes, scores, ids)


def scores_of(found: Hits) -> dict[tuple[int, str], float]:
    return {
        (row, doc_id): score
        for row, ranking in enumerate(found)
        for doc_id, score in zip(ranking.doc_ids, ranking.scores, strict=True)
    }


def test_a_multi_vector_encoder_scores_by_mean_max_sim(encoder):
    names = [["wave", "fire", "stock"], ["cell", "stock"]]
    found = LateInteractionReranker(encoder, weight=0).rerank(QUERIES, hits(names), TEXTS)
    queries = encoder.encode_query(QUERIES)
    for (row, doc_id), score in scores_of(found).items():
        document = encoder.encode_document([TEXTS[doc_id]])
        expected = max_sim(queries.slice(row, row + 1), document, mean=True)[0, 0]
        assert score == pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize("weight", [0.0, 0.5])
def test_stored_vectors_give_the_scores_of_encoded_texts(encoder, index, weight):
    names = [["wave", "fire", "stock", "cell"], ["cell", "stock"]]
    stored = StoredTokenReranker(encoder, index, weight=weight).rerank(QUERIES, hits(names), {})
    encoded = LateInteractionReranker(encoder, weight=weight).rerank(QUERIES, hits(names), TEXTS)
    assert stored.doc_ids == encoded.doc_ids
    np.testing.assert_allclose(stored.scores, encoded.scores, atol=2e-3)


def test_candidates_without_vectors_come_last(encoder, index):
    found = StoredTokenReranker(encoder, index, weight=0).rerank(
        QUERIES[:1], hits([["deleted", "empty", "fire", "wave"]]), {}
    )
    assert set(found.doc_ids[2:]) == {"deleted", "empty"}
    assert found.scores[2:].tolist() == [-1.0, -1.0]


def test_a_budget_limits_what_is_read(encoder, index):
    names = [["wave", "fire", "stock", "cell"]]
    found = StoredTokenReranker(encoder, index).rerank(QUERIES[:1], hits(names), {}, budget=Budget(max_pairs=2))
    assert set(found[0].doc_ids[:2]) == {"wave", "fire"} and found[0].doc_ids[2:] == ["stock", "cell"]


def test_an_index_of_mean_scores_gives_the_same(encoder, index, tmp_path):
    with TokenIndex.create(tmp_path / "mean", encoder.dimension, metric="meanmaxsim") as other:
        other.upsert(list(TEXTS), encoder.encode_document(list(TEXTS.values())))
        names = [["wave", "fire", "stock", "cell"], ["cell", "stock"]]
        mean = StoredTokenReranker(encoder, other, weight=0, mean=True).rerank(QUERIES, hits(names), {})
    plain = StoredTokenReranker(encoder, index, weight=0).rerank(QUERIES, hits(names), {})
    np.testing.assert_allclose(mean.scores, plain.scores, atol=1e-6)


def test_a_pipeline_reranks_by_the_stored_vectors_of_a_dense_encoder(tmp_path, minilm, corpus):
    tokens = DenseTokens(minilm)
    build_collection(corpus, tmp_path / "c", bm25=False, dense=minilm, multi_vector=tokens, show_progress=False)
    options = {"reranker": "late-interaction", "dense": minilm}
    with SearchPipeline.open(tmp_path / "c", **options, multi_vector=tokens) as pipeline:
        assert isinstance(pipeline.reranker, StoredTokenReranker)
        assert pipeline.retriever.name == "dense"
        stored = pipeline.search("how to bake with flour", k=8)
    with SearchPipeline.open(tmp_path / "c", **options) as pipeline:
        loaded_by_name = pipeline.search("how to bake with flour", k=8)
    build_collection(corpus, tmp_path / "without", bm25=False, dense=minilm, show_progress=False)
    with SearchPipeline.open(tmp_path / "without", **options) as pipeline:
        assert isinstance(pipeline.reranker, LateInteractionReranker)
        encoded = pipeline.search("how to bake with flour", k=8)
    assert [hit.doc_id for hit in stored] == [hit.doc_id for hit in encoded] == [hit.doc_id for hit in loaded_by_name]
    np.testing.assert_allclose([hit.score for hit in stored], [hit.score for hit in encoded], atol=2e-3)


@pytest.mark.parametrize("kind", ["dense", "tokens"])
def test_a_query_is_encoded_once_for_a_leg_and_the_reranker(tmp_path, encoder, kind):
    if kind == "dense":
        encoder = DenseEncoder(write_bert(tmp_path / "model"), dtype="float32", device="cpu")
    legs = {"dense": encoder, "multi_vector": DenseTokens(encoder)} if kind == "dense" else {"multi_vector": encoder}
    corpus = [Document(name, text) for name, text in TEXTS.items()]
    build_collection(corpus, tmp_path / "c", **legs, show_progress=False)
    options = {kind if kind == "dense" else "multi_vector": encoder, "reranker": "late-interaction"}
    batches: list[int] = []
    with SearchPipeline.open(tmp_path / "c", **options) as pipeline:
        pipeline.search(QUERIES[0], k=4)
        with encoder.engine_for("query").network.register_forward_hook(lambda *_: batches.append(1)):
            together = pipeline.search(QUERIES[1], k=4)
        assert batches == [1]
        pipeline.reranker._queries = type(pipeline.reranker._queries)(pipeline.reranker._encode_queries)
        apart = pipeline.search(QUERIES[1], k=4)
    assert [hit.doc_id for hit in together] == [hit.doc_id for hit in apart]
    np.testing.assert_allclose([hit.score for hit in together], [hit.score for hit in apart], atol=1e-6)


def test_token_vectors_of_a_dense_encoder_have_an_identity_of_their_own(minilm):
    tokens = DenseTokens(minilm)
    assert tokens.identity["kind"] == "dense-tokens" != minilm.identity["kind"]
    found = tokens.encode_document(["a text"])
    assert isinstance(found, TokenVectors) and found.dimension == tokens.dimension == 384
    make, model, arguments = tokens.recipe
    again = make(model, **arguments)
    assert again.identity == tokens.identity
    np.testing.assert_allclose(again.encode_query(["a text"]).vectors, found.vectors, atol=1e-5)
