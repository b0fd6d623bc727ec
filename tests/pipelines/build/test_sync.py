"""Synchronisation with files: what is read, encoded and removed after changes, renames, removals and kills."""

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from document_files import pdf, write, write_handbook
from indexing import Collection
from indexing.collection.manifest import Leg, read_manifest
from indexing.collection.verify import verify
from indexing.corpora import Chunking, read_files
from indexing.errors import InputError
from pipelines import cli
from pipelines.build.job import build_legs
from pipelines.build.plan import Plan
from pipelines.build.sync import SyncReport, find_changes, sync_files, watch_files

PLAN_FIELDS = {"path": "keyword", "page": "number", "modified": "date"}


class Counting:
    """An encoder of any text that counts what it encodes."""

    identity = {"name": "counting", "weights_sha256": "1", "dimension": 8}  # noqa: RUF012

    def __init__(self) -> None:
        self.texts: list[str] = []

    def encode_document(self, texts: Sequence[str]) -> np.ndarray:
        self.texts += texts
        return np.array([np.random.default_rng(zlib.crc32(t.encode())).normal(size=8) for t in texts], np.float32)


def build(folder: Path, target: Path, encoder: Counting) -> None:
    legs = {"bm25": Leg("bm25"), "dense": Leg("faiss", encoder.identity, {"dimension": 8, "kind": "flat"})}
    build_legs(read_files(folder), target, Plan(legs, {"dense": encoder}, fields=PLAN_FIELDS), show_progress=False)


def sync(folder: Path, target: Path, encoder: Counting, **options: object) -> SyncReport:
    return sync_files(
        read_files(folder),
        target,
        encoders=lambda: {"dense": encoder},
        show_progress=False,
        **options,  # type: ignore[arg-type]
    )


def contents(path: Path) -> dict[str, tuple[str, str, dict[str, object]]]:
    with Collection.open(path) as collection:
        return {d.doc_id: (d.title, d.text, dict(d.metadata)) for d in collection.documents}


def age(folder: Path) -> None:
    """Date the files back, so that a change within the same millisecond has another time."""
    for file in folder.rglob("*"):
        if file.is_file():
            os.utime(file, (1_600_000_000, 1_600_000_000))


@pytest.fixture
def handbook(tmp_path: Path) -> Path:
    write_handbook(tmp_path / "handbook")
    age(tmp_path / "handbook")
    return tmp_path / "handbook"


def test_only_what_changed_is_read_encoded_and_removed(handbook: Path, tmp_path: Path) -> None:
    encoder, target = Counting(), tmp_path / "index"
    build(handbook, target, encoder)
    count = len(read_files(handbook).source.entries)
    assert count >= 60

    encoder.texts.clear()
    report = sync(handbook, target, encoder)
    assert (report.unchanged, report.new, report.changed, report.update) == (count, 0, 0, None)
    assert encoder.texts == []

    changed = ["guides/bread.md", "notes/tides.txt", "web/maps.html"]
    for name in changed:
        path = handbook / name
        path.write_text(path.read_text().replace("</main>", "<p>Quite new words.</main>") + "\n\nQuite new words.\n")
    (handbook / "moved").mkdir()
    (handbook / "guides/honey.md").rename(handbook / "moved/honey.md")
    (handbook / "office/glaciers.pdf").rename(handbook / "moved/ice.pdf")
    for name in ("notes/violins.txt", "src/bridges.py", "reference/honey.rst"):
        (handbook / name).unlink()

    kept = sync(handbook, target, encoder)
    assert (kept.changed, kept.renamed, kept.new, kept.removed, kept.missing) == (3, 2, 0, 0, 5)
    assert len(encoder.texts) <= 3
    assert all("Quite new words" in text for text in encoder.texts)
    assert "notes/violins.txt#0" in contents(target)

    encoder.texts.clear()
    removed = sync(handbook, target, encoder, remove_missing=True)
    assert (removed.changed, removed.removed, removed.unchanged) == (0, 5, count - 3)
    assert encoder.texts == []
    build(handbook, tmp_path / "clean", Counting())
    assert contents(target) == contents(tmp_path / "clean")
    assert verify(target) == []
    assert sync(handbook, target, encoder, remove_missing=True).update is None


