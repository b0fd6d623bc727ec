"""Collections from strangers, and damaged ones: errors of this project, and `verify` agrees with what a search does."""

import json
import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import numpy as np
import pytest
from crash.cheap import documents, plan

from indexing.collection.digests import LONGEST_TEXT
from indexing.collection.legs import codec
from indexing.collection.manifest import manifest_bytes, read_manifest, write_manifest
from indexing.collection.reader import Collection
from indexing.collection.shards import Shards
from indexing.collection.store import DocumentStore
from indexing.collection.verify import verify
from indexing.documents import Document
from indexing.errors import InputError, RetrieveError, StorageError
from indexing.indexes.faiss.kinds import FaissSettings
from pipelines.build.job import build_legs

COUNT = 300


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    path = tmp_path_factory.mktemp("hostile") / "built"
    build_legs(documents(COUNT, 0, 3), path, plan(), show_progress=False)
    return path


@pytest.fixture
def copy(built, tmp_path):
    return Path(shutil.copytree(built, tmp_path / "c"))


def change(path: Path, edit) -> None:
    """Change the manifest as its author could, with a right checksum."""
    content = json.loads((path / "manifest.json").read_text())
    del content["crc32"]
    edit(content)
    (path / "manifest.json").write_bytes(manifest_bytes(content))


