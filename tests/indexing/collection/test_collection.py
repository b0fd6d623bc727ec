"""Collections with every kind of leg, real ones; what crashes do to them is in tests/crash."""

import json
import multiprocessing
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from crash.cheap import DIMENSION, WORDS, CheapVectors, CheapWeights, plan
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_matrix

from indexing.collection.manifest import Leg
from indexing.collection.reader import Collection
from indexing.collection.staging import write_lock
from indexing.collection.verify import verify
from indexing.collection.writer import CollectionWriter
from indexing.documents import Document
from indexing.errors import InputError, ModelError, StorageError


def document(number: int, words: str = "", **metadata) -> Document:
    return Document(f"d{number}", words or f"{WORDS[number]} {WORDS[number + 1]}", metadata=metadata)


def make(path: Path, **options) -> Collection:
    made = plan()
    return CollectionWriter.create(path, made.legs, encoders=made.encoders, vocabularies=made.vocabularies, **options)


def found(collection: Collection, leg: str, words: str, k: int = 3) -> list[str]:
    query = [words] if leg == "bm25" else plan().encoders[leg].encode_document([words])
    return list(collection.index(leg).search(query, k).doc_ids)


LEGS = ("bm25", "sparse", "dense", "graph")


@pytest.fixture
def path(tmp_path) -> Path:
    with make(tmp_path / "c") as collection:
        collection.upsert([document(number) for number in range(30)])
    return tmp_path / "c"


@pytest.fixture
def encoders():
    return plan().encoders


@pytest.mark.parametrize("leg", LEGS)
def test_every_leg_finds_what_was_written_last_and_nothing_that_is_gone(path, encoders, leg):
    with CollectionWriter.open(path, encoders=encoders) as collection:
        collection.upsert([document(3, "w1500 w1501"), document(99, "w1600 w1601")])
        assert collection.delete(["d7", "nothing"]) == 1
        assert found(collection, leg, "w1500 w1501")[0] == "d3"
    with Collection.open(path) as collection:
        assert found(collection, leg, "w1500 w1501")[0] == "d3"
        assert found(collection, leg, "w1600 w1601")[0] == "d99"
        assert "d7" not in found(collection, leg, "w0007 w0008", k=50)
        assert len(collection) == len(collection.index(leg)) == 30
    assert verify(path) == []


def test_gets_documents_that_are_there_and_names_one_that_is_not(path):
    with CollectionWriter.open(path) as collection:
        assert collection.get(["d2", "d1"]) == [document(2), document(1)]
        collection.delete(["d1"])
        with pytest.raises(InputError, match="'d1' is not in"):
            collection.get(["d2", "d1"])


def test_a_reader_with_older_legs_can_still_show_what_it_finds(path):
    with Collection.open(path) as reader:
        assert found(reader, "bm25", "w0007")
        with CollectionWriter.open(path) as writer:
            writer.delete(["d7"])
        assert found(reader, "bm25", "w0008")[:2] == ["d7", "d8"]
        assert reader.documents.contents(["d7"])
        reader.refresh()
        assert found(reader, "bm25", "w0008") == ["d8"]


def test_a_reader_goes_on_across_reindex_and_compact(path):
    with Collection.open(path) as reader:
        before = {leg: found(reader, leg, "w0004 w0005") for leg in LEGS}
        with CollectionWriter.open(path) as writer:
            writer.delete(["d20"])
            writer.reindex("graph", m=8)
            writer.reindex("bm25")
            writer.compact()
        assert {leg: found(reader, leg, "w0004 w0005") for leg in LEGS} == before
        reader.refresh()
        assert {leg: found(reader, leg, "w0004 w0005") for leg in LEGS} == before
        assert len(reader) == len(reader.index("graph")) == 29