def test_renamed_and_removed_files_follow_in_one_pass(handbook: Path, tmp_path: Path) -> None:
    encoder, target = Counting(), tmp_path / "index"
    build(handbook, target, encoder)
    encoder.texts.clear()
    (handbook / "guides/honey.md").rename(handbook / "honey.md")
    (handbook / "notes/violins.txt").unlink()
    report = sync(handbook, target, encoder, remove_missing=True)
    assert (report.renamed, report.removed, report.new) == (1, 1, 0)
    assert encoder.texts == []
    stored = contents(target)
    assert "honey.md#0" in stored
    assert not any(name.startswith(("guides/honey", "notes/violins")) for name in stored)


def test_a_collection_is_sound_after_updates_that_only_remove(tmp_path: Path) -> None:
    """No manifest names a file of Lucene's that goes when the writer closes."""
    folder, encoder, target = tmp_path / "files", Counting(), tmp_path / "index"
    for number in range(9):
        write(folder / f"{number}.md", f"words {number}")
    build(folder, target, encoder)
    for number in range(3):
        (folder / f"{number}.md").unlink()
        sync(folder, target, encoder, remove_missing=True)
        assert verify(target) == []


def test_chunks_that_a_shorter_file_no_longer_has_are_removed(tmp_path: Path) -> None:
    folder, encoder = tmp_path / "files", Counting()
    write(folder / "a#1.md", "# A\n\none\n\n# B\n\ntwo\n\n# C\n\nthree\n")
    write(folder / "b.md", "stays")
    age(folder)
    build(folder, tmp_path / "index", encoder)
    assert set(contents(tmp_path / "index")) == {"a#1.md#0", "a#1.md#1", "a#1.md#2", "b.md#0"}
    write(folder / "a#1.md", "# A\n\none\n")
    encoder.texts.clear()
    sync(folder, tmp_path / "index", encoder)
    assert set(contents(tmp_path / "index")) == {"a#1.md#0", "b.md#0"}
    write(folder / "a#1.md", "")
    sync(folder, tmp_path / "index", encoder)
    assert set(contents(tmp_path / "index")) == {"a#1.md#0", "b.md#0"}, "what cannot be read keeps its last text"
    assert encoder.texts == []


def test_a_file_that_cannot_be_read_is_not_tried_again_until_it_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, encoder, target = tmp_path / "files", Counting(), tmp_path / "index"
    write(folder / "locked.pdf", pdf("tea", "tea", password="x"))
    write(folder / "a.md", "text")
    age(folder)
    build(folder, target, encoder)
    report = sync(folder, target, encoder)
    assert (report.new, report.unreadable, report.update) == (0, 1, None)
    write(folder / "a.md", "other text")
    report = sync(folder, target, encoder)
    assert (report.changed, report.unreadable) == (1, 1)
    write(folder / "locked.pdf", pdf("tea", "tea"))
    report = sync(folder, target, encoder)
    assert (report.new, report.unreadable) == (1, 0)
    assert "locked.pdf#0" in contents(target)


def test_all_files_may_go(tmp_path: Path) -> None:
    folder, encoder, target = tmp_path / "files", Counting(), tmp_path / "index"
    write(folder / "a.md", "text")
    build(folder, target, encoder)
    (folder / "a.md").unlink()
    assert sync(folder, target, encoder, remove_missing=True).removed == 1
    assert contents(target) == {}


def test_a_pass_that_only_removes_loads_no_encoder(tmp_path: Path) -> None:
    folder, target = tmp_path / "files", tmp_path / "index"
    write(folder / "a.md", "text")
    write(folder / "b.md", "other text")
    write(folder / "empty.txt", "")
    build(folder, target, Counting())
    (folder / "b.md").unlink()

    def encoders() -> dict[str, Counting]:
        raise AssertionError("loaded")

    report = sync_files(read_files(folder), target, encoders=encoders, remove_missing=True, show_progress=False)
    assert (report.removed, report.unchanged, report.unreadable) == (1, 1, 1)
    assert set(contents(target)) == {"a.md#0"}
    assert verify(target) == []


def test_other_chunks_or_another_corpus_are_refused(tmp_path: Path) -> None:
    write(tmp_path / "files/a.md", "text")
    build(tmp_path / "files", tmp_path / "index", Counting())
    other = read_files(tmp_path / "files", chunking=Chunking("tokens"))
    with pytest.raises(InputError, match="with other chunks"):
        find_changes(other, tmp_path / "index")


KILLED = """
import sys
from pathlib import Path
sys.path[:0] = [{tests!r}, {here!r}]
from test_sync import Counting, build, sync
folder, target = Path({folder!r}), Path({target!r})
print("ready", flush=True)
build(folder, target, Counting()) if not target.exists() else sync(folder, target, Counting(), remove_missing=True)
print("done", flush=True)
"""


