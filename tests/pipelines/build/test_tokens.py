"""A collection with a leg of token vectors: built, searched, updated, damaged, repaired, resumed, compacted."""

from pathlib import Path

import numpy as np
import pytest
from late_interaction import write_colbert

from checkpoints import write_bert
from indexing.collection.reader import Collection
from indexing.collection.verify import repair, verify
from indexing.collection.writer import CollectionWriter
from indexing.documents import Document
from indexing.errors import InputError, ModelError, StorageError
from indexing.max_sim import max_sim
from pipelines.build.job import build_collection, update_collection
from pipelines.cli import main
from pipelines.search import SearchPipeline
from retrieve import DenseEncoder, MultiVectorEncoder
from retrieve.encoders.dense_tokens import DenseTokens, shares_pass

WORDS = ["water", "light", "wave", "energy", "stock", "price", "market", "fire", "heat", "cell"]


def documents(count: int, start: int = 0) -> list[Document]:
    rng = np.random.default_rng(start)
    return [
        Document(f"d{number:04}", " ".join(rng.choice(WORDS, 3 + number % 20)), metadata={"year": 2000 + number % 3})
        for number in range(start, start + count)
    ]


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    folder = write_colbert(tmp_path_factory.mktemp("model") / "colbert", skiplist=["a"], document_length=30)
    return MultiVectorEncoder(folder, dtype="float32", device="cpu")


def build(path: Path, encoder: MultiVectorEncoder, corpus: list[Document], **options) -> None:
    options = {"multi_vector": encoder, "fields": {"year": "number"}, "show_progress": False, "bm25": False} | options
    build_collection(corpus, path, **options)


def expected(encoder: MultiVectorEncoder, corpus: list[Document], queries: list[str]) -> np.ndarray:
    kept = encoder.encode_document([document.contents for document in corpus])
    return max_sim(encoder.encode_query(queries), kept._replace(vectors=kept.vectors.astype(np.float16)))


QUERIES = ["water wave", "stock market price"]


def test_searches_find_what_max_sim_ranks_first(tmp_path, encoder):
    corpus = documents(120)
    build(tmp_path / "c", encoder, corpus)
    scores = expected(encoder, corpus, QUERIES)
    with SearchPipeline.open(tmp_path / "c", multi_vector=encoder) as pipeline:
        for row, query in enumerate(QUERIES):
            found = pipeline.search(query, k=10)
            best = np.argsort(-scores[row], kind="stable")[:10]
            np.testing.assert_allclose([hit.score for hit in found], scores[row][best], rtol=1e-5)
            kept = pipeline.search(query, k=5, filter={"year": 2001})
            assert [int(hit.doc_id[1:]) % 3 for hit in kept] == [1] * 5


def test_the_manifest_names_the_encoder(tmp_path, encoder):
    build(tmp_path / "c", encoder, documents(20))
    with SearchPipeline.open(tmp_path / "c") as pipeline:
        assert len(pipeline.search("water", k=3)) == 3
    other = MultiVectorEncoder(encoder.checkpoint.folder, document_length=9, device="cpu")
    with pytest.raises(ModelError, match="tokens"):
        SearchPipeline.open(tmp_path / "c", multi_vector=other)


def test_token_vectors_fuse_with_other_legs(tmp_path, encoder, minilm_path):
    dense = DenseEncoder(minilm_path)
    build(tmp_path / "c", encoder, documents(40), dense=dense)
    with SearchPipeline.open(tmp_path / "c", dense=dense, multi_vector=encoder) as pipeline:
        found = pipeline.search("water wave", k=5, explain=True)
        assert {leg for hit in found for leg in hit.legs} == {"dense", "tokens"}


def test_updates_deletes_and_compaction_give_the_index_of_a_clean_build(tmp_path, encoder):
    corpus = documents(90)
    build(tmp_path / "c", encoder, corpus)
    changed = [Document(document.doc_id, "fire heat fire", metadata=document.metadata) for document in corpus[:10]]
    new = changed + corpus[10:60] + documents(20, 200)
    update_collection(new, tmp_path / "c", encoders={"tokens": encoder}, remove=True, show_progress=False)
    build(tmp_path / "clean", encoder, new)
    rankings = []
    for path in (tmp_path / "c", tmp_path / "clean"):
        with CollectionWriter.open(path, encoders={"tokens": encoder}) as collection:
            if path.name == "c":
                before = collection.index("tokens").search(encoder.encode_query(QUERIES), 80)
                collection.compact()
            found = collection.index("tokens").search(encoder.encode_query(QUERIES), 80)
            rankings.append((found.doc_ids, found.scores))
    assert rankings[0][0] == rankings[1][0] == before.doc_ids
    np.testing.assert_allclose(rankings[0][1], rankings[1][1], rtol=1e-5)


