"""Token vectors deployed: searched, fused, explained and read by the reranker as in their collection."""

import numpy as np
import pytest
from late_interaction import write_colbert

from indexing.documents import Document
from pipelines.build.job import build_collection
from pipelines.deploy.certificate import certify
from pipelines.deploy.job import deploy
from pipelines.search.pipeline import SearchPipeline
from retrieve import MultiVectorEncoder
from retrieve.encoders.dense_tokens import DenseTokens
from retrieve.reranking.stored_tokens import StoredTokenReranker

WORDS = ["water", "light", "wave", "energy", "stock", "price", "market", "fire", "heat", "cell"]
QUERY = "water wave"


def documents(count):
    rng = np.random.default_rng(0)
    return [
        Document(f"d{number}", " ".join(rng.choice(WORDS, 3 + number % 9)), metadata={"year": 2000 + number % 3})
        for number in range(count)
    ]


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    return MultiVectorEncoder(
        write_colbert(tmp_path_factory.mktemp("model") / "colbert", document_length=30), dtype="float32", device="cpu"
    )


@pytest.fixture(scope="module")
def collection(tmp_path_factory, encoder):
    path = tmp_path_factory.mktemp("built") / "collection"
    build_collection(documents(40), path, multi_vector=encoder, fields={"year": "number"}, show_progress=False)
    return path


def check(collection, to, encoder):
    certificate = certify(collection, to, sampled=8, multi_vector=encoder)
    assert certificate.passed, certificate.lines()
    parities = {one.name: (one.bound.setting, one.parity.overlap) for one in certificate.comparisons}
    assert parities == {"bm25": ("exact", 1.0), "tokens": ("graph", 1.0), "fused": ("graph", 1.0)}
    answers = []
    for where in (collection, to):
        with SearchPipeline.open(where, multi_vector=encoder) as pipeline:
            found = pipeline.search(QUERY, 5, filter={"year": 2001}, explain=True)
            tokens = found[0].explanation.legs["tokens"].tokens
            assert tokens and {hit.metadata["year"] for hit in found} == {2001}
            assert sum(token.part for token in tokens) == pytest.approx(found[0].legs["tokens"].score, rel=1e-4)
            answers.append([(hit.doc_id, pytest.approx(hit.score, rel=1e-4)) for hit in found])
        with SearchPipeline.open(where, multi_vector=encoder, legs=["bm25"], reranker="late-interaction") as pipeline:
            assert isinstance(pipeline.reranker, StoredTokenReranker)
            found = pipeline.search(QUERY, 5)
            answers.append([(hit.doc_id, pytest.approx(hit.score, rel=1e-4)) for hit in found])
    assert answers[:2] == answers[2:] and len(answers[1]) == 5


def test_deployed_token_vectors_answer_as_their_collection(collection, tmp_path, encoder):
    deploy(collection, tmp_path / "there", show_progress=False)
    check(collection, tmp_path / "there", encoder)


@pytest.mark.slow
def test_so_they_do_in_the_local_mode(collection, tmp_path, encoder):
    deploy(collection, tmp_path / "there", engine="local", show_progress=False)
    check(collection, tmp_path / "there", encoder)


@pytest.mark.slow
def test_the_token_vectors_of_a_dense_encoder_serve_the_reranker(tmp_path, tiny_dense):
    path = tmp_path / "collection"
    legs = {"dense": tiny_dense, "multi_vector": DenseTokens(tiny_dense)}
    build_collection(documents(30), path, **legs, show_progress=False)
    deploy(path, tmp_path / "there", show_progress=False)
    answers = []
    for where in (path, tmp_path / "there"):
        with SearchPipeline.open(where, dense=tiny_dense, reranker="late-interaction") as pipeline:
            assert isinstance(pipeline.reranker, StoredTokenReranker)
            assert [leg.name for leg in pipeline.retriever.legs] == ["bm25", "dense"]
            found = pipeline.search(QUERY, 5)
            answers.append([(hit.doc_id, pytest.approx(hit.score, rel=1e-3)) for hit in found])
    assert answers[0] == answers[1]
    assert certify(path, tmp_path / "there", sampled=5, dense=tiny_dense).passed