@pytest.mark.slow
def test_killed_at_any_instant_the_next_run_completes(handbook: Path, tmp_path: Path) -> None:
    target, chance = tmp_path / "index", random.Random(5)
    here = Path(__file__).parent
    values = {"tests": str(here.parents[1]), "here": str(here), "folder": str(handbook), "target": str(target)}
    kills = 0
    for version in range(4):
        for _ in range(3):
            job = subprocess.Popen([sys.executable, "-c", KILLED.format(**values)], stdout=subprocess.PIPE, text=True)
            assert job.stdout is not None
            assert job.stdout.readline() == "ready\n"
            time.sleep(chance.random() * 2.5)
            kills += job.poll() is None
            job.send_signal(signal.SIGKILL)
            job.wait()
        encoder = Counting()
        sync(handbook, target, encoder, remove_missing=True) if target.exists() else build(handbook, target, encoder)
        build(handbook, tmp_path / f"clean{version}", Counting())
        assert contents(target) == contents(tmp_path / f"clean{version}")
        for number, file in enumerate(sorted(handbook.rglob("*.md"))):
            write(file, f"# Version {version}\n\n" + f"words {number} {version}.\n\n# More\n\ntext\n" * (version + 1))
        for file in sorted(handbook.rglob("*.txt"))[:2]:
            file.rename(file.with_name(f"{version}-{file.name}"))
        sorted(handbook.rglob("*.rst"))[0].unlink()
    assert kills >= 3


def test_interrupted_chunks_of_two_versions_are_read_again(tmp_path: Path) -> None:
    folder, encoder, target = tmp_path / "files", Counting(), tmp_path / "index"
    write(folder / "a.md", "# A\n\none\n\n# B\n\ntwo\n")
    age(folder)
    build(folder, target, encoder)
    from indexing.collection.writer import CollectionWriter

    write(folder / "a.md", "# A\n\none, changed\n\n# B\n\ntwo, changed\n")
    first = next(iter(read_files(folder)))
    with CollectionWriter.open(target, encoders={"dense": encoder}) as collection:
        # What a kill leaves behind after the first of the file's chunks was written.
        collection.upsert([first], {"dense": encoder.encode_document([first.contents])})
    assert sync(folder, target, encoder).changed == 1
    assert [text for _, text, _ in contents(target).values()] == ["# A\n\none, changed\n\n", "# B\n\ntwo, changed\n"]


def test_watching_indexes_files_that_have_become_quiet(tmp_path: Path) -> None:
    folder, encoder, target = tmp_path / "files", Counting(), tmp_path / "index"
    write(folder / "a.md", "text")
    age(folder)
    build(folder, target, encoder)
    reports = watch_files(
        read_files(folder), target, seconds=0.05, encoders=lambda: {"dense": encoder}, show_progress=False
    )
    writer = threading.Timer(0.3, lambda: write(folder / "b.md", "more"))
    writer.start()
    report = next(reports)
    writer.join()
    assert (report.new, report.unchanged) == (1, 1)
    assert "b.md#0" in contents(target)


