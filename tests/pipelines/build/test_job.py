"""Build jobs: resumed without encoding again, run in parallel, and updated with only what changed."""

import threading

import numpy as np
import pytest
from crash.cheap import CheapVectors, documents, plan

from indexing.collection.manifest import Leg
from indexing.collection.reader import Collection
from indexing.collection.verify import verify
from indexing.documents import Document
from indexing.errors import InputError, ModelError, StorageError
from pipelines.build.estimate import estimate_build
from pipelines.build.job import build_legs, update_collection
from pipelines.build.plan import Plan

QUIET = {"show_progress": False}


class Counting(CheapVectors):
    """Encoder that records the texts it encodes."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def encode_document(self, texts):
        self.texts.extend(texts)
        return super().encode_document(texts)


def dense_plan(encoder: CheapVectors) -> Plan:
    return Plan({"dense": Leg("faiss", encoder.identity, {"dimension": 32})}, {"dense": encoder})


def stopped_after(count, corpus, error=KeyboardInterrupt):
    for number, document in enumerate(corpus):
        if number == count:
            raise error("stopped")
        yield document


@pytest.mark.parametrize("error", [KeyboardInterrupt, InputError])
def test_a_build_that_was_stopped_resumes_and_encodes_nothing_twice(tmp_path, error):
    encoder = Counting()
    with pytest.raises(error):
        build_legs(stopped_after(1200, documents(2000, 0, 1), error), tmp_path / "c", dense_plan(encoder), **QUIET)
    assert not (tmp_path / "c").exists()
    assert len(encoder.texts) == 1024

    report = build_legs(documents(2000, 0, 1), tmp_path / "c", dense_plan(encoder), **QUIET)

    assert (report.documents, report.written, report.unchanged) == (2000, 976, 1024)
    assert len(encoder.texts) == len(set(encoder.texts)) == 2000
    assert [path.name for path in tmp_path.iterdir()] == ["c"]


def test_what_the_corpus_lost_between_two_tries_is_not_in_the_collection(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        build_legs(stopped_after(1200, documents(2000, 0, 1)), tmp_path / "c", dense_plan(CheapVectors()), **QUIET)
    report = build_legs(list(documents(2000, 0, 1))[700:], tmp_path / "c", dense_plan(CheapVectors()), **QUIET)
    assert (report.documents, report.removed, report.unchanged) == (1300, 700, 324)
    with Collection.open(tmp_path / "c") as collection:
        assert [document.doc_id for document in collection.documents] == [f"d{number}" for number in range(700, 2000)]


def test_a_build_with_another_encoder_starts_again(tmp_path, caplog):
    class Other(Counting):
        identity = CheapVectors.identity | {"weights_sha256": "8"}

    with pytest.raises(KeyboardInterrupt):
        build_legs(stopped_after(1200, documents(2000, 0, 1)), tmp_path / "c", dense_plan(CheapVectors()), **QUIET)
    report = build_legs(documents(2000, 0, 1), tmp_path / "c", dense_plan(other := Other()), **QUIET)
    assert (report.written, len(other.texts)) == (2000, 2000)
    assert "other legs, encoders or fields" in caplog.text


def test_encoding_continues_while_the_batch_before_is_indexed(tmp_path, monkeypatch):
    from indexing.indexes.faiss.index import FaissIndex

    third_encoded = threading.Event()
    true_upsert = FaissIndex.upsert

    class Signalling(CheapVectors):
        batches = 0

        def encode_document(self, texts):
            Signalling.batches += 1
            if Signalling.batches == 3:
                third_encoded.set()
            return super().encode_document(texts)

    def waiting(self, *arguments):
        assert third_encoded.wait(30), "the third batch was not encoded while the first was being indexed"
        true_upsert(self, *arguments)

    monkeypatch.setattr(FaissIndex, "upsert", waiting)
    build_legs(documents(2048, 0, 1), tmp_path / "c", dense_plan(Signalling()), **QUIET)
    assert verify(tmp_path / "c") == []


def test_a_document_that_its_encoder_spoils_ends_the_build_and_is_named(tmp_path):
    class Broken(CheapVectors):
        def encode_document(self, texts):
            vectors = super().encode_document(texts)
            vectors[3:] = np.nan
            return vectors

    with pytest.raises(ModelError, match="leg 'dense' returns a NaN or an infinity for document 'd3'"):
        build_legs(documents(2000, 0, 1), tmp_path / "c", dense_plan(Broken()), **QUIET)
    assert list(tmp_path.iterdir()) == []


class TestUpdate:
    def test_encodes_what_is_new_or_differs_and_leaves_the_rest(self, tmp_path):
        build_legs(documents(2000, 0, 1), tmp_path / "c", plan(), **QUIET)
        encoder = Counting()
        encoders = plan().encoders | {"dense": encoder}
        before = {document.doc_id: document for document in documents(2000, 0, 1)}
        after = {document.doc_id: document for document in documents(2000, 1, 1)}
        differ = [document for doc_id, document in after.items() if before.get(doc_id) != document]

        report = update_collection(after.values(), tmp_path / "c", encoders=encoders, **QUIET)

        assert encoder.texts == [document.text for document in differ]
        assert (report.written, report.unchanged, report.removed) == (len(differ), len(after) - len(differ), 0)
        with Collection.open(tmp_path / "c") as collection:
            assert {document.doc_id: document for document in collection.documents} == before | after

        report = update_collection(after.values(), tmp_path / "c", encoders=encoders, remove=True, **QUIET)
        assert (report.written, report.removed) == (0, len(before.keys() - after.keys()))
        assert verify(tmp_path / "c") == []

    def test_metadata_counts_as_change(self, tmp_path):
        corpus = [Document("1", "w0001", metadata={"year": 1}), Document("2", "w0002")]
        build_legs(corpus, tmp_path / "c", plan(), **QUIET)
        corpus[0] = Document("1", "w0001", metadata={"year": 2})
        report = update_collection(corpus, tmp_path / "c", encoders=plan().encoders, **QUIET)
        assert (report.written, report.unchanged) == (1, 1)
        with Collection.open(tmp_path / "c") as collection:
            assert collection.get(["1"])[0].metadata == {"year": 2}

    def test_needs_each_encoder_and_a_collection(self, tmp_path):
        with pytest.raises(StorageError, match="is not a collection"):
            update_collection([], tmp_path / "c", encoders={}, **QUIET)
        build_legs([Document("1", "w0001")], tmp_path / "c", plan(), **QUIET)
        with pytest.raises(InputError, match="the leg 'sparse' needs its encoder"):
            update_collection([], tmp_path / "c", encoders={"dense": CheapVectors()}, **QUIET)


class TestDuplicates:
    TWICE = (Document("1", "w0001"), Document("2", "w0002"), Document("1", "w0003"), Document("1", "w0001"))

    @pytest.mark.parametrize(("which", "text"), [("first", "w0001"), ("last", "w0001")])
    def test_one_counts_and_the_others_are_reported(self, tmp_path, which, text):
        report = build_legs(self.TWICE, tmp_path / "c", plan(), on_duplicate=which, **QUIET)
        assert (report.documents, report.duplicates) == (2, 2)
        with Collection.open(tmp_path / "c") as collection:
            assert collection.get(["1"])[0].text == text

    def test_the_last_counts_across_batches_too(self, tmp_path):
        far = [Document("d0", "w0009"), *documents(1200, 0, 1), Document("d5", "w0007")]
        report = build_legs(far, tmp_path / "c", plan(), on_duplicate="last", **QUIET)
        assert (report.documents, report.duplicates) == (1200, 2)
        first = next(documents(1, 0, 1))
        for _ in range(2):
            with Collection.open(tmp_path / "c") as collection:
                assert [document.text for document in collection.get(["d0", "d5"])] == [first.text, "w0007"]
            update_collection(far, tmp_path / "c", encoders=plan().encoders, on_duplicate="last", **QUIET)
        assert verify(tmp_path / "c") == []

    def test_an_unknown_way_is_refused(self, tmp_path):
        with pytest.raises(InputError, match="'error', 'first' or 'last', not 'maybe'"):
            build_legs(self.TWICE, tmp_path / "c", plan(), on_duplicate="maybe", **QUIET)


def test_an_estimate_counts_all_and_judges_by_a_sample(tmp_path):
    corpus = list(documents(3000, 0, 1))
    estimate = estimate_build(corpus, plan(), **QUIET)
    report = build_legs(corpus, tmp_path / "c", plan(), **QUIET)
    assert estimate.documents == 3000
    assert estimate.characters == sum(len(document.text) for document in corpus)
    assert estimate.sampled == 512
    assert estimate.by_part["dense encoded"] == report.shard_bytes["dense"]
    assert estimate.by_part["dense index"] == pytest.approx(report.leg_bytes["dense"], rel=0.1)
    with pytest.raises(InputError, match="'d1' occurs twice"):
        estimate_build([*corpus[:3], corpus[1]], plan(), **QUIET)
