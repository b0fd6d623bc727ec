"""When a leg is committed: not too often for what a commit costs."""

import numpy as np
import pytest

from indexing.collection import leg_writer
from indexing.collection.leg_writer import COMMIT_SHARE, LegWriter
from indexing.collection.manifest import Leg
from indexing.documents import Document
from indexing.indexes.faiss.index import FaissIndex

ROWS = 100


class Clock:
    """Time that passes when it is told to."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now

    def perf_counter(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(leg_writer, "time", clock)
    return clock


class Costly(FaissIndex):
    """Takes time to commit that grows with what it holds, as a file written whole does."""

    clock: Clock
    commits = 0

    def commit(self, sequence=None):
        super().commit(sequence)
        self.clock.now += len(self) / ROWS / 20
        self.commits += 1


def test_commits_of_what_is_written_whole_get_rarer_as_it_grows(tmp_path, clock):
    leg = Leg("faiss", {"name": "none"}, {"dimension": 4}, folder="dense")
    index = Costly.create(tmp_path / "legs" / "dense", 4)
    index.clock = clock
    writer = LegWriter(tmp_path, "dense", leg, index, None, commit_seconds=30)
    random, spent, commits = np.random.default_rng(0), [], []
    for batch in range(2000):
        clock.now += 1  # of encoding
        documents = [Document(f"d{batch * ROWS + row}", "") for row in range(ROWS)]
        before = clock.now
        writer.upsert(documents, random.standard_normal((ROWS, 4), np.float32), batch + 1)
        spent.append(clock.now - before)
        commits.append(index.commits)

    assert sum(spent) <= 2 * COMMIT_SHARE * clock.now
    assert commits[199] > commits[1999] - commits[1799] >= 1