class TestCommandLine:
    def test_a_folder_is_built_and_synchronised_by_the_same_command(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        write(tmp_path / "handbook/leave.md", "# Leave\n\nEmployees have thirty days of leave.\n")
        write(tmp_path / "handbook/trips.pdf", pdf("trips", "trips"))
        write(tmp_path / "handbook/empty.txt", "")
        age(tmp_path / "handbook")
        command = ["index", "./handbook", "--to", "handbook.index", "--no-dense", "--quiet"]
        assert cli.main(command) == 0
        printed = capsys.readouterr()
        assert "2 files read, 1 unreadable" in printed.out
        assert cli.main(command) == 0
        assert "0 new, 0 changed, 2 unchanged, 1 unreadable files; nothing to do" in capsys.readouterr().out
        write(tmp_path / "handbook/new.md", "# New\n\nThe canteen opens at noon.\n")
        (tmp_path / "handbook/leave.md").unlink()
        assert cli.main([*command, "--dry-run", "--json"]) == 0
        counts = json.loads(capsys.readouterr().out)
        assert counts == {"new": 1, "changed": 0, "renamed": 0, "gone": 1, "unchanged": 1}
        assert cli.main([*command, "--remove-missing", "--json"]) == 0
        report = json.loads(capsys.readouterr().out)
        assert report["files"]["new"] == report["files"]["removed"] == 1
        assert cli.main(["search", "handbook.index", "tripsmethod", "--json"]) == 0
        hit = json.loads(capsys.readouterr().out)["hits"][0]
        assert hit["doc_id"] == hit["metadata"]["path"] == "trips.pdf"
        assert hit["passages"][0]["metadata"]["page"] == 2
        assert cli.main(["search", "handbook.index", "tripsmethod"]) == 0
        assert "page 2, characters" in capsys.readouterr().out
        where = json.dumps({"page": {"gte": 2}, "format": "pdf"})
        assert cli.main(["search", "handbook.index", "words", "--where", where, "--json"]) == 0
        assert [hit["doc_id"] for hit in json.loads(capsys.readouterr().out)["hits"]] == ["trips.pdf"]

    def test_skipped_files_are_written_to_a_file_on_request(self, tmp_path: Path) -> None:
        write(tmp_path / "f/a.md", "text")
        write(tmp_path / "f/b.txt", "")
        target = tmp_path / "index"
        assert (
            cli.main(["index", str(tmp_path / "f"), "--to", str(target), "--no-dense", "--on-error", "skip", "--quiet"])
            == 0
        )
        (line,) = map(json.loads, (tmp_path / "index.skipped.jsonl").read_text().splitlines())
        assert (Path(line["file"]).name, line["reason"]) == ("b.txt", "is empty")

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            (["--to", "handbook"], "is the folder itself"),
            (["--id-field", "x"], "is for a corpus of records"),
            (["--engine", "ray", "--watch"], "--watch does not go with --engine ray"),
            (["--watch", "0"], "above 0"),
            (["--watch", "inf"], "up to a day"),
            (["--watch", "--dry-run"], "does not go with --dry-run"),
        ],
    )
    def test_options_that_do_not_go_with_files_are_refused(
        self, options: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:  # fmt: skip
        monkeypatch.chdir(tmp_path)
        write(tmp_path / "handbook/a.md", "text")
        target = [] if "--to" in options else ["--to", "index"]
        assert cli.main(["index", "handbook", "--no-dense", *target, *options]) != 0
        assert message in capsys.readouterr().err

    def test_another_choice_of_legs_is_refused(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.chdir(tmp_path)
        write(tmp_path / "handbook/a.md", "text")
        command = ["index", "handbook", "--to", "index", "--quiet"]
        assert cli.main([*command, "--no-dense"]) == 0
        assert cli.main(command) != 0
        assert "has no leg 'dense'" in capsys.readouterr().err
        assert cli.main([*command, "--no-dense", "--chunk", "pages"]) != 0
        assert "with other chunks" in capsys.readouterr().err
        assert read_manifest(tmp_path / "index").corpus["reading"]["files"] is True

    @pytest.mark.parametrize("update", [[], ["--update"]])
    @pytest.mark.parametrize(
        ("options", "message"),
        [
            (["--no-bm25"], "has a leg 'bm25', which is kept"),
            (["--analyzer", "de"], "--analyzer"),
            (["--bm25-fields", "title=2,text=1"], "--bm25-fields"),
            (["--bm25-backend", "qdrant"], "--bm25-backend"),
            (["--filter-field", "author:keyword"], "--filter-field"),
            (["--filter-field", "page:keyword"], "--filter-field"),
            (["--k1", "1.5"], "--k1"),
        ],
    )
    def test_options_that_contradict_the_collection_are_refused(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
        options: list[str], message: str, update: list[str],
    ) -> None:  # fmt: skip
        """The error names the option that has no effect, also when the corpus is empty."""
        monkeypatch.chdir(tmp_path)
        write(tmp_path / "handbook/a.md", "text")
        command = ["index", "handbook", "--to", "index", "--quiet", "--no-dense"]
        assert cli.main(command) == 0
        capsys.readouterr()
        assert cli.main([*command, *update, *options]) == 1
        assert message in capsys.readouterr().err
        assert cli.main([*command, *update, *([] if update else ["--filter-field", "page:number"])]) == 0


@pytest.mark.slow
def test_ten_thousand_small_files_are_synchronised_in_one_pass(tmp_path: Path) -> None:
    folder, encoder, target = tmp_path / "files", Counting(), tmp_path / "index"
    for number in range(10_000):
        write(folder / f"{number // 100}" / f"{number}.md", f"# Note {number}\n\nWords of note {number}.\n")
    age(folder)
    build(folder, target, encoder)
    assert len(encoder.texts) == 10_000
    write(folder / "0" / "0.md", "# Note 0\n\nOther words.\n")
    encoder.texts.clear()
    report = sync(folder, target, encoder)
    assert (report.changed, report.unchanged, len(encoder.texts)) == (1, 9_999, 1)