def test_every_bit_of_the_manifest_is_checked_on_opening_and_by_verify(copy):
    file = copy / "manifest.json"
    data = file.read_bytes()
    for place in range(0, len(data), max(1, len(data) // 261)):
        changed = bytearray(data)
        changed[place] ^= 1 << place % 8
        file.write_bytes(changed)
        for use in (Collection.open, verify):
            with pytest.raises(StorageError, match=r"manifest\.json|format"):
                use(copy)


def test_a_manifest_of_an_older_version_has_no_checksum_and_gets_one_with_the_next_write(copy):
    content = json.loads((copy / "manifest.json").read_text())
    old = {name: value for name, value in content.items() if name not in ("minor", "crc32")}
    (copy / "manifest.json").write_text(json.dumps(old, indent=2))

    manifest = read_manifest(copy)
    assert verify(copy) == []
    write_manifest(copy, manifest)

    assert json.loads((copy / "manifest.json").read_text()) == content


@pytest.mark.parametrize("removed", ["minor", "crc32"])
def test_a_manifest_that_lost_its_checksum_or_its_version_is_damaged(copy, removed):
    content = json.loads((copy / "manifest.json").read_text())
    del content[removed]
    (copy / "manifest.json").write_text(json.dumps(content, indent=2))

    with pytest.raises(StorageError, match="checksum differs"):
        read_manifest(copy)


@pytest.mark.parametrize(
    ("keys", "value"),
    [
        (["corpus"], "text"),
        (["corpus"], None),
        (["documents"], -1),
        (["documents"], [3]),
        (["fields"], {"a": "nope"}),
        (["fields"], ["a"]),
        (["legs"], []),
        (["legs", "dense"], 5),
        (["legs", "dense", "encoder"], ["a"]),
        (["legs", "dense", "backend"], ["faiss"]),
        (["legs", "dense", "parameters"], "x"),
        (["legs", "dense", "parameters", "dimension"], 10**15),
        (["legs", "dense", "parameters", "dimension"], "x"),
        (["legs", "dense", "parameters", "dtype"], "object"),
        (["legs", "sparse", "parameters", "columns"], -5),
        (["legs", "dense", "files"], {"../../../etc/passwd": [1, 2]}),
        (["legs", "dense", "files"], {"a": [1]}),
        (["legs", "dense", "files"], {"a": ["x", 2]}),
        (["legs", "dense", "folder"], "../dense"),
        (["legs", "dense", "folder"], "x" * 5000),
        (["legs", "dense", "folder"], "dense." + "1" * 300),
        (["legs", "tokens", "folder"], "é" * 150),
        (["legs", "x" * 300], {"backend": "bm25"}),
        (["legs", "dense", "unknown"], 1),
        (["unknown"], 1),
    ],
)
def test_a_manifest_with_values_of_other_types_is_refused(copy, keys, value):
    def edit(content):
        for key in keys[:-1]:
            content = content[key]
        content[keys[-1]] = value

    change(copy, edit)

    for use in (Collection.open, verify):
        with pytest.raises(StorageError, match=r"manifest\.json"):
            use(copy)


def test_a_damaged_schema_that_is_not_utf8_is_named(copy):
    """SQLite quotes the name of the table in its error, which cannot be decoded either."""
    with closing(sqlite3.connect(copy / "documents.sqlite")) as store:
        store.execute("PRAGMA journal_mode = DELETE")
    file = copy / "documents.sqlite"
    content = file.read_bytes()
    for whole, damaged in (
        (b"CREATE TABLE documents", b"CREATE TABL_ documents"),
        (b"tabledocuments", b"tabled\xbdcuments"),
    ):
        assert whole in content
        content = content.replace(whole, damaged)
    file.write_bytes(content)
    for use in (Collection.open, verify):
        with pytest.raises(StorageError, match=r"documents\.sqlite is not a document store"):
            use(copy)


@pytest.mark.timeout(60)
def test_documents_out_of_order_are_damage_and_not_read_in_circles(tmp_path):
    """The last number of a page begins the next one: a smaller one would make all following pages again, for ever."""
    file = tmp_path / "documents.sqlite"
    with DocumentStore.create(file) as store:
        store.upsert([Document(f"d{number}", "text") for number in range(100)])
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("PRAGMA journal_mode = DELETE")
    content = bytearray(file.read_bytes())
    with DocumentStore.open(file) as store:
        (number,) = store.numbers_of(["d99"]).values()
    text = content.index(b"d99")
    at = content.rindex(bytes([number]), text - 20, text)  # the number stands before the header of its row
    content[at] = 3
    file.write_bytes(content)
    with DocumentStore.open(file) as store:
        for read in (lambda: list(store), lambda: list(store.ids()), store.corrupt_ids):
            with pytest.raises(StorageError, match="out of order"):
                read()
        assert store.integrity_errors()


def test_a_manifest_that_is_nested_without_end_is_refused(copy):
    (copy / "manifest.json").write_text("[" * 100_000)

    with pytest.raises(StorageError, match="nested too deeply"):
        Collection.open(copy)


@pytest.mark.parametrize("name", ["dimension", "columns"])
def test_rows_of_another_width_than_the_manifest_says_are_damage(copy, name):
    leg = "dense" if name == "dimension" else "sparse"
    change(copy, lambda content: content["legs"][leg]["parameters"].update({name: 1}))

    found = verify(copy)

    assert {problem.leg for problem in found if problem.what == "piece"} == {leg}
    with Collection.open(copy) as opened, pytest.raises(RetrieveError):
        opened.index(leg).search(np.ones((1, 1), np.float32), 3)


def test_a_file_that_the_manifest_names_and_nobody_has_is_damage(copy):
    def edit(content):
        content["legs"]["dense"]["files"]["more-1.faiss"] = [3, 4]

    change(copy, edit)

    assert [(problem.what, problem.leg) for problem in verify(copy)] == [("leg", "dense")]


def read_all(path: Path) -> None:
    with Collection.open(path) as opened:
        store = opened.documents
        list(store)
        list(store.changes(0))
        store.contents(list(store.ids()))
        assert store.sequence >= 0
        assert len(store) >= 0
        for leg in ("dense", "sparse"):
            shards = Shards(path / "shards" / leg, codec(opened.leg(leg)), store.pieces(leg))
            for piece in shards.pieces:
                shards.load(piece)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE documents SET metadata = '{' WHERE number = 1",
        "UPDATE documents SET metadata = '5' WHERE number = 1",
        "UPDATE documents SET metadata = CAST(x'ff' AS TEXT) WHERE number = 1",
        f"UPDATE documents SET metadata = '{'[' * 5000}' WHERE number = 1",
        "UPDATE documents SET text = CAST(x'ff' AS TEXT) WHERE number = 1",
        "UPDATE documents SET text = x'ff' WHERE number = 1",
        "UPDATE documents SET title = x'00' WHERE number = 1",
        "UPDATE state SET value = 'many' WHERE key = 'documents'",
        "DELETE FROM state",
        "UPDATE pieces SET numbers = x'00'",
        "UPDATE pieces SET numbers = 'text'",
        "UPDATE pieces SET shard = '../../../../etc/passwd'",
        "UPDATE pieces SET length = 9000000000000000000",
        "UPDATE pieces SET start = -5",
        "UPDATE pieces SET start = 'x'",
    ],
)
def test_damaged_values_of_documents_and_pieces_are_reported_by_readers_and_verify(copy, statement):
    connection = sqlite3.connect(copy / "documents.sqlite")
    with connection:
        connection.execute(statement)
    connection.close()

    try:
        found = " ".join(problem.message for problem in verify(copy))
    except StorageError as error:
        found = str(error)
    assert str(copy) in found
    with pytest.raises(StorageError, match=str(copy)) as raised:
        read_all(copy)
    assert "free some space" not in str(raised.value)


