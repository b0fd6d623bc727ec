"""A deployment that is killed on its way, at one step after another, and goes on: its end equals a clean one."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from indexing.collection.manifest import Leg
from indexing.collection.reader import Collection
from indexing.collection.writer import CollectionWriter
from indexing.deployment.checking import compare_points
from indexing.deployment.reader import DeployedCollection
from indexing.documents import Document
from pipelines.deploy.job import deploy

ROOT = Path(__file__).parents[3]
COUNT = 40


def write(path: Path, bm25: bool, count: int = COUNT) -> Path:
    """Make a collection of many small writes."""
    legs = {"dense": Leg("faiss", parameters={"dimension": 4, "metric": "cosine", "kind": "flat"})}
    if bm25:
        legs["bm25"] = Leg("bm25")
    vectors = np.random.default_rng(0).standard_normal((count, 4)).astype(np.float32)
    with CollectionWriter.create(path, legs) as writer:
        for start in range(0, count, 4):
            documents = [Document(f"d{n}", f"word{n} text", "Title") for n in range(start, start + 4)]
            writer.upsert(documents, {"dense": vectors[start : start + 4]})
        writer.delete(["d1"])
    return path


def killed(collection: Path, to: Path, steps: int, engine: str = "edge") -> int:
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    code = Path(__file__).with_name("killed_deploy.py")
    command = [sys.executable, str(code), str(collection), str(to), engine, str(steps)]
    done = subprocess.run(command, env=environment)
    return done.returncode


def assert_equals_a_clean_one(collection: Path, to: Path) -> None:
    with (
        Collection.open(collection) as source,
        DeployedCollection.open(to) as there,
    ):
        assert compare_points(source.snapshot, there.engine, there.layout) == []
        assert there.layout.state == "ready" and there.layout.sequence == source.documents.sequence
    assert [entry.name for entry in to.parent.iterdir() if "there" in entry.name] == ["there"]


def test_a_killed_deployment_goes_on_where_it_was(tmp_path):
    collection = write(tmp_path / "collection", bm25=False)
    to = tmp_path / "there"
    assert killed(collection, to, 12) == -signal.SIGKILL
    assert not to.exists()
    done = deploy(collection, to, show_progress=False)
    assert done.resumed and 0 < done.sent < COUNT - 1
    assert_equals_a_clean_one(collection, to)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("engine", ["edge", "local"])
def test_twenty_kills_on_the_way_leave_nothing_behind(tmp_path, engine):
    # Each run gets farther than the one before, so twenty kills need many batches.
    collection, to = write(tmp_path / "collection", bm25=False, count=300), tmp_path / "there"
    deploy(collection, to, engine=engine, show_progress=False)
    with CollectionWriter.open(collection) as writer:
        writer.upsert([Document("d2", "changed", "")], {"dense": np.ones((1, 4), np.float32)})
    kills = 0
    for attempt in range(80):
        if killed(collection, to, 1 + attempt // 2, engine) == 0:
            break
        kills += 1
        with DeployedCollection.open(to) as there:  # always whole: the old state, or the new one
            assert len(there) == 299
    assert kills >= 20
    deploy(collection, to, engine=engine, show_progress=False)
    assert_equals_a_clean_one(collection, to)
