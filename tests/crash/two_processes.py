"""One process writes a collection and is killed now and then; another reads it and compares answers with the truth.

    python tests/crash/two_processes.py --seeds 50 --steps 2000

Each step is drawn by a seed: upsert, delete, update metadata, commit, compact, reindex, update, overwrite, change
``search.yaml``, verify, kill; search, get, list, filter, refresh, open again. Many reading steps run while the other
process is in the midst of a command. A reader must answer as the one state that it opened, whatever happens meanwhile,
and move forward only when it refreshes. The reader's steps are in `reading.py`; an oracle (`oracle.py`) checks them
against every state that the collection was in, as plain dictionaries (`truth.py`).
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
from dataclasses import replace
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).resolve().parents[2]), str(Path(__file__).resolve().parents[1])]

from crash import writing
from crash.draws import COLORS, MOST_DOCUMENTS, Draws
from crash.oracle import Oracle
from crash.reading import Reading
from crash.truth import Generation, matches

from indexing.collection.reader import Collection
from indexing.collection.verify import verify
from indexing.documents import Document
from indexing.settings_files import read_yaml
from pipelines.search.config import SEARCH_FILE

FUSIONS: list[Mapping[str, Any] | None] = [
    None,
    {"method": "rrf"},
    {"method": "weighted-sum", "weights": {}},
    {"method": "comb-mnz"},
]
CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["crash.writing"])


class TwoProcesses:
    """One run, with the seed of all that is drawn."""

    def __init__(self, folder: Path, seed: int, *, legs: Sequence[str] = ("bm25", "dense")) -> None:
        self.rng = random.Random(seed)
        self.path, self.oracle = folder / "c", Oracle(legs)
        self.embedded = "edge" in legs
        self.commit_seconds = self.rng.choice([0.0, 30.0])
        self.process: Any = None
        self.connection: Any = None
        self.seconds: dict[str, float] = {}
        self.done: Counter[str] = Counter()
        self.log: deque[str] = deque(maxlen=40)
        self.draws = Draws(self.rng, self.oracle)
        self.reading = Reading(self.path, self.draws, self.done, self.log)
        self.holding = False

    # The process that writes.

    def send(self, command: str, arguments: Mapping[str, Any]) -> None:
        if self.process is None:
            self.connection, other = CONTEXT.Pipe()
            self.process = CONTEXT.Process(
                target=writing.serve, args=(other, self.path, self.oracle.legs, self.commit_seconds), daemon=True
            )
            self.process.start()
            other.close()
        self.connection.send((command, arguments))

    def write(self, command: str, *, commits: bool = False, **arguments: Any) -> None:
        """Run a command; read or kill meanwhile, now and then."""
        self.log.append(f"{command} {_short(arguments)}")
        self.done[command] += 1
        if self.embedded:
            self.reading.close()
        exists = self.oracle.generations[0].base is not None
        killing = exists and self.rng.random() < 0.03
        self.oracle.in_flight = command
        self.send(command, arguments)
        start = time.monotonic()
        if killing:
            time.sleep(self.rng.random() * self.seconds.get(command, 0.05))
            self.kill()
            return
        while exists and not self.embedded and not self.connection.poll(0) and self.rng.random() < 0.8:
            self.reading.step()
        problem = self.connection.recv()
        self.oracle.in_flight = None
        self.seconds[command] = 0.5 * self.seconds.get(command, 0.0) + 0.5 * (time.monotonic() - start)
        assert problem is None, f"the writer failed in {command}:\n{problem}"
        self.settle(commits)

    def settle(self, commits: bool) -> None:
        if self.oracle.generations[-1].base is None:
            with Collection.open(self.path) as collection:
                self.oracle.pin_of(collection.snapshot)
        self.oracle.settle(commits)

    def kill(self) -> None:
        """End the writing process at once, and find out what it has left."""
        self.done["kill"] += 1
        self.process.kill()
        self.process.join()
        self.connection.close()
        self.process, self.holding = None, False
        with Collection.open(self.path) as collection:
            pin = self.oracle.pin_of(collection.snapshot)
        self.log.append(f"killed in {self.oracle.in_flight}: generation {pin.generation.number}, write {pin.sequence}")
        self.oracle.cut(pin, search_config(self.path))
        for problem in verify(self.path):
            assert problem.harmless, problem

    # The commands.

    def do_build(self) -> None:
        number = len(self.oracle.generations)
        ids = ["d0", *(f"d{at}" for at in range(1, self.rng.randint(2, MOST_DOCUMENTS)))]
        documents = [self.draws.document(doc_id) for doc_id in ids]
        documents = [replace(d, metadata={**d.metadata, "generation": number}) for d in documents]
        self.oracle.generations.append(Generation(number, [{d.doc_id: d for d in documents}]))
        self.write("build", commits=True, documents=documents)

    def do_upsert(self) -> None:
        documents = [self.draws.document(doc_id) for doc_id in self.draws.some_ids()]
        if documents:
            self.oracle.predict({**self.oracle.last, **{d.doc_id: d for d in documents}})
            self.write("upsert", documents=documents)

    def do_delete(self) -> None:
        ids = [*self.draws.some_ids(), "never"]
        last = self.oracle.last
        if set(ids) & set(last):
            self.oracle.predict({doc_id: d for doc_id, d in last.items() if doc_id not in ids})
        self.write("delete", ids=ids)

    def do_delete_matching(self) -> None:
        filter = {"year": self.rng.randint(2000, 2005), "color": self.rng.choice(COLORS)}
        last = self.oracle.last
        if matches(last["d0"], filter):
            return
        kept = {doc_id: d for doc_id, d in last.items() if not matches(d, filter)}
        if len(kept) < len(last):
            self.oracle.predict(kept)
        self.write("delete_matching", filter=filter)

    def do_metadata(self) -> None:
        last = self.oracle.last
        chosen = self.rng.sample(sorted(last), self.rng.randint(1, len(last)))
        changed = [replace(last[doc_id], metadata=self.draws.metadata()) for doc_id in chosen]
        self.update_with(changed, remove=False)

    def do_update(self) -> None:
        last = self.oracle.last
        kept = [d for d in last.values() if d.doc_id == "d0" or self.rng.random() < 0.8]
        ids = set(self.draws.some_ids())
        documents = [d for d in kept if d.doc_id not in ids] + [self.draws.document(doc_id) for doc_id in sorted(ids)]
        self.update_with(documents, remove=self.rng.random() < 0.5)

    def update_with(self, documents: list[Document], remove: bool) -> None:
        last = self.oracle.last
        changed = {d.doc_id: d for d in documents if last.get(d.doc_id) != d}
        if changed:
            self.oracle.predict({**last, **changed})
            last = self.oracle.last
        given = {d.doc_id for d in documents}
        if remove and set(last) - given:
            self.oracle.predict({doc_id: d for doc_id, d in last.items() if doc_id in given})
        self.write("update", commits=True, documents=documents, remove=remove)

    def do_commit(self) -> None:
        self.write("commit", commits=True)

    def do_close(self) -> None:
        self.write(self.rng.choice(["close", "close", "abandon"]))
        # A close without a writer commits nothing.

    def do_compact(self) -> None:
        self.write("compact", commits=True)

    def do_reindex(self) -> None:
        name = self.rng.choice(self.oracle.legs)
        choices: list[dict[str, Any]] = [{}]
        if name == "dense":
            choices = [{"kind": "flat"}, {"kind": "hnsw"}, {"kind": "sq", "training_sample": 8}, {"kind": "ivf"}]
        elif name == "bm25":
            choices = [{"k1": 0.9}, {"k1": 1.2, "b": 0.75}]
        parameters = self.rng.choice(choices)
        self.oracle.always_exact &= parameters.get("kind") != "sq"
        self.write("reindex", commits=True, name=name, **parameters)

    def do_configure(self) -> None:
        generation = self.oracle.generations[-1]
        legs = self.rng.sample(self.oracle.legs, self.rng.randint(1, len(self.oracle.legs)))
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
            assert problem.harmless and (self.oracle.dirty or problem.what == "leftover"), problem

    # Readers.

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
            self.reading.step()
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
            self.reading.close()
            self.do_commit()
            self.do_verify()
        except BaseException as error:
            error.add_note(f"step {number}, after:\n  " + "\n  ".join(self.log))
            raise
        finally:
            self.reading.close()
            if self.process is not None:
                self.process.kill()
                self.process.join()


def search_config(path: Path) -> Mapping[str, Any]:
    """Return the content of ``search.yaml``, empty if there is none."""
    file = path / SEARCH_FILE
    return (read_yaml(file) or {}) if file.is_file() else {}


def _short(arguments: Mapping[str, Any]) -> str:
    plain = {name: [d.doc_id for d in value] if name == "documents" else value for name, value in arguments.items()}
    return ", ".join(f"{name}={value}" for name, value in plain.items())


def legs_of(seed: int) -> list[str]:
    """Return the legs of a seed's collection: words and vectors; of every fifth another one, too."""
    more = {1: ["tokens"], 2: ["sparse"], 3: ["edge"]}
    return ["bm25", "dense", *more.get(seed % 5, [])]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run seeds one after another, also after a fault."""
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
        print(f"seed {seed} {'+'.join(run.oracle.legs)}: {time.monotonic() - start:.0f} s", flush=True)
    print(", ".join(f"{name} {count:,}" for name, count in done.most_common()))
    print(f"{options.seeds} seeds of {options.steps:,} steps: {f'seeds {failed} failed' if failed else 'no fault'}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
