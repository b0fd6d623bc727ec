"""One process writes a collection and is killed now and then; another reads it and compares answers with the truth.

    python tests/crash/two_processes.py --seeds 50 --steps 2000

Each step is drawn by a seed: upsert, delete, update metadata, commit, compact, reindex, update, overwrite, change
``search.yaml``, verify, kill; search, get, list, filter, refresh, open again. Many reading steps run while the other
process is in the midst of a command. A reader must answer as the one state that it opened, whatever happens meanwhile,
and move forward only when it refreshes. The truth is in plain dictionaries (`truth.py`).
"""

import argparse
import multiprocessing
import random
import shutil
import sys
import tempfile
import time
import traceback
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

sys.path[:0] = [str(Path(__file__).resolve().parents[2]), str(Path(__file__).resolve().parents[1])]

from crash import writing
from crash.cheap import WORDS
from crash.truth import Generation, State, matches, scores

from indexing.collection.reader import Collection
from indexing.collection.snapshot import Snapshot
from indexing.collection.verify import verify
from indexing.documents import Document
from indexing.errors import InputError, StorageError
from pipelines import SearchPipeline
from pipelines.search.refine import Refine
from pipelines.search.results import SearchResults

COLORS = ["red", "green", "blue"]
MOST_DOCUMENTS = 24
VOCABULARY = WORDS[:60]
APPROXIMATE = 0.5
"""Largest difference of a score after scalar quantization, which is trained on eight vectors and clips later ones."""
FUSIONS: list[Mapping[str, Any] | None] = [
    None,
    {"method": "rrf"},
    {"method": "weighted-sum", "weights": {}},
    {"method": "comb-mnz"},
]
CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["crash.writing"])


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


@dataclass
class Reader:
    """An open reader; a pipeline if it searches several legs."""

    opened: Any
    pin: Pin
    follows: bool = False

    @property
    def collection(self) -> Collection:
        return self.opened if isinstance(self.opened, Collection) else self.opened.collection


