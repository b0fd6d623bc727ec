"""The process that reads in `two_processes.py`: readers of all kinds, each of whose answers an oracle checks."""

from collections import Counter, deque
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from crash import writing
from crash.draws import Draws
from crash.oracle import Pin
from crash.truth import matches

from indexing.collection.reader import Collection
from indexing.errors import InputError, LaterStateError
from pipelines import SearchPipeline
from pipelines.search.refine import Refine
from pipelines.search.results import SearchResults


@dataclass
class Reader:
    """An open reader; a pipeline if it searches several legs."""

    opened: Any
    pin: Pin
    follows: bool = False

    @property
    def collection(self) -> Collection:
        return self.opened if isinstance(self.opened, Collection) else self.opened.collection


class Reading:
    """Open readers of a collection, and the steps that they take."""

    def __init__(self, path: Path, draws: Draws, done: Counter[str], log: deque[str]) -> None:
        self.path, self.draws, self.done, self.log = path, draws, done, log
        self.rng, self.oracle = draws.rng, draws.oracle
        self.encoders = {"dense": writing.ENCODERS["dense"]}
        self.encoders |= {"sparse": writing.ENCODERS["sparse"]} if "sparse" in self.oracle.legs else {}
        self.encoders |= {"multi_vector": writing.ENCODERS["tokens"]} if "tokens" in self.oracle.legs else {}
        self.most = 1 if "edge" in self.oracle.legs else 3
        """How many readers are open at a time: an embedded leg is open only once."""
        self.readers: list[Reader] = []

    def open_reader(self) -> Reader:
        kind = self.rng.choice(["pipeline", "pipeline", "follows", "collection"])
        self.log.append(f"open {kind}")
        if kind == "collection":
            collection = Collection.open(self.path)
            if self.rng.random() < 0.5:
                collection.index(self.rng.choice(self.oracle.legs))
            assert len(collection) == len(list(collection.documents))
            return Reader(collection, self.oracle.pin_of(collection.snapshot))
        follows = kind == "follows"
        pipeline = SearchPipeline.open(self.path, **self.encoders, refresh=0 if follows else None)
        reader = Reader(pipeline, self.oracle.pin_of(pipeline.collection.snapshot), follows)
        self.pin_config(reader)
        return reader

    def pin_config(self, reader: Reader) -> None:
        """Note the configuration of an opened pipeline, which must be one that its state could have."""
        read = reader.opened._parts.config
        known = [{k: v for k, v in config.items() if v is not None} for config in reader.pin.generation.configs]
        fitting = [
            config
            for config in known
            if list(read.legs) == list(config.get("legs", self.oracle.legs))
            and read.fusion == config.get("fusion")
            and read.depth == config.get("depth", 100)
            and read.cache == config.get("cache", 0)
        ]
        assert fitting, f"{read} is none of {known}"
        reader.pin.config = fitting[-1]

    def close(self) -> None:
        for reader in self.readers:
            reader.opened.close()
        self.readers.clear()

    def step(self) -> None:
        """Take one reading step with one of the readers."""
        if len(self.readers) < self.most and (not self.readers or self.rng.random() < 0.1):
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
        reader.pin = self.oracle.pin_of(reader.collection.snapshot, self.oracle.committed if follows else None)
        if not isinstance(reader.opened, Collection):
            self.pin_config(reader)
        assert reader.pin.generation.number >= before.generation.number
        if reader.pin.generation is before.generation:
            assert reader.pin.sequence >= before.sequence
            for name, sequence in before.legs.items():
                assert reader.pin.legs.get(name, sequence) >= sequence
        if self.oracle.in_flight is None:
            assert reader.pin.generation is self.oracle.generations[-1]
            assert reader.pin.sequence == self.oracle.floor or (follows and self.oracle.dirty)

    def read_documents(self, reader: Reader, name: str) -> None:
        collection, pin = reader.collection, reader.pin
        state = pin.documents
        if name == "get":
            ids = self.rng.sample(sorted(state), self.rng.randint(1, len(state)))
            assert collection.get(ids) == [state[doc_id] for doc_id in ids]
            gone = next((doc_id for doc_id in self.draws.some_ids() if doc_id not in state), "never")
            try:
                collection.get([*ids, gone])
            except InputError as error:
                assert repr(gone) in str(error)
            else:
                raise AssertionError(f"{gone} is not there")
        elif name == "matching":
            filter = self.draws.filter()
            assert sorted(collection.matching(filter)) == sorted(i for i, d in state.items() if matches(d, filter))
        else:
            assert len(collection) == len(state)
            assert {d.doc_id: d for d in collection.documents} == state

    def search(self, reader: Reader) -> None:
        k, query = self.rng.choice([1, 3, 10, 100]), self.draws.query()
        filter = self.draws.filter() if self.rng.random() < 0.4 else None
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
            asked = {str(number): self.draws.query() for number in range(3)}
            found = pipeline.batch_search(asked, k, filter=filter, **more)
            answers = [(text, found[number]) for number, text in asked.items()]
        elif way == "threads":
            texts = [query, self.draws.query(), query, self.draws.query()] * 2
            with ThreadPoolExecutor(8) as pool:
                futures = [pool.submit(pipeline.search, text, k, filter=filter, **more) for text in texts]
                answers = [(text, future.result()) for text, future in zip(texts, futures, strict=True)]
        else:
            answers = [(query, pipeline.search(query, k, filter=filter, **more))]
            if way == "again":
                answers.append((query, pipeline.search(query, k, filter=filter, **more)))
        if reader.follows:
            self.moved(reader, before, follows=True)
            if len(answers) > 1 and (self.oracle.in_flight is not None or reader.collection.snapshot is not older):
                return  # each of them may have seen another state
        for text, results in answers:
            self.oracle.check(results, text, k, filter, reader.pin)

    def search_leg(self, reader: Reader, query: str, k: int, filter: Mapping[str, Any] | None) -> None:
        """Search one index; it may be opened only now."""
        name, snapshot = self.rng.choice(self.oracle.legs), reader.collection.snapshot
        try:
            if isinstance(reader.opened, Collection):
                index = reader.opened.index(name)
                encoder = writing.ENCODERS.get(name)
                encoded = [query] if encoder is None else encoder.encode_query([query])
                (ranking,) = index.search(encoded, k, filter=filter)
            else:
                ranking = reader.opened.leg(name).search(query, k, filter=filter)
        except LaterStateError as error:
            # A collection that somebody has read from does not move by itself.
            assert isinstance(reader.opened, Collection) and name not in reader.pin.legs, error
            assert self.oracle.in_flight or not self.oracle.current(reader.pin), (
                "nothing has changed since it was opened"
            )
            return
        if reader.collection.snapshot is not snapshot:
            # A pipeline has moved as a whole, because the leg was not open and is gone.
            assert not isinstance(reader.opened, Collection) and name not in reader.pin.legs
            self.moved(reader, reader.pin)
        elif name not in reader.pin.legs:
            self.oracle.pin_leg(reader.pin, snapshot, name)
        self.oracle.check_ranking(name, list(ranking), query, k, filter, reader.pin)


def _kind(reader: Reader) -> str:
    return "follower" if reader.follows else type(reader.opened).__name__
