"""Token vectors stored with fewer dimensions or pooled: recorded with the leg, so that all later use agrees."""

import json
from pathlib import Path

import numpy as np
import pytest
from late_interaction import write_colbert

from checkpoints import write_bert
from indexing.collection.reader import Collection
from indexing.collection.verify import repair, verify
from indexing.documents import Document
from indexing.errors import InputError, ModelError
from indexing.max_sim import max_sim
from pipelines.build.job import build_collection, update_collection
from pipelines.cli import main
from pipelines.models import collection_encoders
from pipelines.search import SearchPipeline
from retrieve import DenseEncoder, MultiVectorEncoder
from retrieve.encoders.dense_tokens import DenseTokens

TEXTS = ["water is light", "fire and heat and light", "the price of a stock", "a wave of energy in water", "fire"]
CORPUS = [Document(f"d{number}", text) for number, text in enumerate(TEXTS)]
NEW = Document("new", "the energy of a wave")


@pytest.fixture(scope="module")
def dense(tmp_path_factory: pytest.TempPathFactory) -> DenseEncoder:
    return DenseEncoder(write_bert(tmp_path_factory.mktemp("model") / "dense"), dtype="float32", device="cpu")


def test_all_axes_keep_every_similarity(dense: DenseEncoder) -> None:
    whole, width = DenseTokens(dense), DenseTokens(dense).dimension
    reduced = DenseTokens.fitted(dense, TEXTS, width)
    expected = max_sim(whole.encode_query(TEXTS), whole.encode_document(TEXTS))
    found = max_sim(reduced.encode_query(TEXTS), reduced.encode_document(TEXTS))
    np.testing.assert_allclose(found, expected, rtol=5e-3)


def test_fewer_axes_are_those_with_the_most_energy(dense: DenseEncoder) -> None:
    vectors = DenseTokens(dense).encode_document(TEXTS).vectors
    reduced = DenseTokens.fitted(dense, TEXTS, 4)
    assert reduced.dimension == 4 and reduced.encode_query(["fire"]).dimension == 4
    np.testing.assert_allclose(np.linalg.norm(reduced.encode_document(TEXTS).vectors, axis=1), 1, atol=1e-5)
    _, singular, _ = np.linalg.svd(vectors)
    kept = ((vectors @ reduced.axes.astype(np.float32).T) ** 2).sum()
    assert kept == pytest.approx((singular[:4] ** 2).sum(), rel=1e-2)