class TwoProcesses:
    """One run, with the seed of all that is drawn."""

    def __init__(self, folder: Path, seed: int, *, legs: Sequence[str] = ("bm25", "dense")) -> None:
        self.rng = random.Random(seed)
        self.path, self.legs = folder / "c", list(legs)
        self.embedded = "edge" in legs
        self.commit_seconds = self.rng.choice([0.0, 30.0])
        self.encoders = {"dense": writing.ENCODERS["dense"]}
        self.encoders |= {"sparse": writing.ENCODERS["sparse"]} if "sparse" in legs else {}
        self.encoders |= {"multi_vector": writing.ENCODERS["tokens"]} if "tokens" in legs else {}
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
        self.process: Any = None
        self.connection: Any = None
        self.readers: list[Reader] = []
        self.seconds: dict[str, float] = {}
        self.done: Counter[str] = Counter()
        self.log: deque[str] = deque(maxlen=40)
        self.holding = False

    # The process that writes.

    def send(self, command: str, arguments: Mapping[str, Any]) -> None:
        if self.process is None:
            self.connection, other = CONTEXT.Pipe()
            self.process = CONTEXT.Process(
                target=writing.serve, args=(other, self.path, self.legs, self.commit_seconds), daemon=True
            )
            self.process.start()
            other.close()
        self.connection.send((command, arguments))

    def write(self, command: str, *, commits: bool = False, **arguments: Any) -> None:
        """Run a command; read or kill meanwhile, now and then."""
        self.log.append(f"{command} {_short(arguments)}")
        self.done[command] += 1
        if self.embedded:
            self.close_readers()
        exists = self.generations[0].base is not None
        killing = exists and self.rng.random() < 0.03
        self.in_flight = command
        self.send(command, arguments)
        start = time.monotonic()
        if killing:
            time.sleep(self.rng.random() * self.seconds.get(command, 0.05))
            self.kill()
            return
        while exists and not self.embedded and not self.connection.poll(0) and self.rng.random() < 0.8:
            self.read()
        problem = self.connection.recv()
        self.in_flight = None
        self.seconds[command] = 0.5 * self.seconds.get(command, 0.0) + 0.5 * (time.monotonic() - start)
        assert problem is None, f"the writer failed in {command}:\n{problem}"
        self.settle(commits)

    def settle(self, commits: bool) -> None:
        """Take note that everything predicted has happened."""
        last = self.generations[-1]
        if last.base is None:
            with Collection.open(self.path) as collection:
                self.pin_of(collection.snapshot)
        self.certain, self.floor = last.number, last.last_sequence
        last.configs = last.configs[-1:]
        if commits:
            self.committed, self.dirty = self.floor, False

    def kill(self) -> None:
        """End the writing process at once, and find out what it has left."""
        self.done["kill"] += 1
        self.process.kill()
        self.process.join()
        self.connection.close()
        self.process, self.holding = None, False
        with Collection.open(self.path) as collection:
            pin = self.pin_of(collection.snapshot)
        self.log.append(f"killed in {self.in_flight}: generation {pin.generation.number}, write {pin.sequence}")
        self.in_flight = None
        del self.generations[pin.generation.number + 1 :]
        last = self.generations[-1]
        assert last is pin.generation
        assert last.base is not None
        del last.states[pin.sequence - last.base + 1 :]
        config = writing_config(self.path)
        assert config in last.configs, (config, last.configs)
        last.configs = [config]
        if last.number > self.certain:
            self.committed = last.base
        self.certain, self.floor, self.dirty = last.number, pin.sequence, True
        for problem in verify(self.path):
            assert problem.harmless, problem

    # What is written.

    def document(self, doc_id: str) -> Document:
        words = " ".join(self.rng.choices(VOCABULARY, k=self.rng.randint(3, 8)))
        title = self.rng.choice(["", self.rng.choice(VOCABULARY)])
        return Document(doc_id, words, title, self.metadata())

    def metadata(self) -> dict[str, Any]:
        number = self.generations[-1].number if self.generations else 0
        return {"color": self.rng.choice(COLORS), "year": self.rng.randint(2000, 2005), "generation": number}

    def some_ids(self, most: int = 5) -> list[str]:
        known = list(self.generations[-1].last)
        fresh = [f"d{self.rng.randrange(MOST_DOCUMENTS)}" for _ in range(2)]
        return sorted(set(self.rng.sample(known, min(len(known), self.rng.randint(1, most))) + fresh) - {"d0"})

    def filter(self) -> dict[str, Any]:
        low = self.rng.randint(2000, 2004)
        return self.rng.choice(
            [
                {"color": self.rng.choice(COLORS)},
                {"color": self.rng.sample(COLORS, 2)},
                {"year": {"gte": low, "lt": low + 2}},
                {"color": "red", "year": low},
                {"not": {"color": "blue"}},
                {"or": [{"color": "green"}, {"year": low}]},
            ]
        )

    def predict(self, state: dict[str, Document]) -> None:
        """Take note that the next write leads to this state."""
        self.generations[-1].states.append(state)
        self.dirty = True

    def do_build(self) -> None:
        number = len(self.generations)
        ids = ["d0", *(f"d{at}" for at in range(1, self.rng.randint(2, MOST_DOCUMENTS)))]
        documents = [self.document(doc_id) for doc_id in ids]
        documents = [replace(d, metadata={**d.metadata, "generation": number}) for d in documents]
        self.generations.append(Generation(number, [{d.doc_id: d for d in documents}]))
        self.write("build", commits=True, documents=documents)

    def do_upsert(self) -> None:
        documents = [self.document(doc_id) for doc_id in self.some_ids()]
        if documents:
            self.predict({**self.generations[-1].last, **{d.doc_id: d for d in documents}})
            self.write("upsert", documents=documents)

    def do_delete(self) -> None:
        ids = [*self.some_ids(), "never"]
        last = self.generations[-1].last
        if set(ids) & set(last):
            self.predict({doc_id: d for doc_id, d in last.items() if doc_id not in ids})
        self.write("delete", ids=ids)

    def do_delete_matching(self) -> None:
        filter = {"year": self.rng.randint(2000, 2005), "color": self.rng.choice(COLORS)}
        last = self.generations[-1].last
        if matches(last["d0"], filter):
            return
        kept = {doc_id: d for doc_id, d in last.items() if not matches(d, filter)}
        if len(kept) < len(last):
            self.predict(kept)
        self.write("delete_matching", filter=filter)

    def do_metadata(self) -> None:
        last = self.generations[-1].last
        chosen = self.rng.sample(sorted(last), self.rng.randint(1, len(last)))
        changed = [replace(last[doc_id], metadata=self.metadata()) for doc_id in chosen]
        self.update_with(changed, remove=False)

    def do_update(self) -> None:
        last = self.generations[-1].last
        kept = [d for d in last.values() if d.doc_id == "d0" or self.rng.random() < 0.8]
        ids = set(self.some_ids())
        documents = [d for d in kept if d.doc_id not in ids] + [self.document(doc_id) for doc_id in sorted(ids)]
        self.update_with(documents, remove=self.rng.random() < 0.5)

    def update_with(self, documents: list[Document], remove: bool) -> None:
        last = self.generations[-1].last
        changed = {d.doc_id: d for d in documents if last.get(d.doc_id) != d}
        if changed:
            self.predict({**last, **changed})
            last = self.generations[-1].last
        given = {d.doc_id for d in documents}
        if remove and set(last) - given:
            self.predict({doc_id: d for doc_id, d in last.items() if doc_id in given})
        self.write("update", commits=True, documents=documents, remove=remove)

    def do_commit(self) -> None:
        self.write("commit", commits=True)

    def do_close(self) -> None:
        self.write(self.rng.choice(["close", "close", "abandon"]))
        # A close without a writer commits nothing.

    def do_compact(self) -> None:
        self.write("compact", commits=True)

    def do_reindex(self) -> None:
        name = self.rng.choice(self.legs)
        choices: list[dict[str, Any]] = [{}]
        if name == "dense":
            choices = [{"kind": "flat"}, {"kind": "hnsw"}, {"kind": "sq", "training_sample": 8}, {"kind": "ivf"}]
        elif name == "bm25":
            choices = [{"k1": 0.9}, {"k1": 1.2, "b": 0.75}]
        parameters = self.rng.choice(choices)
        self.always_exact &= parameters.get("kind") != "sq"
        self.write("reindex", commits=True, name=name, **parameters)

    def do_configure(self) -> None:
        generation = self.generations[-1]
        legs = self.rng.sample(self.legs, self.rng.randint(1, len(self.legs)))
        fusion = self.rng.choice(FUSIONS)
        if fusion is not None and "weights" in fusion:
            fusion = {**fusion, "weights": {name: self.rng.choice([0.3, 1.0]) for name in legs}}
        changes = {"legs": legs, "fusion": fusion, "depth": self.rng.choice([5, 100]), "cache": self.rng.choice([0, 9])}
        generation.configs.append({**generation.configs[-1], **changes})
        self.write("configure", changes=changes)

    def do_verify(self) -> None:
        """A collection that nobody writes to is found sound, or has what only the next writer puts right."""
        self.write("close")
        if self.process is None:
            return
        self.log.append("verify")
        self.done["verify"] += 1
        for problem in verify(self.path):
            assert problem.harmless and (self.dirty or problem.what == "leftover"), problem

    # Readers.

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

    def open_reader(self) -> Reader:
        kind = self.rng.choice(["pipeline", "pipeline", "follows", "collection"])
        self.log.append(f"open {kind}")
        if kind == "collection":
            collection = Collection.open(self.path)
            if self.rng.random() < 0.5:
                collection.index(self.rng.choice(self.legs))
            assert len(collection) == len(list(collection.documents))
            return Reader(collection, self.pin_of(collection.snapshot))
        follows = kind == "follows"
        pipeline = SearchPipeline.open(self.path, **self.encoders, refresh=0 if follows else None)
        reader = Reader(pipeline, self.pin_of(pipeline.collection.snapshot), follows)
        self.pin_config(reader)
        return reader

    def pin_config(self, reader: Reader) -> None:
        """Note the configuration of an opened pipeline, which must be one that its state could have."""
        read = reader.opened._parts.config
        known = [{k: v for k, v in config.items() if v is not None} for config in reader.pin.generation.configs]
        fitting = [
            config
            for config in known
            if list(read.legs) == list(config.get("legs", self.legs))
            and read.fusion == config.get("fusion")
            and read.depth == config.get("depth", 100)
            and read.cache == config.get("cache", 0)
        ]
        assert fitting, f"{read} is none of {known}"
        reader.pin.config = fitting[-1]

    def close_readers(self) -> None:
        for reader in self.readers:
            reader.opened.close()
        self.readers.clear()

    def read(self) -> None:
        """Take one reading step with one of the readers."""
        most = 1 if self.embedded else 3
        if len(self.readers) < most and (not self.readers or self.rng.random() < 0.1):
            self.readers.append(self.open_reader())
        reader = self.rng.choice(self.readers)
        names = ["get", "matching", "list", "search", "refresh", "close"]
        weights = [10, 6, 4, 60, 8, 2]
        name = self.rng.choices(names, weights)[0]
        self.done[name] += 1
        if name == "close":
            self.log.append("close a reader")
            self.readers.remove(reader)
            reader.opened.close()
        elif name == "refresh":
            self.refresh(reader)
        elif name == "search":
            self.search(reader)
        else:
            self.read_documents(reader, name)

    def refresh(self, reader: Reader) -> None:
        self.log.append(f"refresh {_kind(reader)}")
        before = reader.pin
        reader.opened.refresh()
        self.moved(reader, before)

    def moved(self, reader: Reader, before: Pin, *, follows: bool = False) -> None:
        """Pin a reader anew; it may only have moved forward."""
        # Who follows looks for commits, and writes that are not committed may be seen later.
        reader.pin = self.pin_of(reader.collection.snapshot, self.committed if follows else None)
        if not isinstance(reader.opened, Collection):
            self.pin_config(reader)
        assert reader.pin.generation.number >= before.generation.number
        if reader.pin.generation is before.generation:
            assert reader.pin.sequence >= before.sequence
            for name, sequence in before.legs.items():
                assert reader.pin.legs.get(name, sequence) >= sequence
        if self.in_flight is None:
            assert reader.pin.generation is self.generations[-1]
            assert reader.pin.sequence == self.floor or (follows and self.dirty)

    def read_documents(self, reader: Reader, name: str) -> None:
        collection, pin = reader.collection, reader.pin
        state = pin.documents
        if name == "get":
            ids = self.rng.sample(sorted(state), self.rng.randint(1, len(state)))
            assert collection.get(ids) == [state[doc_id] for doc_id in ids]
            gone = next((doc_id for doc_id in self.some_ids() if doc_id not in state), "never")
            try:
                collection.get([*ids, gone])
            except InputError as error:
                assert repr(gone) in str(error)
            else:
                raise AssertionError(f"{gone} is not there")
        elif name == "matching":
            filter = self.filter()
            assert sorted(collection.matching(filter)) == sorted(i for i, d in state.items() if matches(d, filter))
        else:
            assert len(collection) == len(state)
            assert {d.doc_id: d for d in collection.documents} == state

    def query(self) -> str:
        return " ".join(self.rng.choices(VOCABULARY, k=self.rng.randint(1, 4)))

    def search(self, reader: Reader) -> None:
        k, query = self.rng.choice([1, 3, 10, 100]), self.query()
        filter = self.filter() if self.rng.random() < 0.4 else None
        self.log.append(f"search {_kind(reader)} k={k} {query!r} {filter}")
        if isinstance(reader.opened, Collection):
            self.search_leg(reader, query, k, filter)
            return
        way = self.rng.choices(["search", "again", "batch", "threads", "leg", "refined"], [6, 2, 2, 1, 1, 1])[0]
        pipeline, before, older = reader.opened, reader.pin, reader.collection.snapshot
        if way == "leg" and not reader.follows:
            self.search_leg(reader, query, k, filter)
            return
        more = {"refine": Refine(pool=100)} if way == "refined" else {"explain": self.rng.random() < 0.1}
        answers: list[tuple[str, SearchResults]]
        if way == "batch":
            asked = {str(number): self.query() for number in range(3)}
            found = pipeline.batch_search(asked, k, filter=filter, **more)
            answers = [(text, found[number]) for number, text in asked.items()]
        elif way == "threads":
            texts = [query, self.query(), query, self.query()] * 2
            with ThreadPoolExecutor(8) as pool:
                futures = [pool.submit(pipeline.search, text, k, filter=filter, **more) for text in texts]
                answers = [(text, future.result()) for text, future in zip(texts, futures, strict=True)]
        else:
            answers = [(query, pipeline.search(query, k, filter=filter, **more))]
            if way == "again":
                answers.append((query, pipeline.search(query, k, filter=filter, **more)))
        if reader.follows:
            self.moved(reader, before, follows=True)
            if len(answers) > 1 and (self.in_flight is not None or reader.collection.snapshot is not older):
                return  # each of them may have seen another state
        for text, results in answers:
            self.check(results, text, k, filter, reader.pin)

    def search_leg(self, reader: Reader, query: str, k: int, filter: Mapping[str, Any] | None) -> None:
        """Search one index; it may be opened only now."""
        name, snapshot = self.rng.choice(self.legs), reader.collection.snapshot
        try:
            if isinstance(reader.opened, Collection):
                index = reader.opened.index(name)
                encoder = writing.ENCODERS.get(name)
                encoded = [query] if encoder is None else encoder.encode_query([query])
                (ranking,) = index.search(encoded, k, filter=filter)
            else:
                ranking = reader.opened.leg(name).search(query, k, filter=filter)
        except StorageError as error:
            assert name not in reader.pin.legs and ("refresh it" in str(error)), error
            assert self.in_flight or not self.current(reader.pin), "nothing has changed since it was opened"
            return
        if name not in reader.pin.legs:
            self.pin_leg(reader.pin, snapshot, name)
        self.check_ranking(name, list(ranking), query, k, filter, reader.pin)

    def current(self, pin: Pin) -> bool:
        return pin.generation is self.generations[-1] and pin.sequence == self.floor

    # Comparison.

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
        if name in ("bm25",):
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
        assert len(set(ids)) == len(ids) == min(k, len(union)), (ids, sorted(union))
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

    # All together.

    def step(self) -> None:
        """Take one step at random."""
        reading = self.rng.random() < 0.6
        if self.embedded:
            # An embedded leg is open in one process at a time.
            if reading != self.holding:
                reading = self.rng.random() < 0.15 if not self.holding else self.rng.random() < 0.85
            if reading and not self.holding:
                self.write("close")
            self.holding = reading
        if reading:
            self.read()
            return
        choices = {
            self.do_upsert: 12,
            self.do_delete: 6,
            self.do_delete_matching: 2,
            self.do_metadata: 3,
            self.do_update: 2,
            self.do_commit: 6,
            self.do_close: 3,
            self.do_compact: 1.5,
            self.do_reindex: 1.5,
            self.do_configure: 2,
            self.do_verify: 1.5,
            self.do_build: 0.5,
        }
        self.rng.choices(list(choices), list(choices.values()))[0]()

    def run(self, steps: int) -> None:
        """Build, take so many steps, and end with a sound collection."""
        number = -1
        try:
            self.do_build()
            for number in range(steps):  # noqa: B007 (the note names it)
                self.step()
            self.close_readers()
            self.do_commit()
            self.do_verify()
        except BaseException as error:
            error.add_note(f"step {number}, after:\n  " + "\n  ".join(self.log))
            raise
        finally:
            for reader in self.readers:
                reader.opened.close()
            if self.process is not None:
                self.process.kill()
                self.process.join()


