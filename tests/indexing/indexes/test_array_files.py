"""Files of the indexes that map theirs into memory: a full disk, and numbers that are never used again."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy.sparse import csr_matrix

from indexing.indexes.faiss.index import FaissIndex
from indexing.indexes.postings.index import PostingsIndex
from indexing.indexes.tokens.index import TokenIndex
from indexing.token_vectors import TokenVectors

ROOT = Path(__file__).parents[3]
DIMENSION = 8
KINDS = [PostingsIndex, TokenIndex, FaissIndex]
NAMESPACE = ["unshare", "--map-root-user", "--mount"]
FILL = """
import shutil, sys
sys.path[:0] = [sys.argv[2]]
from test_array_files import KINDS, rows
from indexing.errors import StorageError
for kind in KINDS:
    path, held = f"{sys.argv[1]}/{kind.kind}", 0
    index = kind.create(path, 8)
    try:
        while held < 100_000:
            index.upsert([f"d{number}" for number in range(held, held + 1000)], rows(kind, 1000))
            index.commit()
            held += 1000
    except StorageError as error:
        with kind.open(path, read_only=True) as index:
            print(kind.kind, held == len(index) > 0, error)
    shutil.rmtree(path)
"""


def rows(kind, count):
    vectors = np.random.default_rng(0).random((count, DIMENSION), np.float32)
    if kind is PostingsIndex:
        return csr_matrix(vectors)
    return vectors if kind is FaissIndex else TokenVectors(np.arange(count + 1), vectors)


@pytest.mark.parametrize("kind", KINDS)
def test_the_number_of_a_file_is_never_used_again(tmp_path, kind):
    """A reader, a copy and the manifest know a file by its name: another content gets another name."""
    named = []
    for change in ("upsert", "delete", "upsert"):
        with kind.create(tmp_path / "i", DIMENSION) if not named else kind.open(tmp_path / "i") as index:
            index.upsert(["a"], rows(kind, 1)) if change == "upsert" else index.delete(["a"])
        named.append({file.name for file in index.files()})
    assert named[0] & named[2] == {"settings.json"} and len(named[2]) > 2


@pytest.mark.skipif(
    not shutil.which("unshare") or subprocess.run([*NAMESPACE, "true"], capture_output=True, check=False).returncode,
    reason="a small disk needs a mount namespace",
)
def test_a_full_disk_is_an_error_and_leaves_the_last_commit(tmp_path):
    """A segment that is written through a mapping ends the process by SIGBUS there."""
    script = f'mount -t tmpfs -o size=1m none "{tmp_path}" && exec "$@"'
    run = [*NAMESPACE, "sh", "-c", script, "sh", sys.executable, "-c", FILL, str(tmp_path), str(Path(__file__).parent)]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(run, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert [line.split()[:2] for line in lines] == [[kind.kind, "True"] for kind in KINDS]
    assert all("No space left on device" in line and "free some disk space" in line for line in lines)
