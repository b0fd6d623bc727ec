"""Backups of a collection that is written meanwhile: whole, and of one write."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from crash.cheap import WORDS, plan

from cheap_collections import LEGS, document, found, make
from indexing.collection import backup as copies
from indexing.collection.backup import backup, restore
from indexing.collection.manifest import Leg
from indexing.collection.reader import Collection
from indexing.collection.verify import verify
from indexing.collection.writer import CollectionWriter
from indexing.errors import InputError, StorageError
from pipelines.cli import main

ROOT = Path(__file__).parents[3]
KILLED = """
import os, signal, sys
from indexing.collection import backup
left = int(sys.argv[3])
def step(method):
    def stepped(*arguments, **options):
        global left
        left -= 1
        if not left:
            os.kill(os.getpid(), signal.SIGKILL)
        return method(*arguments, **options)
    return stepped
for name in ("_copy_leg", "_copy_shards", "write_manifest", "folder_bytes", "open_index"):
    setattr(backup, name, step(getattr(backup, name)))
backup.CollectionWriter.commit = step(backup.CollectionWriter.commit)
Path = backup.Path
Path.rename = step(Path.rename)
backup.backup(sys.argv[1], sys.argv[2], overwrite=True)
"""


def fill(path: Path, count: int) -> None:
    with make(path) as writer:
        for number in range(0, count, 5):
            writer.upsert([document(n) for n in range(number, number + 5)])
        writer.delete(["d1"])


def state(path: Path) -> tuple[int, list[str]]:
    """Return the last write and the ids, after a check that every leg has just these documents."""
    assert verify(path) == []
    with Collection.open(path) as collection:
        ids = sorted(collection.documents.ids())
        for leg in LEGS:
            index = collection.index(leg)
            assert (index.sequence, len(index)) == (collection.documents.sequence, len(ids))
        return collection.documents.sequence, ids


def test_a_backup_is_a_collection_of_its_own_and_comes_back(tmp_path, capsys):
    fill(tmp_path / "c", 20)
    (tmp_path / "c" / "search.yaml").write_text("legs: [bm25]\n")
    assert main(["backup", str(tmp_path / "c"), "--to", str(tmp_path / "copy")]) == 0
    assert "19 documents as of write 5" in capsys.readouterr().out
    before = state(tmp_path / "copy")
    assert before == state(tmp_path / "c")
    linked = [file for file in (tmp_path / "copy").rglob("*") if file.is_file() and file.stat().st_nlink > 1]
    assert linked == []
    made = plan()
    with CollectionWriter.open(tmp_path / "c", encoders=made.encoders) as writer:
        writer.delete(["d2"])
        writer.compact()
    assert state(tmp_path / "copy") == before
    assert main(["restore", str(tmp_path / "copy"), "--to", str(tmp_path / "c")]) == 1
    assert main(["restore", str(tmp_path / "copy"), "--to", str(tmp_path / "c"), "--overwrite"]) == 0
    assert state(tmp_path / "c") == before
    with Collection.open(tmp_path / "c") as collection:
        for leg in LEGS:
            assert found(collection, leg, f"{WORDS[7]} {WORDS[8]}")[0] == "d7"
    assert (tmp_path / "c" / "search.yaml").is_file()


def test_backups_while_a_writer_works_are_each_of_one_write(tmp_path):
    fill(tmp_path / "c", 10)
    stop, wrong = threading.Event(), []

    def write() -> None:
        made, number = plan(), 100
        try:
            with CollectionWriter.open(tmp_path / "c", encoders=made.encoders, commit_seconds=0.0) as writer:
                while not stop.is_set() and number < 400:
                    writer.upsert([document(n) for n in range(number, number + 3)])
                    writer.delete([f"d{number}"])
                    number += 3
        except BaseException as error:
            wrong.append(error)

    thread = threading.Thread(target=write)
    thread.start()
    try:
        copies = [backup(tmp_path / "c", tmp_path / f"copy{number}") for number in range(3)]
    finally:
        stop.set()
        thread.join()
    assert not wrong
    for number, copy in enumerate(copies):
        sequence, ids = state(tmp_path / f"copy{number}")
        assert sequence == copy.sequence and len(ids) == copy.documents
        # Every second write deletes the first of the three documents that the one before added.
        writes = sequence - 3
        assert len(ids) == 9 + 3 * ((writes + 1) // 2) - writes // 2
    assert copies[0].sequence < copies[-1].sequence


def test_a_collection_that_is_replaced_while_it_is_copied_is_copied_anew(tmp_path, monkeypatch):
    """The legs of one collection beside the documents of another would be no state of either."""
    fill(tmp_path / "c", 10)
    with make(tmp_path / "other") as writer:
        for number in range(100, 120, 5):
            writer.upsert([document(n) for n in range(number, number + 5)])
    copied = copies._copy_leg

    def then_replaced(*arguments):
        sequence = copied(*arguments)
        if (tmp_path / "other").exists():
            (tmp_path / "c").rename(tmp_path / "before")
            (tmp_path / "other").rename(tmp_path / "c")
        return sequence

    monkeypatch.setattr(copies, "_copy_leg", then_replaced)
    backup(tmp_path / "c", tmp_path / "copy")
    assert state(tmp_path / "copy") == (4, [f"d{number}" for number in range(100, 120)])


def test_an_embedded_qdrant_leg_is_built_again_and_one_on_a_server_refused(tmp_path):
    legs = {"bm25": Leg("bm25"), "edge": Leg("qdrant", parameters={"analyzer": "en"})}
    with CollectionWriter.create(tmp_path / "c", legs) as writer:
        writer.upsert([document(n) for n in range(5)])
        copy = backup(tmp_path / "c", tmp_path / "copy")
    assert list(copy.rebuilt) == ["edge"] and verify(tmp_path / "copy") == []
    with Collection.open(tmp_path / "copy") as collection:
        assert list(collection.index("edge").search([WORDS[3]], 2).doc_ids) == ["d2", "d3"]
    manifest = (tmp_path / "copy" / "manifest.json").read_text()
    assert "edge" in manifest
    with pytest.raises(StorageError, match="already holds a collection"):
        backup(tmp_path / "c", tmp_path / "copy")


def test_a_damaged_backup_is_not_restored(tmp_path):
    fill(tmp_path / "c", 10)
    backup(tmp_path / "c", tmp_path / "copy")
    shard = next((tmp_path / "copy" / "shards").rglob("*.shard"))
    data = bytearray(shard.read_bytes())
    data[len(data) // 2] ^= 1
    shard.write_bytes(data)
    with pytest.raises(StorageError, match="is damaged, and nothing was restored"):
        restore(tmp_path / "copy", tmp_path / "again")
    assert not (tmp_path / "again").exists()
    with pytest.raises((InputError, StorageError), match="is not a collection"):
        backup(tmp_path / "none", tmp_path / "again")


def killed(source: Path, to: Path, steps: int) -> int:
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.run([sys.executable, "-c", KILLED, str(source), str(to), str(steps)], env=environment).returncode


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_twenty_kills_leave_the_last_whole_backup(tmp_path):
    fill(tmp_path / "c", 20)
    backup(tmp_path / "c", tmp_path / "copy")
    expected, kills = state(tmp_path / "c"), 0
    for steps in range(1, 40):
        if killed(tmp_path / "c", tmp_path / "copy", steps) == 0:
            break
        kills += 1
        with Collection.open(tmp_path / "copy") as copy:
            assert copy.documents.sequence == expected[0]
    assert kills >= 20
    backup(tmp_path / "c", tmp_path / "copy", overwrite=True)
    assert state(tmp_path / "copy") == expected


def test_a_killed_backup_is_begun_anew(tmp_path):
    fill(tmp_path / "c", 20)
    assert killed(tmp_path / "c", tmp_path / "copy", 12) == -signal.SIGKILL
    assert not (tmp_path / "copy").exists()
    backup(tmp_path / "c", tmp_path / "copy")
    assert state(tmp_path / "copy") == state(tmp_path / "c")