def test_a_reader_that_opens_a_leg_late_finds_the_one_that_took_its_place(path):
    with Collection.open(path) as reader:
        with CollectionWriter.open(path) as writer:
            writer.reindex("dense", kind="hnsw")
        assert found(reader, "dense", "w0004 w0005")[0] == "d4"
        assert reader.leg("dense").parameters["kind"] == "hnsw"


@pytest.mark.parametrize("leg", LEGS)
def test_a_leg_that_is_behind_is_brought_forward_from_the_journal(path, encoders, leg):
    writer = CollectionWriter.open(path, encoders=encoders)
    writer.upsert([document(3, "w1500 w1501"), document(40)])
    writer.delete(["d5"])
    writer.close()  # without a commit, as after a kill
    assert {problem.what for problem in verify(path)} == {"behind"}

    with CollectionWriter.open(path) as collection:
        assert found(collection, leg, "w1500 w1501")[0] == "d3"
        assert "d5" not in found(collection, leg, "w0005 w0006", k=50)
        assert len(collection.index(leg)) == len(collection) == 30
    assert verify(path) == []


operations = st.lists(
    st.one_of(
        st.tuples(st.just("upsert"), st.lists(st.integers(0, 9), min_size=1, max_size=4, unique=True)),
        st.tuples(st.just("delete"), st.lists(st.integers(0, 9), min_size=1, max_size=4)),
        st.tuples(st.sampled_from(["commit", "reopen", "crash", "compact", "reindex"]), st.just([])),
    ),
    max_size=12,
)


@given(operations)
@settings(max_examples=12, deadline=None)
def test_any_order_of_writes_crashes_and_compactions_ends_as_a_dictionary_would(tmp_path_factory, sequence):
    path = tmp_path_factory.mktemp("property") / "c"
    legs = {"bm25": Leg("bm25"), "dense": Leg("faiss", CheapVectors.identity, {"dimension": DIMENSION})}
    encoders = {"dense": CheapVectors()}
    collection = CollectionWriter.create(path, legs, encoders=encoders)
    expected: dict[str, Document] = {}
    for step, (what, numbers) in enumerate(sequence):
        if what == "upsert":
            written = [document(number, f"{WORDS[step]} {WORDS[100 + number]}") for number in numbers]
            collection.upsert(written)
            expected |= {one.doc_id: one for one in written}
        elif what == "delete":
            collection.delete([f"d{number}" for number in numbers])
            expected = {key: value for key, value in expected.items() if key not in {f"d{n}" for n in numbers}}
        elif what == "compact":
            collection.compact()
        elif what == "reindex":
            collection.reindex("dense")
        elif what == "commit":
            collection.commit()
        else:
            if what == "reopen":
                collection.commit()
            collection.close()
            collection = CollectionWriter.open(path, encoders=encoders)
    with collection:
        assert {one.doc_id: one for one in collection.documents} == expected
        assert len(collection) == len(expected)
        for leg in legs:
            assert len(collection.index(leg)) == len(expected)
        if expected:
            every = collection.index("dense").search(CheapVectors().encode_document(["w0000"]), 20)
            assert set(every.doc_ids) == set(expected)
    assert verify(path) == []


def test_compact_leaves_no_trace_of_what_was_replaced_and_deleted(path, encoders):
    with CollectionWriter.open(path, encoders=encoders) as collection:
        collection.upsert([document(number, "w1700 w1701") for number in range(10)])
        collection.delete(["d29"])
        assert collection.stats().dead == 11
        collection.compact()
        stats = collection.stats()
        assert (stats.dead, stats.documents) == (0, 29)
        assert stats.shard_bytes["dense"] == 29 * DIMENSION * 4
        with pytest.raises(InputError):
            collection.documents.get(["d29"])
    assert b"w0029 w0030" not in (path / "documents.sqlite").read_bytes()
    assert verify(path) == []


