"""Nothing that is not a collection's own is ever deleted."""

import json
import shutil
from pathlib import Path

import pytest
from crash.cheap import documents, plan

from indexing.collection.backup import backup, restore
from indexing.collection.ownership import foreign
from indexing.collection.reader import Collection
from indexing.collection.verify import verify
from indexing.collection.writer import CollectionWriter
from indexing.errors import StorageError
from pipelines.build.job import build_collection, build_legs
from pipelines.deploy.job import deploy

EXTENSION = '{"manifest_version": 3}'


def build(path: Path, count: int = 20, *, overwrite: bool = False, edge: bool = False) -> Path:
    build_legs(documents(count, 0, 1), path, plan(edge=edge), overwrite=overwrite, show_progress=False)
    return path


def write(file: Path, text: str = "x") -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    return file


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    return build(tmp_path_factory.mktemp("ownership") / "built")


@pytest.fixture
def collection(built, tmp_path):
    return Path(shutil.copytree(built, tmp_path / "c"))


@pytest.mark.parametrize("manifest", [EXTENSION, "[]", "5", "{", "[" * 100_000, '{"format": 2}'])
def test_a_folder_with_another_manifest_is_not_overwritten(tmp_path, manifest):
    """A browser extension's folder with a manifest.json was taken for a collection, and deleted."""
    write(tmp_path / "victim" / "manifest.json", manifest)
    mine = write(tmp_path / "victim" / "src" / "app.js")

    with pytest.raises(StorageError, match=r"victim exists and is not a collection .*choose another directory"):
        build(tmp_path / "victim", overwrite=True)

    assert mine.read_text() == "x"
    assert (tmp_path / "victim" / "manifest.json").read_text() == manifest
    assert [entry.name for entry in tmp_path.iterdir()] == ["victim"]


@pytest.mark.parametrize(
    "mine",
    [
        *("notes.md", "src/app.js", ".git/config", "shards/dense/notes.txt", "shards/dense/mine.shard"),
        *("shards/notes/a.txt", "legs/notes/a.txt", "legs/dense/a.py", "legs/bm25/_notes.md", "legs/dense/shard.txt"),
    ],
)
def test_a_collection_with_a_foreign_file_is_not_overwritten(collection, mine):
    """Files of the user's in a collection were deleted with it."""
    file = write(collection / mine)

    with pytest.raises(StorageError, match=r"would be deleted, but .* does not belong to a collection: move it away"):
        build(collection, 30, overwrite=True)

    assert file.read_text() == "x"
    with Collection.open(collection) as opened:
        assert len(opened) == 20
    file.unlink()
    shutil.rmtree(file.parent) if file.parent != collection and not any(file.parent.iterdir()) else None
    build(collection, 30, overwrite=True)
    with Collection.open(collection) as opened:
        assert len(opened) == 30


@pytest.mark.parametrize("role", ["old", "building"])
@pytest.mark.parametrize("manifest", [None, EXTENSION])
def test_hidden_folders_beside_it_that_are_not_ours_stay(collection, role, manifest):
    """A folder that happens to be called .NAME.old or .NAME.building was emptied."""
    beside = collection.with_name(f".c.{role}")
    mine = write(beside / "src" / "app.js")
    if manifest:
        write(beside / "manifest.json", manifest)

    with pytest.raises(StorageError, match=rf"\.c\.{role}.*(does not belong to|is not) a collection"):
        build(collection, overwrite=True)

    assert mine.read_text() == "x"
    shutil.rmtree(collection)
    if role == "old":
        with pytest.raises(StorageError):
            Collection.open(collection)
        assert mine.read_text() == "x"


@pytest.mark.parametrize("mine", ["legs/notes/a.txt", "legs/dense.old/a.npz", "legs/dense.7/a.txt", "legs/a.txt"])
def test_writers_leave_foreign_files_and_verify_names_them(collection, mine):
    """The next writer deleted every folder below legs that the manifest does not name."""
    file = write(collection / mine)
    unnamed = write(collection / "shards" / "dense" / "mine.shard")

    with CollectionWriter.open(collection, encoders=plan().encoders) as writer:
        writer.reindex("dense")
        writer.reindex("sparse")
        writer.upsert(list(documents(5, 1, 1)))
        writer.compact()

    assert file.read_text() == unnamed.read_text() == "x"
    found = verify(collection)
    assert {problem.what for problem in found} == {"foreign"}
    assert all(problem.harmless for problem in found)
    assert str(unnamed) in " ".join(problem.message for problem in found)


