"""Random writes by callers of several tenants: each changes what a model of the rules says, and nothing else."""

import random
import threading

import pytest

from indexing.collection.reader import Collection
from indexing.documents import Document
from pipelines.build.job import build_collection
from pipelines.models import Models

pytest.importorskip("uvicorn")

from pipelines.service.batcher import Batch
from pipelines.service.callers import EVERYONE, Caller
from pipelines.service.errors import ServiceError
from pipelines.service.writing import CollectionWrites, Write

CALLERS = [EVERYONE, *(Caller("key", "write", tenants) for tenants in (("blue",), ("red",), ("blue", "red"), ("x",)))]
IDS = [f"d{number}" for number in range(8)]
TEAMS = ("blue", ["blue"], ["red"], ["blue", "red"], [], None)
REFUSED = "refused"


class Expected:
    """The documents' teams by id, changed as the rules of keys of tenants say."""

    def __init__(self):
        self.teams = {"seed": None}

    def of(self, doc_id):
        return listed(self.teams.get(doc_id))

    def upsert(self, documents, caller):
        new = {document.doc_id: document.metadata["team"] for document in documents}
        concerned = [*map(listed, new.values()), *(self.of(doc_id) for doc_id in new if doc_id in self.teams)]
        if not all(owned(teams, caller) for teams in concerned):
            return REFUSED
        self.teams.update(new)
        return len(new)

    def delete(self, named, caller):
        if isinstance(named, dict):
            gone = [one for one in self.teams if named["team"] in self.of(one) and owned(self.of(one), caller)]
        else:
            bound = set(caller.tenants or ())
            gone = [one for one in named if one in self.teams and (caller.tenants is None or self.of(one) & bound)]
            if not all(owned(self.of(one), caller) for one in gone):
                return REFUSED
        for doc_id in gone:
            del self.teams[doc_id]
        return len(gone)


def listed(team):
    return {team} if isinstance(team, str) else set(team or ())


def owned(teams, caller):
    return caller.tenants is None or (bool(teams) and teams <= set(caller.tenants))


def check(path, seed, batches, writes):
    """Return the outcomes of random writes after comparing each of them, and what is stored after each batch."""
    build_collection([Document("seed", "bread")], path, fields={"team": "keyword"}, show_progress=False)
    draws, expected, outcomes = random.Random(seed), Expected(), set()
    target = CollectionWrites(str(path), Models(), lambda: None, lambda: "team")
    for number in range(batches):
        kind = ("upsert", "upsert", "delete")[number % 3]
        items, wanted = [], []
        for _ in range(writes):
            caller, names = draws.choice(CALLERS), draws.sample(IDS, draws.randint(1, 2))
            if kind == "upsert":
                made = [Document(name, "bread", "", {"team": draws.choice(TEAMS)}) for name in names]
            else:
                made = draws.choice([names, {"team": draws.choice(["blue", "red"])}])
            items.append(Write(made, caller))
            wanted.append(getattr(expected, kind)(made, caller))
        found = target.apply(kind, Batch(items, float("inf"), threading.Event()))
        assert [REFUSED if isinstance(one, ServiceError) else one for one in found] == wanted
        outcomes |= {(kind, one) for one in wanted}
        with Collection.open(path) as collection:
            assert {one.doc_id: one.metadata.get("team") for one in collection.documents} == expected.teams
    return outcomes


def test_random_writes_change_what_their_callers_may_change(tmp_path):
    outcomes = check(tmp_path / "notes", seed=8, batches=6, writes=12)

    assert {("upsert", REFUSED), ("upsert", 2), ("delete", REFUSED), ("delete", 1)} <= outcomes


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2, 6))
def test_many_random_writes_change_what_their_callers_may_change(tmp_path, seed):
    check(tmp_path / "notes", seed, batches=30, writes=25)