def test_reindex_changes_kind_and_parameters_with_no_encoder(path):
    with CollectionWriter.open(path) as collection:
        collection.reindex("graph", kind="flat")
        collection.reindex("bm25", k1=1.5, b=0.1)
        collection.reindex("sparse", scale=10.0)
        assert collection.index("graph").settings.kind == "flat"
        assert collection.index("bm25").settings["k1"] == 1.5
        with pytest.raises(InputError, match="metric is the encoder's"):
            collection.reindex("dense", metric="dot")
        with pytest.raises(InputError, match=r"the leg 'dense' is of backend faiss with kind flat.*'wings'"):
            collection.reindex("dense", wings=2)
        with pytest.raises(StorageError, match="no leg 'splade': it has bm25, sparse, dense, graph"):
            collection.reindex("splade")
    with Collection.open(path) as collection:
        assert found(collection, "graph", "w0004 w0005")[0] == "d4"
        assert collection.leg("bm25").parameters == {"k1": 1.5, "b": 0.1}
    assert sorted(folder.name for folder in (path / "legs").iterdir()) == [
        "bm25.2",
        "dense",
        "graph.1",
        "sparse.3",
        "tokens",
    ]
    assert verify(path) == []


class TestWhoMayWrite:
    def test_a_second_writer_is_refused_and_readers_are_not(self, path):
        script = (
            "import sys; from indexing.collection.reader import Collection\n"
            "from indexing.collection.writer import CollectionWriter\n"
            "with Collection.open(sys.argv[1]) as c: print(len(c), len(c.index('dense')))\n"
            "CollectionWriter.open(sys.argv[1])"
        )
        environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[3])}
        with CollectionWriter.open(path) as writer:
            with pytest.raises(StorageError, match="another process is building or changing"):
                CollectionWriter.open(path)
            other = subprocess.run(
                [sys.executable, "-c", script, str(path)], capture_output=True, text=True, env=environment, check=False
            )
            assert other.stdout == "30 30\n"
            assert "another process is building or changing" in other.stderr
            assert len(writer) == 30

    def test_readers_in_other_processes_see_each_committed_batch_while_a_writer_works(self, path, encoders):
        context = multiprocessing.get_context("spawn")
        with context.Pool(1) as other, CollectionWriter.open(path, encoders=encoders) as writer:
            for count in (31, 32, 33):
                writer.upsert([document(count + 100)])
                assert other.apply(_documents, (str(path),)) == (count, count - 1)
                writer.commit()
                assert other.apply(_documents, (str(path),)) == (count, count)

    def test_one_that_is_only_for_reading_has_nothing_to_write_with(self, path):
        with Collection.open(path) as reader:
            assert not hasattr(reader, "upsert")

    def test_a_closed_one_writes_no_more(self, path):
        collection = CollectionWriter.open(path)
        collection.close()
        with pytest.raises(StorageError, match="is closed"):
            collection.delete(["d1"])
        with write_lock(path):
            pass


