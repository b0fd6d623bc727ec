"""Collections with every kind of leg, real ones; what crashes do to them is in tests/crash."""

import json

import pytest
from crash.cheap import DIMENSION, WORDS, CheapVectors, CheapWeights
from hypothesis import given, settings
from hypothesis import strategies as st
from wrong_arguments import refused

from cheap_collections import LEGS, document, found, make
from indexing.collection.manifest import Leg
from indexing.collection.reader import Collection
from indexing.collection.verify import verify
from indexing.collection.writer import CollectionWriter
from indexing.documents import Document
from indexing.errors import InputError, StorageError


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
        with pytest.raises(StorageError, match="no leg 'splade': it has bm25, sparse, weights, dense, graph"):
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
        "weights",
    ]
    assert verify(path) == []


def test_the_manifest_has_checksums_and_sequences(path):
    manifest = json.loads((path / "manifest.json").read_text())
    for leg, entry in manifest["legs"].items():
        assert (entry["count"], entry["sequence"]) == (30, 1)
        assert sum(size for size, _ in entry["files"].values()) == entry["bytes"] > 0, leg
    assert manifest["legs"]["sparse"]["encoder"] == CheapWeights.identity


class TestArguments:
    @pytest.mark.parametrize(
        "ids", [["d1", "d2"], ("d1", "d2"), {"d1", "d2"}, {"d1": 1, "d2": 2}.keys(), iter(["d1", "d2"])]
    )
    def test_ids_and_documents_may_be_any_iterable(self, tmp_path, ids):
        with make(tmp_path / "c") as collection:
            collection.upsert(document(number) for number in range(4))
            assert collection.delete(ids) == 2
            collection.commit()
            assert {leg: len(collection.index(leg)) for leg in LEGS} == dict.fromkeys(LEGS, 2)

    @pytest.mark.parametrize("ids", ["d1", b"d1", {"d1": 1}, [None], [b"d1"], 5, ["d1", 5]])
    def test_other_ids_are_refused_and_nothing_is_deleted(self, tmp_path, ids):
        with make(tmp_path / "c") as collection:
            collection.upsert([document(1), document(2)])
            refused(lambda: collection.delete(ids), "ids")
            assert len(collection) == 2

    @pytest.mark.parametrize(
        "documents", [["d1"], document(1), "d1", [document(1), None], {"d1": document(1)}, 5, None]
    )
    def test_other_documents_are_refused(self, tmp_path, documents):
        with make(tmp_path / "c") as collection:
            refused(lambda: collection.upsert(documents), "documents")
            assert len(collection) == 0


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
