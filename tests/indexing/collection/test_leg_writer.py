"""When a leg is committed: not too often for what a commit costs."""

import numpy as np
import pytest

from indexing.collection import leg_writer
from indexing.collection.leg_writer import COMMIT_SHARE, LegWriter
from indexing.collection.manifest import Leg
from indexing.collection.store import DocumentStore
from indexing.documents import Document
from indexing.indexes.base import NO_LOOKUPS
from indexing.indexes.faiss.index import FaissIndex
from indexing.indexes.lucene.bm25 import Bm25Index

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


def test_a_leg_that_catches_up_names_the_last_write_that_it_holds(tmp_path):
    """Deletes after the last document are applied too: a commit with that document's number would lack alive ones."""
    with DocumentStore.create(tmp_path / "documents.sqlite") as store:
        store.upsert([Document("a", "fox"), Document("b", "fox")])
        store.upsert([Document("c", "fox")])
        store.delete(["a"])
        leg = Leg("bm25", folder="bm25")
        writer = LegWriter.create(tmp_path, "bm25", leg, None, fields={}, commit_seconds=0, lookups=NO_LOOKUPS)
        writer.catch_up(store, show_progress=False)
        with Bm25Index.open(tmp_path / "legs" / "bm25", read_only=True) as reader:
            assert reader.sequence == store.sequence == 3
            assert sorted(reader.search(["fox"], 5)[0].doc_ids) == ["b", "c"]
        writer.close()


def test_every_state_of_a_leg_that_catches_up_has_a_document_or_what_replaced_it(tmp_path, monkeypatch, clock):
    """An update writes the new documents, then deletes the old ones: a state without either never was."""
    states = []
    commit = LegWriter._commit

    def recorded(self, sequence):
        commit(self, sequence)
        with Bm25Index.open(tmp_path / "legs" / "bm25", read_only=True) as reader:
            states.append((sequence, sorted(reader.search(["fox"], 5)[0].doc_ids)))

    with DocumentStore.create(tmp_path / "documents.sqlite") as store:
        store.upsert([Document("old", "fox"), Document("gone", "fox"), Document("again", "fox")])
        leg = Leg("bm25", folder="bm25")
        writer = LegWriter.create(tmp_path, "bm25", leg, None, fields={}, commit_seconds=0, lookups=NO_LOOKUPS)
        writer.catch_up(store, show_progress=False)
        store.delete(["gone", "again"])
        store.upsert([Document(f"d{number}", "other") for number in range(1000)])
        store.upsert([Document("new", "fox"), Document("again", "fox")])
        store.delete(["old"])
        monkeypatch.setattr(LegWriter, "_commit", recorded)
        writer.catch_up(store, show_progress=False)
        writer.close()
    assert states == [(3, ["again", "old"]), (5, ["again", "new"])]