def test_a_leg_that_is_behind_replays_the_journal(tmp_path, encoder):
    corpus = documents(60)
    path = tmp_path / "c"
    build(path, encoder, corpus[:30])
    collection = CollectionWriter.open(path, encoders={"tokens": encoder}, commit_seconds=1e9)
    collection.upsert(corpus[30:])
    collection.delete(["d0003"])
    collection.close()  # as a crash does: without a commit
    with CollectionWriter.open(path) as again:
        assert len(again.index("tokens")) == 59
        found = again.index("tokens").search(encoder.encode_query(QUERIES), 60)
    scores = expected(encoder, corpus, QUERIES)
    for row in range(2):
        places = [int(doc_id[1:]) for doc_id in found[row].doc_ids]
        assert 3 not in places and len(places) == 59
        np.testing.assert_allclose(found[row].scores, scores[row, places], rtol=1e-5)


def test_verify_finds_damage_and_repair_mends_it(tmp_path, encoder):
    path = tmp_path / "c"
    build(path, encoder, documents(50))
    assert not verify(path)
    for pattern in ("shards/tokens/*.shard", "legs/tokens*/segment-*.stored.npy"):
        file = next(path.glob(pattern))
        content = bytearray(file.read_bytes())
        content[-7] ^= 0xFF
        file.write_bytes(bytes(content))
        assert verify(path)
        repair(path, {"tokens": encoder})
        assert not verify(path)
    with Collection.open(path) as collection:
        found = collection.index("tokens").search(encoder.encode_query(QUERIES), 5)
    build(tmp_path / "clean", encoder, documents(50))
    with Collection.open(tmp_path / "clean") as collection:
        clean = collection.index("tokens").search(encoder.encode_query(QUERIES), 5)
    assert found.doc_ids == clean.doc_ids


def test_another_kind_of_codes_needs_no_model(tmp_path, encoder):
    path = tmp_path / "c"
    build(path, encoder, documents(80), token_parameters={"train_at": 50, "centroids": 16, "bits": 2})
    with CollectionWriter.open(path) as collection:
        coarse = collection.index("tokens").search(encoder.encode_query(QUERIES), 80)
        collection.reindex("tokens", bits=16, train_at=50, centroids=16)
        fine = collection.index("tokens").search(encoder.encode_query(QUERIES), 80)
    scores = expected(encoder, documents(80), QUERIES)
    for row in range(2):
        places = [int(doc_id[1:]) for doc_id in fine[row].doc_ids]
        np.testing.assert_allclose(fine[row].scores, scores[row, places], rtol=1e-5)
    assert np.abs(np.sort(coarse.scores) - np.sort(fine.scores)).max() > 1e-4


def test_an_unknown_parameter_is_an_error(tmp_path, encoder):
    with pytest.raises(InputError, match="nlist"):
        build(tmp_path / "c", encoder, documents(5), token_parameters={"nlist": 3})


def test_a_reader_keeps_its_vectors_while_documents_are_replaced_and_compacted(tmp_path, encoder):
    """A reader scores the vectors of its state, whether it has read them before a compaction or not."""
    corpus = documents(60)
    build(tmp_path / "c", encoder, corpus)
    scores = expected(encoder, corpus, QUERIES)
    early, late = Collection.open(tmp_path / "c"), Collection.open(tmp_path / "c")
    queries = encoder.encode_query(QUERIES)
    ids = [document.doc_id for document in corpus]
    np.testing.assert_allclose(early.index("tokens").score(queries, [ids, ids]).reshape(2, -1), scores, rtol=1e-5)
    index = late.index("tokens")
    with CollectionWriter.open(tmp_path / "c", encoders={"tokens": encoder}) as writer:
        writer.upsert([Document("d0003", "fire heat"), *documents(30, 100)])
        writer.delete(["d0004"])
        writer.commit()
        writer.compact()
        assert writer.index("tokens").score(queries, [["d0003"], ["d0101"]]).shape == (2,)
    np.testing.assert_allclose(early.index("tokens").score(queries, [ids, ids]).reshape(2, -1), scores, rtol=1e-5)
    others = [doc_id for doc_id in ids if doc_id not in ("d0003", "d0004")]
    kept = [place for place, doc_id in enumerate(ids) if doc_id in others]
    found = index.score(queries, [others, others]).reshape(2, -1)
    np.testing.assert_allclose(found, scores[:, kept], rtol=1e-5)
    for reader in (early, late):
        reader.refresh()
        changed = expected(encoder, [Document("d0003", "fire heat")], QUERIES)
        again = reader.index("tokens").score(queries, [["d0003"], ["d0003"]])
        # The document was encoded in a batch, and here alone, which may round a number to another float16.
        np.testing.assert_allclose(again, changed[:, 0], rtol=5e-4)
        reader.close()
    assert verify(tmp_path / "c") == []


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="reads /proc")
def test_stored_vectors_are_read_and_not_mapped_into_memory(tmp_path, encoder):
    build(tmp_path / "c", encoder, documents(20))
    with Collection.open(tmp_path / "c") as collection:
        collection.index("tokens").search(encoder.encode_query(QUERIES), 10)
        assert ".shard" not in Path("/proc/self/maps").read_text()
        open_files = [path.resolve().name for path in Path("/proc/self/fd").iterdir()]
        assert any(name.endswith(".shard") for name in open_files)
    open_files = [path.resolve().name for path in Path("/proc/self/fd").iterdir()]
    assert not any(name.endswith(".shard") for name in open_files)


