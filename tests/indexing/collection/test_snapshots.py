"""The state that the legs of a reader are of, while a writer commits."""

import pytest

from indexing.collection.manifest import Leg
from indexing.collection.reader import Collection
from indexing.collection.verify import verify
from indexing.collection.writer import CollectionWriter
from indexing.documents import Document
from indexing.errors import LaterStateError, StorageError
from indexing.indexes.lucene.bm25 import Bm25Index
from pipelines.build.job import build_legs
from pipelines.build.plan import Plan

LEGS = {"bm25": Leg("bm25"), "again": Leg("bm25")}


def documents(text, numbers=range(10)):
    return [Document(f"d{number}", text) for number in numbers]


@pytest.fixture
def path(tmp_path):
    with CollectionWriter.create(tmp_path / "c", LEGS) as writer:
        writer.upsert(documents("bread"))
    return tmp_path / "c"


def write(path, text):
    with CollectionWriter.open(path) as writer:
        writer.upsert(documents(text))


def test_a_leg_that_is_opened_after_another_write_is_refused_and_opens_after_a_refresh(path):
    with Collection.open(path) as collection:
        assert len(collection) == 10
        write(path, "steel")
        with pytest.raises(StorageError, match="leg 'bm25' is opened only now: refresh it, or open it again"):
            collection.index("bm25")
        collection.refresh()
        assert len(collection.index("bm25").search(["steel"], 20)[0]) == 10


def test_a_leg_that_is_opened_before_anything_is_read_takes_its_documents_along(path):
    with Collection.open(path) as collection:
        write(path, "steel")
        (found,) = collection.index("bm25").search(["steel"], 1)
        assert collection.get([found[0].doc_id])[0].text == "steel"
        write(path, "bread")
        with pytest.raises(StorageError, match="leg 'again' is opened only now"):
            collection.index("again")
        assert collection.get([found[0].doc_id])[0].text == "steel"


def test_the_first_index_that_is_opened_after_an_overwrite_is_of_the_new_collection(path):
    with Collection.open(path) as unread, Collection.open(path) as read:
        assert len(read) == 10
        build_legs([Document("n", "bread")], path, Plan(LEGS, {}), overwrite=True, show_progress=False)
        assert [hit.doc_id for hit in unread.index("bm25").search(["bread"], 5)[0]] == ["n"]
        assert len(unread) == 1
        with pytest.raises(LaterStateError, match="was replaced since it was opened: refresh it"):
            read.index("bm25")
        assert len(read) == 10


def test_the_sequence_of_an_open_index_is_that_of_the_commit_it_searches(tmp_path, monkeypatch):
    """Also when another process commits between the reading of the settings and the opening of the files."""
    writer = Bm25Index.create(tmp_path / "i")
    writer.upsert(["a"], [Document("a", "bread")])
    writer.commit(1)
    read = Bm25Index._read_settings

    def late(path):
        settings = read(path)
        writer.upsert(["b"], [Document("b", "bread")])
        writer.commit(2)
        return settings

    monkeypatch.setattr(Bm25Index, "_read_settings", staticmethod(late))
    with writer, Bm25Index.open(tmp_path / "i", read_only=True) as reader:
        assert (reader.sequence, len(reader)) == (2, 2)
        writer.upsert(["c"], [Document("c", "bread")])
        writer.commit(3)
        assert (reader.sequence, len(reader)) == (2, 2)
        reader.refresh()
        assert (reader.sequence, len(reader)) == (3, 3)


def test_an_index_whose_refresh_fails_keeps_its_state(tmp_path, monkeypatch):
    """A later search does not move it either: nobody would know which writes it holds."""
    with Bm25Index.create(tmp_path / "i") as writer:
        writer.upsert(["a"], [Document("a", "bread")])
        writer.commit(1)
        with Bm25Index.open(tmp_path / "i", read_only=True) as reader:
            writer.delete(["a"])
            writer.commit(2)
            with monkeypatch.context() as patched:
                patched.setattr(
                    Bm25Index, "_searching", lambda *_: (_ for _ in ()).throw(StorageError("a file is gone"))
                )
                with pytest.raises(StorageError, match="a file is gone"):
                    reader.refresh()
            assert len(reader.search(["bread"], 5)[0]) == reader.sequence == 1
            reader.refresh()
            assert (len(reader.search(["bread"], 5)[0]), reader.sequence) == (0, 2)


def test_files_of_a_merge_in_the_background_are_none_of_an_index(path):
    """Their names would be missing when the merge is stopped, and `verify` would report damage."""
    with CollectionWriter.open(path) as writer:
        index = writer.index("bm25")
        (index.path / "_9.fdm").write_bytes(b"of a merge that has not ended")
        writer.upsert(documents("steel", [1, 4, 5, 9]))
        writer.commit()
        (index.path / "_9.fdm").unlink()
    assert verify(path) == []


def test_a_refresh_restores_a_collection_whose_overwrite_was_killed_between_its_renames(path):
    with Collection.open(path) as collection:
        path.rename(path.with_name(".c.old"))
        collection.refresh()
        assert path.is_dir()
        assert len(collection) == 10