def writing_config(path: Path) -> Mapping[str, Any]:
    from indexing.settings_files import read_yaml
    from pipelines.search.config import SEARCH_FILE

    return (read_yaml(path / SEARCH_FILE) or {}) if (path / SEARCH_FILE).is_file() else {}


def _kind(reader: Reader) -> str:
    return "follower" if reader.follows else type(reader.opened).__name__


def _short(arguments: Mapping[str, Any]) -> str:
    plain = {name: [d.doc_id for d in value] if name == "documents" else value for name, value in arguments.items()}
    return ", ".join(f"{name}={value}" for name, value in plain.items())


def _difference(found: State, true: State) -> str:
    return ", ".join(sorted(i for i in {*found, *true} if found.get(i) != true.get(i)))


def legs_of(seed: int) -> list[str]:
    """Return the legs of a seed's collection: words and vectors; of every fifth another one, too."""
    more = {1: ["tokens"], 2: ["sparse"], 3: ["edge"]}
    return ["bm25", "dense", *more.get(seed % 5, [])]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run seeds one after another; the first fault ends the script, unless asked to go on."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=50, help="how many (50)")
    parser.add_argument("--first", type=int, default=1, help="the first seed (1)")
    parser.add_argument("--steps", type=int, default=2000, help="of each seed (2000)")
    parser.add_argument("--folder", help="where to work (a temporary directory)")
    options = parser.parse_args(arguments)
    done: Counter[str] = Counter()
    failed = []
    for seed in range(options.first, options.first + options.seeds):
        start = time.monotonic()
        folder = Path(tempfile.mkdtemp(dir=options.folder))
        run = TwoProcesses(folder, seed, legs=legs_of(seed))
        try:
            run.run(options.steps)
        except Exception as error:
            failed.append(seed)
            print(f"seed {seed} FAILED: {error}", flush=True)
            traceback.print_exception(error)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        done += run.done
        print(f"seed {seed} {'+'.join(run.legs)}: {time.monotonic() - start:.0f} s", flush=True)
    print(", ".join(f"{name} {count:,}" for name, count in done.most_common()))
    print(f"{options.seeds} seeds of {options.steps:,} steps: {f'seeds {failed} failed' if failed else 'no fault'}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