def test_a_document_that_is_too_long_is_named(tmp_path):
    with DocumentStore.create(tmp_path / "documents.sqlite") as store:
        with pytest.raises(InputError, match=r"document 'long' has 134,217,7\d\d characters"):
            store.upsert([Document("long", "a" * LONGEST_TEXT)])
        with pytest.raises(InputError, match=r"document 'deep': its metadata are nested too deeply"):
            store.upsert([Document("deep", "a", metadata=json.loads('{"a": ' + "[" * 900 + "]" * 900 + "}"))])
        assert len(store) == 0


@pytest.mark.parametrize(
    "settings",
    [
        {"kind": "factory", "factory": "IVF999999999,Flat"},
        {"kind": "factory", "factory": "IMI2x24,Flat"},
        {"kind": "factory", "factory": "PQ8x30"},
        {"kind": "factory", "factory": "HNSW1000000"},
        {"kind": "factory", "factory": "IDMap," * 1000 + "Flat"},
        {"kind": "ivf", "nlist": 10**12},
        {"kind": "hnsw", "m": 10**9},
        {"dimension": 10**12},
    ],
)
def test_settings_that_would_take_all_memory_are_refused(settings):
    with pytest.raises(InputError, match="at most"):
        FaissSettings(**({"dimension": 32} | settings))


@pytest.mark.parametrize("factory", ["OPQ16_64,IVF4096,PQ16x8", "IVF65536_HNSW32,Flat", "HNSW64,SQ8"])
def test_factory_strings_of_usual_sizes_are_accepted(factory):
    FaissSettings(64, kind="factory", factory=factory)


@contextmanager
def unwritable(path: Path) -> Iterator[None]:
    """Take the right to write to a collection and its folder; root, who may write anywhere, becomes another user."""
    folders = [path.parent, path, *(folder for folder in path.rglob("*") if folder.is_dir())]
    user = os.geteuid()
    above = [folder for folder in path.parents[1:-1] if user == 0 and folder.stat().st_mode & 0o055 != 0o055]
    files = [file for file in path.rglob("*") if file.is_file()]
    modes = {entry: entry.stat().st_mode for entry in [*folders, *above, *files]}
    for entry, mode in modes.items():
        entry.chmod(0o555 if entry in folders else mode | 0o055)
    try:
        if user == 0:
            os.seteuid(65534)
        yield
    finally:
        os.seteuid(user)
        for entry, mode in modes.items():
            entry.chmod(mode)


def test_a_folder_in_which_nothing_can_be_written_is_verified(copy):
    """Verify took the lock of writers, and so refused a backup on a read-only file system."""
    assert verify(copy) == []  # imports everything, which another user may not
    names = sorted(copy.parent.rglob("*"))

    with unwritable(copy):
        with pytest.raises(PermissionError):
            (copy.parent / "file").touch()
        assert verify(copy) == []
        flipped = bytearray((copy / "manifest.json").read_bytes())

    flipped[len(flipped) // 2] ^= 1
    (copy / "manifest.json").write_bytes(flipped)
    with unwritable(copy), pytest.raises(StorageError, match="is damaged"):
        verify(copy)
    assert sorted(copy.parent.rglob("*")) == names