def test_documents_are_pooled_and_queries_are_not(dense: DenseEncoder) -> None:
    whole, pooled = DenseTokens(dense), DenseTokens(dense, pool_factor=2)
    lengths = whole.encode_document(TEXTS).lengths
    assert pooled.encode_document(TEXTS).lengths.tolist() == [1 + max((count - 1) // 2, 1) for count in lengths]
    assert pooled.encode_query(TEXTS).lengths.tolist() == lengths.tolist()


@pytest.mark.parametrize("with_dense_leg", [True, False])
def test_updates_queries_and_repairs_reduce_as_the_build_did(
    dense: DenseEncoder, tmp_path: Path, with_dense_leg: bool
) -> None:
    tokens = DenseTokens.fitted(dense, TEXTS, 6, pool_factor=1.5)
    path = tmp_path / "c"
    legs = {"dense": dense} if with_dense_leg else {}
    build_collection(CORPUS, path, multi_vector=tokens, **legs, show_progress=False)
    found = collection_encoders(path, dense=dense)["tokens"]
    assert isinstance(found, DenseTokens) and found.identity == tokens.identity
    update_collection([NEW], path, encoders=collection_encoders(path, dense=dense), show_progress=False)
    everything = [*CORPUS, NEW]
    queries = tokens.encode_query(["fire", "the wave"])
    expected = max_sim(queries, tokens.encode_document([document.contents for document in everything]), mean=True)
    ids = [document.doc_id for document in everything]
    for _ in range(2):
        with Collection.open(path) as collection:
            scores = collection.index("tokens").score(queries, [ids, ids]).reshape(2, -1)
        np.testing.assert_allclose(scores, expected, atol=2e-3)
        assert verify(path) == []
        (shard,) = (path / "shards" / "tokens").glob("*.shard")
        shard.write_bytes(bytes(len(shard.read_bytes())))
        repair(path, collection_encoders(path, dense=dense))
    with SearchPipeline.open(path, dense=dense, reranker="late-interaction") as pipeline:
        hits = pipeline.search("the wave", k=3, explain=True)
    for hit in hits:
        assert hit.legs["reranker"].score == pytest.approx(expected[1, ids.index(hit.doc_id)], abs=2e-3)
        parts = [match.part for match in hit.explanation.reranker_tokens]
        assert sum(parts) == pytest.approx(hit.legs["reranker"].score, abs=1e-4)


def test_other_axes_or_another_pooling_are_refused(dense: DenseEncoder, tmp_path: Path) -> None:
    build_collection(CORPUS, tmp_path / "c", multi_vector=DenseTokens.fitted(dense, TEXTS, 6), show_progress=False)
    for other, field in ((DenseTokens(dense), "axes"), (DenseTokens.fitted(dense, TEXTS, 5), "axes")):
        with pytest.raises(ModelError, match=f"differ in {field}"):
            SearchPipeline.open(tmp_path / "c", legs=["tokens"], multi_vector=other)


def test_info_prints_the_shape_of_the_axes(
    dense: DenseEncoder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tokens = DenseTokens.fitted(dense, TEXTS, 6)
    build_collection(CORPUS, tmp_path / "c", bm25=False, multi_vector=tokens, show_progress=False)
    assert main(["info", str(tmp_path / "c"), "--json"]) == 0
    leg = json.loads(capsys.readouterr().out)["legs"]["tokens"]
    assert leg["encoder"]["axes"] == [6, DenseTokens(dense).dimension]


def test_a_late_interaction_model_pools_as_recorded(tmp_path: Path) -> None:
    folder = write_colbert(tmp_path / "colbert")
    pooled = MultiVectorEncoder(folder, dtype="float32", device="cpu", pool_factor=2)
    whole = MultiVectorEncoder(folder, dtype="float32", device="cpu")
    assert pooled.encode_document(TEXTS).lengths.sum() < whole.encode_document(TEXTS).lengths.sum()
    assert pooled.encode_query(TEXTS).lengths.tolist() == whole.encode_query(TEXTS).lengths.tolist()
    assert pooled.identity == whole.pooled(2).identity != whole.identity
    build_collection(CORPUS, tmp_path / "c", multi_vector=pooled, show_progress=False)
    found = collection_encoders(tmp_path / "c")["tokens"]
    assert found.identity == pooled.identity
    np.testing.assert_array_equal(found.encode_document(TEXTS).lengths, pooled.encode_document(TEXTS).lengths)
    with pytest.raises(ModelError, match="differ in pool_factor"):
        SearchPipeline.open(tmp_path / "c", multi_vector=whole)


@pytest.mark.parametrize(("dimension", "message"), [(0, "dimension must be"), (10_000, "dimension must be from 1 to")])
def test_a_wrong_dimension_is_refused(dense: DenseEncoder, dimension: int, message: str) -> None:
    with pytest.raises(InputError, match=message):
        DenseTokens.fitted(dense, TEXTS, dimension)
    with pytest.raises(InputError, match="there are none"):
        DenseTokens.fitted(dense, [], 4)
    with pytest.raises(InputError, match="axes must be"):
        DenseTokens(dense, axes=np.zeros((2, 3)))
    with pytest.raises(InputError, match="pool_factor"):
        DenseTokens(dense, pool_factor=0.5)


def test_the_command_line_reduces_and_pools(
    dense: DenseEncoder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    corpus = tmp_path / "corpus.jsonl"
    corpus.write_text("".join(json.dumps({"_id": d.doc_id, "text": d.text}) + "\n" for d in CORPUS))
    command = ["index", str(corpus), "--to", str(tmp_path / "c"), "--dense", dense.checkpoint.name, "--quiet"]
    reduced = ["--late-interaction", "--late-interaction-dim", "6", "--late-interaction-pool-factor", "1.5"]
    assert main([*command, *reduced]) == 0
    capsys.readouterr()
    assert main([*command, *reduced]) == 0
    assert "already built" in capsys.readouterr().out
    with Collection.open(tmp_path / "c") as collection:
        assert len(collection) == len(CORPUS)
        leg = collection.leg("tokens")
        assert leg.parameters["dimension"] == 6 and leg.encoder["pool_factor"] == 1.5
    assert main(["info", str(tmp_path / "c")]) == 0
    assert "pooled by 1.5" in capsys.readouterr().out
    assert main([*command, "--update"]) == 0
    assert main([*command, "--update", "--late-interaction-dim", "6"]) != 0
    assert main([*command, "--overwrite", "--late-interaction-dim", "6"]) != 0
    assert "requires --late-interaction" in capsys.readouterr().err