class TestWhatIsRefused:
    def test_an_encoder_of_another_identity_with_both_names(self, path):
        class Other(CheapVectors):
            identity = CheapVectors.identity | {"name": "other", "weights_sha256": "8"}

        with pytest.raises(ModelError, match="'cheap-vectors', but 'other' was given: they differ in weights_sha256"):
            CollectionWriter.open(path, encoders={"dense": Other()})

    def test_writing_without_an_encoder_names_it(self, path):
        with (
            CollectionWriter.open(path) as collection,
            pytest.raises(InputError, match="encoded with 'cheap-weights': open the collection with encoders"),
        ):
            collection.upsert([document(50)])

    @pytest.mark.parametrize(
        ("leg", "rows", "says"),
        [
            ("dense", np.full((2, DIMENSION), np.nan, np.float32), "leg 'dense': the vector of 'd50' contains a NaN"),
            ("dense", np.zeros((2, 3), np.float32), r"vectors of shape \[2, 32\] are needed, not \[2, 3\]"),
            ("graph", [[0.0]], "are needed, not list"),
            ("sparse", csr_matrix(np.zeros((2, 5), np.float32)), r"shape \[2, 2000\] are needed, not \[2, 5\]"),
            ("sparse", csr_matrix(-np.eye(2, 2000, dtype=np.float32)), "a term weight of 'd50' is negative"),
            ("sparse", csr_matrix(np.eye(2, 2000, 1999) * np.nan), "a term weight of 'd50' is negative, not a number"),
            ("sparse", csr_matrix(np.ones((2, 2000), np.float32) * 1e6), "too large"),
        ],
    )
    def test_rows_that_an_index_would_refuse_before_anything_is_stored(self, path, encoders, leg, rows, says):
        documents = [document(50), document(51)]
        given = {name: encoder.encode_document([d.text for d in documents]) for name, encoder in encoders.items()}
        with CollectionWriter.open(path) as collection:
            with pytest.raises(InputError, match=says):
                collection.upsert(documents, given | {leg: rows})
            assert len(collection) == 30
            collection.upsert(documents, given)
            assert len(collection) == 32
        assert verify(path) == []

    def test_an_id_longer_than_lucene_takes(self, path, encoders):
        with CollectionWriter.open(path, encoders=encoders) as collection:
            with pytest.raises(InputError, match="bytes of UTF-8 long"):
                collection.upsert([Document("x" * 40_000, "w0001")])
            assert len(collection) == 30

    def test_an_id_twice(self, path, encoders):
        with (
            CollectionWriter.open(path, encoders=encoders) as collection,
            pytest.raises(InputError, match="'d1' occurs 2 times"),
        ):
            collection.upsert([document(1), document(1)])

    def test_a_directory_that_is_taken_and_a_collection_without_legs(self, path, tmp_path):
        with pytest.raises(StorageError, match="exists already"):
            make(path)
        with pytest.raises(InputError, match="needs a leg"):
            CollectionWriter.create(tmp_path / "n", {})
        with pytest.raises(ValueError, match=r"cannot be called '\.\./x'"):
            CollectionWriter.create(tmp_path / "n", {"../x": Leg("bm25")})

    def test_a_collection_of_the_first_format(self, path):
        manifest = json.loads((path / "manifest.json").read_text())
        del manifest["minor"], manifest["crc32"]
        (path / "manifest.json").write_text(json.dumps(manifest | {"format": 1}))
        for opening in (Collection.open, CollectionWriter.open):
            with pytest.raises(
                StorageError, match=r"has format 1, this version reads 2: build it again with .*--overw"
            ):
                opening(path)


def test_after_a_leg_failed_half_way_nothing_more_is_written_until_it_is_opened_again(path, encoders, monkeypatch):
    collection = CollectionWriter.open(path, encoders=encoders)
    with monkeypatch.context() as broken:
        broken.setattr(type(collection.index("graph")), "upsert", _fail)
        with pytest.raises(OSError, match="no room"):
            collection.upsert([document(60)])
    with pytest.raises(StorageError, match="failed midway: close the collection and open it again"):
        collection.upsert([document(61)])
    collection.close()
    with CollectionWriter.open(path) as again:
        assert len(again) == 31
        assert all(len(again.index(leg)) == 31 for leg in LEGS)


def test_the_manifest_has_checksums_and_sequences(path):
    manifest = json.loads((path / "manifest.json").read_text())
    for leg, entry in manifest["legs"].items():
        assert (entry["count"], entry["sequence"]) == (30, 1)
        assert sum(size for size, _ in entry["files"].values()) == entry["bytes"] > 0, leg
    assert manifest["legs"]["sparse"]["encoder"] == CheapWeights.identity


def _documents(path: str) -> tuple[int, int]:
    with Collection.open(path) as collection:
        return len(collection), len(collection.index("dense"))


def _fail(*_: object) -> None:
    raise OSError(28, "no room")


