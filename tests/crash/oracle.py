"""How far the writes of `two_processes.py` surely have come, and the answers that a reader may give now."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from crash.truth import Generation, State, matches, scores

from indexing.collection.snapshot import Snapshot
from indexing.documents import Document
from pipelines.search.results import SearchResults

APPROXIMATE = 0.5
"""Largest difference of a score after scalar quantization, which is trained on eight vectors and clips later ones."""


@dataclass
class Pin:
    """The state that a reader has opened."""

    generation: Generation
    sequence: int
    legs: dict[str, int]
    config: Mapping[str, Any] | None = None

    @property
    def documents(self) -> State:
        return self.generation.at(self.sequence)


class Oracle:
    """The states that the writes lead to, predicted one by one."""

    def __init__(self, legs: Sequence[str]) -> None:
        self.legs = list(legs)
        self.generations: list[Generation] = []
        self.floor = 0
        """The last write that surely is durable, in the last generation that surely is in place."""
        self.committed = 0
        """The last write that every leg surely has committed."""
        self.certain = 0
        """Number of the last generation that surely is in place."""
        self.dirty = False
        self.always_exact = True
        """No leg was quantized yet: an older state, which a reader may hold, may have been."""
        self.in_flight: str | None = None

    @property
    def last(self) -> State:
        return self.generations[-1].last

    # Writes.

    def predict(self, state: dict[str, Document]) -> None:
        """Take note that the next write leads to this state."""
        self.generations[-1].states.append(state)
        self.dirty = True

    def settle(self, commits: bool) -> None:
        """Take note that everything predicted has happened."""
        last = self.generations[-1]
        self.certain, self.floor = last.number, last.last_sequence
        last.configs = last.configs[-1:]
        if commits:
            self.committed, self.dirty = self.floor, False

    def cut(self, pin: Pin, config: Mapping[str, Any]) -> None:
        """Take note of the state and the configuration that a kill has left; what was predicted beyond is forgotten."""
        self.in_flight = None
        del self.generations[pin.generation.number + 1 :]
        last = self.generations[-1]
        assert last is pin.generation
        assert last.base is not None
        del last.states[pin.sequence - last.base + 1 :]
        assert config in last.configs, (config, last.configs)
        last.configs = [config]
        if last.number > self.certain:
            self.committed = last.base
        self.certain, self.floor, self.dirty = last.number, pin.sequence, True

    # The states that a reader may see.

    def pin_of(self, snapshot: Snapshot, floor: int | None = None) -> Pin:
        """Find the state that a snapshot is of, and check that a reader may see it now."""
        floor = self.floor if floor is None else floor
        documents = list(snapshot.documents)
        by_id = {d.doc_id: d for d in documents}
        assert len(by_id) == len(documents)
        number = max(d.metadata["generation"] for d in documents)
        assert self.certain <= number < len(self.generations), (number, self.certain)
        generation, sequence = self.generations[number], snapshot.documents.sequence
        if generation.base is None:
            assert by_id == generation.last
            generation.base = sequence
        if number == self.certain:
            assert sequence >= floor, (sequence, floor)
        assert by_id == generation.at(sequence), _difference(by_id, generation.at(sequence))
        pin = Pin(generation, sequence, {})
        for name in snapshot.indexes:
            self.pin_leg(pin, snapshot, name)
        return pin

    def pin_leg(self, pin: Pin, snapshot: Snapshot, name: str) -> None:
        pin.legs[name] = snapshot.index(name).sequence
        assert pin.legs[name] <= pin.sequence, f"the leg {name} is of write {pin.legs[name]}, texts of {pin.sequence}"
        if pin.generation.number == self.certain:
            assert pin.legs[name] >= self.committed, (name, pin.legs[name], self.committed)
        pin.generation.at(pin.legs[name])

    def current(self, pin: Pin) -> bool:
        return pin.generation is self.generations[-1] and pin.sequence == self.floor

    # Answers.

    def findable(self, name: str, query: str, filter: Mapping[str, Any] | None, pin: Pin) -> dict[str, float]:
        """Return the true score of everything that a leg may find."""
        indexed = pin.generation.at(pin.legs[name])
        found = scores(name, indexed.values(), query)
        if filter is None:
            return found
        # Lucene and Qdrant filter by what they store; the others ask the documents.
        stored = name in ("bm25", "sparse", "edge")
        state = indexed if stored else pin.documents
        return {doc_id: score for doc_id, score in found.items() if doc_id in state and matches(state[doc_id], filter)}

    def check_scores(self, name: str, found: Mapping[str, float], true: Mapping[str, float]) -> None:
        strange = set(found) - set(true)
        assert not strange, f"{name} found {strange}, which it must not"
        if name == "bm25":
            assert all(score > 0 for score in found.values())
            return
        tolerance = {"tokens": 0.05, "dense": APPROXIMATE, "edge": 1e-4, "sparse": 1e-3}[name]
        if name == "dense" and self.always_exact:
            tolerance = 1e-5
        for doc_id, score in found.items():
            assert abs(score - true[doc_id]) <= tolerance * max(1, abs(true[doc_id])), (name, doc_id, score, true)

    def check_ranking(
        self, name: str, ranking: Sequence[Any], query: str, k: int, filter: Mapping[str, Any] | None, pin: Pin
    ) -> None:
        true = self.findable(name, query, filter, pin)
        found = {hit.doc_id: hit.score for hit in ranking}
        assert len(found) == len(ranking) == min(k, len(true)), (name, sorted(found), sorted(true))
        self.check_scores(name, found, true)
        ordered = [hit.score for hit in ranking]
        assert ordered == sorted(ordered, reverse=True)
        if name != "bm25":
            best = sorted(true.values(), reverse=True)[: len(found)]
            np.testing.assert_allclose(ordered, best, rtol=0.05, atol=0.05 if self.always_exact else APPROXIMATE)

    def check(self, results: SearchResults, query: str, k: int, filter: Mapping[str, Any] | None, pin: Pin) -> None:
        """Compare fused results with everything that their legs may find."""
        assert not results.failures, results.failures
        legs = list((pin.config or {}).get("legs", self.legs))
        true = {name: self.findable(name, query, filter, pin) for name in legs}
        union = set().union(*true.values())
        ids = [hit.doc_id for hit in results]
        missed = {name: sorted(set(found) - set(ids)) for name, found in true.items()}
        assert len(set(ids)) == len(ids) == min(k, len(union)), (ids, missed, pin.sequence, pin.legs, pin.config)
        strange = {hit.doc_id: sorted(hit.legs) for hit in results if hit.doc_id not in union}
        assert not strange, (strange, pin.sequence, pin.legs, true)
        assert [hit.rank for hit in results] == list(range(1, len(ids) + 1))
        given = [hit.score for hit in results]
        assert given == sorted(given, reverse=True)
        for hit in results:
            shown = pin.generation.buried(hit.doc_id, pin.sequence)
            assert (hit.title, hit.text, hit.metadata) == (shown.title, shown.text, shown.metadata), (
                f"{hit} is not {shown}: texts of write {pin.sequence}, legs of {pin.legs}, cached: {results.cached}"
            )
        for name in legs:
            found = {hit.doc_id: hit.legs[name].score for hit in results if name in hit.legs}
            self.check_scores(name, found, true[name])
            if (pin.config or {}).get("depth", 100) == 100 and k == 100:
                assert found.keys() == true[name].keys(), (name, sorted(found), sorted(true[name]))


def _difference(found: State, true: State) -> str:
    return ", ".join(sorted(i for i in {*found, *true} if found.get(i) != true.get(i)))
