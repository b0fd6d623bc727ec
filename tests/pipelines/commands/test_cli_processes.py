"""The command line in its own process: what it imports, Ctrl-C, kills, readers that go away."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

from corpus_files import write_lines


def retrieve(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pipelines.cli", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def test_help_needs_no_heavy_import():
    heavy = "torch", "transformers", "faiss", "jnius", "datasets", "scipy", "pyarrow", "numpy", "indexing.corpora"
    probe = (
        "import sys, pipelines.cli\n"
        "try: pipelines.cli.main(['--help'])\n"
        "except SystemExit: pass\n"
        f"print([name for name in {heavy} if name in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, timeout=60, check=True)
    assert done.stderr.strip() == "[]"
    assert "search" in done.stdout


def test_importing_the_packages_loads_no_engine():
    probe = (
        "import sys, indexing, retrieve, pipelines\n"
        "print([name for name in ('torch', 'transformers', 'faiss', 'jnius') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]"


def test_ctrl_c_while_indexing_ends_cleanly_and_the_same_command_goes_on(tmp_path):
    lines = [{"_id": str(number), "text": f"document {number} " + "word " * 200} for number in range(20_000)]
    file = write_lines(tmp_path / "corpus.jsonl", lines)
    command = [sys.executable, "-m", "pipelines.cli", "index", str(file), "--to", str(tmp_path / "c"), "--no-dense"]
    job = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True)
    stored = _wait_for_documents(tmp_path / ".c.building")

    os.kill(job.pid, signal.SIGINT)
    _, error = job.communicate(timeout=60)

    assert job.returncode == 130, error
    assert "Traceback" not in error
    assert error.endswith("\nstopped: the work so far is kept; run the same command again to resume\n")
    assert sorted(path.name for path in tmp_path.iterdir()) == [".c.building", "corpus.jsonl"]

    again = retrieve("index", file, "--to", tmp_path / "c", "--no-dense", "--quiet")
    assert again.returncode == 0, again.stderr
    assert int(re.search(r"20,000 documents, ([\d,]+) unchanged", again.stdout)[1].replace(",", "")) >= stored
    assert sorted(path.name for path in tmp_path.iterdir()) == ["c", "corpus.jsonl"]


def test_a_killed_build_of_another_kind_is_no_obstacle_for_the_next(tmp_path, corpus_file):
    lines = [{"_id": str(number), "text": "word " * 200} for number in range(20_000)]
    large = write_lines(tmp_path / "large.jsonl", lines)
    command = [sys.executable, "-m", "pipelines.cli", "index", str(large), "--to", str(tmp_path / "c"), "--quiet"]
    job = subprocess.Popen(command, stderr=subprocess.DEVNULL, start_new_session=True)
    _wait_for(tmp_path / ".c.building" / "manifest.json")
    job.kill()
    job.wait(timeout=30)
    assert not (tmp_path / "c").exists()

    again = retrieve("index", corpus_file, "--to", tmp_path / "c", "--no-dense")

    assert again.returncode == 0, again.stderr
    assert "3 documents" in again.stdout
    assert not (tmp_path / ".c.building").exists()


def test_a_reader_that_goes_away_is_no_error(tmp_path, corpus_file):
    retrieve("index", corpus_file, "--to", tmp_path / "c", "--no-dense")
    command = f"{sys.executable} -m pipelines.cli search {tmp_path / 'c'} flour | true"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=60, check=False)
    assert "Traceback" not in done.stderr


def _wait_for_documents(building: Path) -> int:
    """Wait until a build has stored documents; return how many."""
    from indexing.collection.store import DocumentStore

    _wait_for(building / "manifest.json")
    deadline = time.monotonic() + 60
    while True:
        with DocumentStore.open(building / "documents.sqlite") as store:
            if len(store):
                return len(store)
        assert time.monotonic() < deadline, "no document was stored"
        time.sleep(0.05)


def _wait_for(path: Path) -> None:
    deadline = time.monotonic() + 60
    while not path.exists():
        assert time.monotonic() < deadline, f"{path} never came"
        time.sleep(0.05)