class TestFilters:
    FIELDS = {"year": "number", "lang": "keyword"}  # noqa: RUF012

    @pytest.fixture
    def path(self, tmp_path):
        with make(tmp_path / "c", fields=self.FIELDS) as collection:
            collection.upsert(
                [document(n, "w0001 w0002", year=2000 + n, lang="en" if n % 2 else "de") for n in range(20)]
                + [document(20, "w0001 w0002")]
            )
        return tmp_path / "c"

    def test_every_leg_finds_what_the_filter_keeps(self, path):
        written = {"year": {"gte": 2010}, "lang": "en"}
        expected = {f"d{number}" for number in range(11, 20, 2)}
        with Collection.open(path) as collection:
            assert set(collection.matching(written)) == expected
            dense = CheapVectors().encode_document(["w0001"])
            sparse = CheapWeights().encode_document(["w0001"])
            for leg, query in {"bm25": ["w0001"], "sparse": sparse, "dense": dense, "graph": dense}.items():
                assert set(collection.index(leg).search(query, 50, filter=written).doc_ids) == expected
            with pytest.raises(InputError, match="unknown field 'month': declared are year, lang"):
                collection.matching({"month": 1})

    def test_deletes_what_a_filter_keeps_and_the_rest_stays(self, path):
        with CollectionWriter.open(path) as collection:
            assert collection.delete(filter={"year": {"lt": 2015}}) == 15
            assert len(collection) == len(collection.index("graph")) == len(collection.index("bm25")) == 6
            with pytest.raises(InputError, match="either ids or a filter"):
                collection.delete(["d1"], filter={"year": 2001})
        assert verify(path) == []

    def test_fields_stay_through_reindex_and_are_checked_before_anything_is_stored(self, path, encoders):
        with CollectionWriter.open(path, encoders=encoders) as collection:
            collection.reindex("bm25")
            assert list(collection.index("bm25").search(["w0001"], 5, filter={"year": 2003}).doc_ids) == ["d3"]
            with pytest.raises(InputError, match="document 'd50': its field 'year' must be a number, not 'soon'"):
                collection.upsert([document(50, year="soon")])
            assert len(collection) == 21


def test_a_leg_moves_to_qdrant_and_back_and_is_found_the_same(path, encoders):
    with CollectionWriter.open(path, encoders=encoders) as collection:
        before = {leg: found(collection, leg, "w0004 w0005", k=5) for leg in ("dense", "sparse")}
        for leg, home in (("dense", "faiss"), ("sparse", "impact")):
            collection.reindex(leg, backend="qdrant", on_disk=True)
            assert collection.leg(leg).backend in ("qdrant",)
            assert set(found(collection, leg, "w0004 w0005", k=5)) == set(before[leg])
            collection.upsert([document(50, "w0004 w0005")])
            assert "d50" in found(collection, leg, "w0004 w0005", k=5)
            collection.delete(["d50"])
            collection.compact()
            with pytest.raises(InputError, match="cannot be of backend 'bm25'"):
                collection.reindex(leg, backend="bm25")
            collection.reindex(leg, backend=home)
            assert found(collection, leg, "w0004 w0005", k=5) == before[leg]
        collection.reindex("dense", backend="qdrant")
    assert verify(path) == []
    with Collection.open(path) as reader:
        assert set(found(reader, "dense", "w0004 w0005", k=5)) == set(before["dense"])


def test_a_leg_in_qdrant_is_brought_forward_too(path, encoders):
    with CollectionWriter.open(path, encoders=encoders) as collection:
        collection.reindex("dense", backend="qdrant")
    writer = CollectionWriter.open(path, encoders=encoders)
    writer.upsert([document(3, "w1500 w1501"), document(40)])
    writer.delete(["d5"])
    writer.close()
    with CollectionWriter.open(path) as collection:
        assert found(collection, "dense", "w1500 w1501", k=1) == ["d3"]
        assert len(collection.index("dense")) == 30
