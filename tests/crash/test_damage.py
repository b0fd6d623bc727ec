"""A full disk, a truncated shard, a corrupted file: detected, named, and mended by running again or by repair."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from crash.cheap import documents, plan

from indexing.collection.reader import Collection
from indexing.collection.verify import repair, verify
from indexing.collection.writer import CollectionWriter
from indexing.errors import StorageError
from pipelines.build.job import build_legs, update_collection

COUNT, SEED = 1500, 5
BUILD = """
import resource, sys
from pathlib import Path
sys.path[:0] = [{tests!r}]
from crash.cheap import documents, plan
from indexing.errors import StorageError
from pipelines.build.job import build_legs
resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))
try:
    build_legs(documents({count}, 0, {seed}), Path({path!r}), plan(), show_progress=False)
except StorageError as error:
    print(error)
    sys.exit(3)
"""


def collection(path: Path) -> Path:
    build_legs(documents(COUNT, 0, SEED), path, plan(), show_progress=False)
    return path


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    return collection(tmp_path_factory.mktemp("damage") / "built")


@pytest.fixture
def copy(built, tmp_path):
    import shutil

    return Path(shutil.copytree(built, tmp_path / "c"))


def contents(path: Path) -> dict[str, str]:
    with Collection.open(path) as opened:
        return {document.doc_id: document.text for document in opened.documents}


def flip(file: Path, place: int) -> None:
    data = bytearray(file.read_bytes())
    data[place] ^= 0xFF
    file.write_bytes(data)


@pytest.mark.parametrize("limit", [40_000, 120_000, 250_000])
def test_a_full_disk_is_named_and_the_build_goes_on_when_there_is_room(tmp_path, built, limit):
    script = BUILD.format(
        tests=str(Path(__file__).parents[1]), limit=limit, count=COUNT, seed=SEED, path=str(tmp_path / "c")
    )
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}

    full = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=environment, check=False)

    assert full.returncode == 3, full.stderr
    assert str(tmp_path / ".c.building") in full.stdout
    assert not (tmp_path / "c").exists()
    collection(tmp_path / "c")
    assert contents(tmp_path / "c") == contents(built)
    assert verify(tmp_path / "c") == []


@pytest.mark.parametrize("leg", ["dense", "sparse"])
def test_a_truncated_shard_is_named_by_verify_and_by_writers_and_encoded_again(copy, leg):
    shard = copy / "shards" / leg / "000000.shard"
    os.truncate(shard, shard.stat().st_size // 2)

    found = verify(copy)
    assert {problem.leg for problem in found} == {leg}
    assert all(str(shard) in problem.message and "--repair" in problem.message for problem in found)
    with pytest.raises(StorageError, match=rf"{shard} has [\d,]+ bytes of [\d,]+: .*--repair"):
        CollectionWriter.open(copy)

    with pytest.raises(StorageError, match=f"'{leg}' are damaged: encoding them again needs its encoder 'cheap"):
        repair(copy)
    assert repair(copy, plan().encoders) == []
    with CollectionWriter.open(copy) as opened:
        opened.reindex(leg)
        assert len(opened.index(leg)) == COUNT


def test_only_what_is_damaged_is_encoded_again(copy):
    texts: list[str] = []

    class Counting(type(plan().encoders["dense"])):
        def encode_document(self, given):
            texts.extend(given)
            return super().encode_document(given)

    shard = copy / "shards" / "dense" / "000000.shard"
    flip(shard, shard.stat().st_size // 2)

    assert "is damaged between bytes" in verify(copy)[0].message
    assert repair(copy, {"dense": Counting()}) == []
    assert len(texts) == 512


@pytest.mark.parametrize("leg", ["bm25", "sparse", "dense", "graph"])
@pytest.mark.parametrize("how", ["flipped", "shortened", "removed"])
def test_a_damaged_index_is_named_and_made_again_without_a_model(copy, leg, how):
    folder = copy / "legs" / leg
    largest = max((file for file in folder.iterdir() if file.suffix != ".npz"), key=lambda file: file.stat().st_size)
    if how == "flipped":
        flip(largest, largest.stat().st_size // 2)
    elif how == "shortened":
        os.truncate(largest, largest.stat().st_size - 1)
    else:
        largest.unlink()

    found = verify(copy)
    assert {(problem.what, problem.leg) for problem in found} == {("leg", leg)}
    assert all(str(folder) in problem.message for problem in found)
    assert repair(copy) == []
    with Collection.open(copy) as opened:
        assert len(opened.index(leg)) == COUNT


def test_a_text_that_changed_in_the_file_is_named_and_written_again_by_an_update(copy):
    file = copy / "documents.sqlite"
    data = file.read_bytes()
    with Collection.open(copy) as opened:
        text = opened.get(["d7"])[0].text.encode()
    assert data.count(text) == 1
    file.write_bytes(data.replace(text, b"W" + text[1:]))

    assert [(problem.what, problem.ids) for problem in verify(copy)] == [("document", ("d7",))]
    assert [problem.what for problem in repair(copy)] == ["document"]
    report = update_collection(documents(COUNT, 0, SEED), copy, encoders=plan().encoders, show_progress=False)
    assert (report.written, report.unchanged) == (1, COUNT - 1)
    assert verify(copy) == []


def test_a_store_that_is_not_whole_is_named_with_the_way_out(copy):
    file = copy / "documents.sqlite"
    size = file.stat().st_size
    with file.open("r+b") as opened:
        opened.seek(size // 2 // 4096 * 4096)
        opened.write(b"\xff" * 4096)

    found = verify(copy)

    assert {problem.what for problem in found} == {"store"}
    assert all(str(file) in problem.message and "--overwrite" in problem.message for problem in found)
    assert {problem.what for problem in repair(copy)} == {"store"}


def test_a_staged_build_whose_shard_was_cut_is_mended_by_running_it_again(tmp_path, built):
    def stopped():
        for number, document in enumerate(documents(COUNT, 0, SEED)):
            if number == 1100:
                raise KeyboardInterrupt
            yield document

    with pytest.raises(KeyboardInterrupt):
        build_legs(stopped(), tmp_path / "c", plan(), show_progress=False)
    shard = tmp_path / ".c.building" / "shards" / "graph" / "000000.shard"
    os.truncate(shard, 1000)

    report = build_legs(documents(COUNT, 0, SEED), tmp_path / "c", plan(), show_progress=False)

    assert report.unchanged == 1024
    assert verify(tmp_path / "c") == []
    assert contents(tmp_path / "c") == contents(built)


def test_what_a_crash_left_is_a_note_and_goes_with_the_next_writer(copy):
    shard = copy / "shards" / "dense" / "000000.shard"
    with shard.open("ab") as file:
        file.write(b"half a piece")
    (copy / "shards" / "dense" / "000001.shard").write_bytes(b"a piece")
    (copy / "legs" / "dense.9").mkdir()

    found = verify(copy)
    assert [problem.what for problem in found] == ["leftover"] * 3
    assert all(problem.harmless for problem in found)
    CollectionWriter.open(copy).close()
    assert verify(copy) == []


def spoil(file: Path, how: str) -> None:
    data = bytearray(file.read_bytes())
    if how == "empty":
        data = bytearray()
    elif how == "cut":
        del data[len(data) // 2 :]
    elif how == "noise":
        data = bytearray(b"\x93NUMPY" + bytes(range(256)) * 4)
    elif how == "huge":
        place = data.index(b"'shape': (")
        end = data.index(b"\n", place)
        data[place:end] = b"'shape': (99999999999999,), }".ljust(end - place)
    else:
        data[int(how) * len(data) // 100] ^= 0x10
    file.write_bytes(data)


@pytest.mark.parametrize("how", ["empty", "cut", "noise", "huge", "0", "10", "50", "97", "99"])
def test_damaged_ids_of_vectors_are_named_by_search_and_verify_and_made_again(copy, how):
    """A damaged ids-N.npz ended search, verify and repair with an error of zipfile or numpy."""
    ids = next((copy / "legs" / "dense").glob("ids-*.npz"))
    spoil(ids, how)

    assert str(ids.parent) in " ".join(problem.message for problem in verify(copy))
    with Collection.open(copy) as opened:
        try:
            assert len(opened.index("dense")) == COUNT  # a turned bit may stand where nothing is read
        except StorageError as error:
            assert ids.name in str(error)
    assert repair(copy) == []
    with Collection.open(copy) as opened:
        assert len(opened.index("dense")) == COUNT


SLOW = [pytest.param(how, marks=pytest.mark.slow) for how in ("noise", "empty", "50")]


@pytest.mark.parametrize("how", ["cut", *SLOW])
def test_every_damaged_file_of_every_leg_is_reported_and_made_again(built, tmp_path, how):
    """Verify ended with an error of the engine for some files of a leg."""
    import shutil

    names = [file.relative_to(built) for file in (built / "legs").rglob("*") if file.is_file()]
    for number, name in enumerate(name for name in names if name.name != "write.lock"):
        copy = Path(shutil.copytree(built, tmp_path / str(number)))
        spoil(copy / name, how)
        assert {problem.leg for problem in verify(copy)} == {name.parts[1]}, name
        assert repair(copy) == [], name