def test_a_shard_that_ends_too_early_is_named(tmp_path, encoder):
    build(tmp_path / "c", encoder, documents(20))
    (shard,) = (tmp_path / "c" / "shards" / "tokens").glob("*.shard")
    with Collection.open(tmp_path / "c") as collection:
        index, queries = collection.index("tokens"), encoder.encode_query(QUERIES)
        index.search(queries, 10)
        shard.write_bytes(shard.read_bytes()[:-40])
        with pytest.raises(StorageError, match=r"ends before a row .* --repair"):
            index.search(queries, 20)


def test_the_index_keeps_vectors_only_if_bits_are_chosen(tmp_path, encoder):
    """Without bits the shards are the only copy; an index with bits, as older collections have, finds the same."""
    corpus = documents(80)
    found, sizes = [], []
    for name, parameters in (("stored", {}), ("kept", {"bits": 16})):
        build(tmp_path / name, encoder, corpus, token_parameters={"train_at": 40, "centroids": 8, **parameters})
        with Collection.open(tmp_path / name) as collection:
            found.append(collection.index("tokens").search(encoder.encode_query(QUERIES), 10))
            sizes.append(collection.index("tokens").size_bytes)
    np.testing.assert_allclose(found[0].scores, found[1].scores, rtol=1e-6)
    assert sizes[0] < sizes[1]


def test_vectors_and_token_vectors_of_a_dense_encoder_take_one_pass(tmp_path):
    dense = DenseEncoder(write_bert(tmp_path / "model"), dtype="float32", device="cpu")
    tokens, engine = DenseTokens(dense), dense.engine_for("document")
    texts = ["water is light", "fire", "water is light", "the price of heat"]
    expected = dense.encode_document(texts), tokens.encode_document(texts)
    batches = []
    hook = engine.network.register_forward_hook(lambda *_: batches.append(1))
    corpus = [Document(str(number), text) for number, text in enumerate(texts)]
    build(tmp_path / "c", tokens, corpus, dense=dense)
    once = len(batches)
    dense.encode_document(texts)
    hook.remove()
    assert once == len(batches) - once, "as many batches as for the vectors alone"
    with Collection.open(tmp_path / "c") as collection:
        found = collection.index("dense").search(expected[0], 4)
        np.testing.assert_allclose([row.scores[0] for row in found], 1, atol=1e-5)
        scores = collection.index("tokens").score(expected[1], [["0", "1", "2", "3"]] * 4)
    np.testing.assert_allclose(scores.reshape(4, 4), max_sim(expected[1], expected[1], mean=True), atol=2e-3)


def test_legs_with_different_input_take_a_pass_each(tmp_path):
    write_bert(tmp_path / "model")
    prompted = DenseEncoder(tmp_path / "model", dtype="float32", device="cpu", prompts={"document": "the text "})
    other = DenseEncoder(tmp_path / "model", dtype="float32", device="cpu")
    assert shares_pass(other, DenseTokens(other)) and shares_pass(other.truncated(8), DenseTokens(other))
    assert not shares_pass(prompted, DenseTokens(prompted))
    assert not shares_pass(other, DenseTokens(prompted)) and not shares_pass(other, other)


def test_info_prints_the_size_of_the_stored_vectors(tmp_path, encoder, capsys):
    build(tmp_path / "c", encoder, documents(60))
    with Collection.open(tmp_path / "c") as collection:
        size = collection.stats().shard_bytes["tokens"]
    assert main(["info", str(tmp_path / "c")]) == 0
    assert f"beside {size / 1e6:.1f} MB of encoded documents" in capsys.readouterr().out
