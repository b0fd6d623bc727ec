"""Who may write to a collection, and what a writer refuses or a failure leaves."""

import json
import multiprocessing
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from crash.cheap import DIMENSION, CheapVectors
from scipy.sparse import csr_matrix

from cheap_collections import LEGS, document, make
from indexing.collection.manifest import Leg
from indexing.collection.reader import Collection
from indexing.collection.staging import write_lock
from indexing.collection.verify import verify
from indexing.collection.writer import CollectionWriter
from indexing.documents import Document
from indexing.errors import InputError, ModelError, StorageError


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


def _documents(path: str) -> tuple[int, int]:
    with Collection.open(path) as collection:
        return len(collection), len(collection.index("dense"))


def _fail(*_: object) -> None:
    raise OSError(28, "no room")