def test_a_link_below_legs_is_left_alone(collection, tmp_path):
    """A symbolic link below legs ended every writer with an error of shutil."""
    elsewhere = write(tmp_path / "elsewhere" / "a.txt").parent
    (collection / "legs" / "link").symlink_to(elsewhere)
    moved = shutil.move(collection / "legs" / "dense", tmp_path / "dense")
    (collection / "legs" / "dense").symlink_to(moved)

    with CollectionWriter.open(collection) as writer:
        writer.reindex("dense")
    assert {problem.what for problem in verify(collection)} == {"foreign"}
    with pytest.raises(StorageError, match=r"legs/(link|dense) does not belong"):
        build(collection, overwrite=True)

    assert (elsewhere / "a.txt").read_text() == "x"
    assert any(Path(moved).iterdir())


def test_a_link_to_a_collection_is_overwritten_where_it_leads(collection, tmp_path):
    """An overwrite through a link replaced the link, and left the old collection under a hidden name."""
    (tmp_path / "link").symlink_to(collection)

    build(tmp_path / "link", 30, overwrite=True)

    assert (tmp_path / "link").is_symlink()
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["c", "link"]
    with Collection.open(collection) as opened:
        assert len(opened) == 30


def test_every_file_of_every_kind_is_the_collections_own(tmp_path):
    """Every file that a collection writes, also in the middle of a job, counts as its own."""
    path = build(tmp_path / "c", 700, edge=True)
    write(path / "search.yaml", "legs: [bm25]")
    with CollectionWriter.open(path, encoders=plan(edge=True).encoders) as writer:
        writer.delete(["d1", "d2"])
        writer.upsert(list(documents(9, 1, 1)))
        writer.commit()
        assert list(foreign(path)) == []
        for leg, kind in (("dense", "ivf"), ("graph", "sq"), ("edge", "hnsw")):
            writer.reindex(leg, backend="faiss", kind=kind)
        writer.reindex("sparse", backend="qdrant", engine="local")
        assert list(foreign(path)) == []
    build(path, edge=True, overwrite=True)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["c"]


def test_a_damaged_collection_and_one_of_another_format_are_still_replaced(collection):
    """The remedy that the errors name, --overwrite, works where the manifest is ours."""
    manifest = json.loads((collection / "manifest.json").read_text())
    (collection / "manifest.json").write_text(json.dumps(manifest | {"format": 1, "documents": "x"}))
    (collection / "documents.sqlite").write_bytes(b"")

    build(collection, 30, overwrite=True)

    with Collection.open(collection) as opened:
        assert len(opened) == 30


def test_a_build_that_fails_leaves_the_folders_of_others(tmp_path):
    """A failed build removed its folder whatever had been put into it."""

    def corpus():
        write(tmp_path / ".c.building" / "mine.txt")
        raise KeyboardInterrupt
        yield

    with pytest.raises(KeyboardInterrupt):
        build_collection(corpus(), tmp_path / "c", show_progress=False)

    assert (tmp_path / ".c.building" / "mine.txt").read_text() == "x"


def test_files_that_lucene_was_writing_when_it_was_killed_belong_to_the_collection(collection):
    """A build killed while Lucene wrote stored fields could not be resumed: its temporary file was foreign."""
    for name in ("_0_Lucene90FieldsIndex-doc_ids_0.tmp", "_0_Lucene90FieldsIndexfile_pointers_1.tmp", "_a_1.fnm"):
        write(collection / "legs" / "bm25" / name)

    assert not list(foreign(collection))

    build(collection, overwrite=True)
    assert Collection.open(collection).close() is None


@pytest.mark.parametrize("place", ["inside", "legs/a/b"])
@pytest.mark.parametrize("use", ["build", "overwrite", "backup", "restore", "deploy"])
def test_nothing_is_built_inside_a_collection(collection, place, use):
    """A collection with a backup or a build inside it could not be replaced."""
    uses = {
        "build": lambda: build(collection / place),
        "overwrite": lambda: build(collection / place, overwrite=True),
        "backup": lambda: backup(collection, collection / place),
        "restore": lambda: restore(collection, collection / place),
        "deploy": lambda: deploy(collection, collection / place, show_progress=False),
    }
    with pytest.raises(StorageError, match=r"lies in the collection .*: choose a directory outside"):
        uses[use]()
    assert list(foreign(collection)) == []
