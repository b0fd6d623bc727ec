"""Build an index batch by batch, in a folder where a later run goes on, within a limit of time."""

import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from indexing.disk import write_json
from indexing.errors import InputError
from indexing.indexes.base import Index

STATE = "build.json"
"""File with the processor seconds of the build so far, beside the index."""


@dataclass(frozen=True, slots=True)
class Place:
    """Folder of the indexes of a benchmark.

    Parameters
    ----------
    folder
        Kept, and continued by the next run; None for folders that are removed after each index.
    until
        Time of `time.monotonic` after which no further batch is stored.
    """

    folder: Path | None = None
    until: float = float("inf")

    @contextmanager
    def index(self, name: str, make: Callable[[Path], Index], reopen: Callable[[Path], Index]) -> Iterator[Index]:
        """Open the index of this name, or make it."""
        if self.folder is None:
            with tempfile.TemporaryDirectory() as folder, make(Path(folder) / "index") as index:
                yield index
            return
        path = self.folder / name / "index"
        path.parent.mkdir(parents=True, exist_ok=True)
        with reopen(path) if path.is_dir() else make(path) as index:
            yield index

    def build(self, index: Index, rows: Iterator[Any], batch: int, documents: int) -> float:
        """Store the batches that an index lacks, optimise it, and return the processor seconds of all of it.

        The number of batches is the sequence of a commit; one more is recorded when the index is finished.

        Raises
        ------
        InputError
            When the time is over; the same command goes on.
        """
        batches = -(-documents // batch)
        seconds = self._seconds(index)
        for number, part in enumerate(islice(rows, min(index.sequence, batches), None), start=index.sequence):
            if time.monotonic() > self.until:
                raise InputError(
                    f"the time is over: {index.path.parent} holds {number * batch:,} of {documents:,} documents; the "
                    "same command goes on (or --minutes more)"
                )
            count = part.shape[0] if hasattr(part, "shape") else len(part)
            first, start = number * batch, time.process_time()
            index.upsert([f"d{at}" for at in range(first, first + count)], part, [{}] * count)
            if self.folder is not None:
                index.commit(number + 1)
            seconds += time.process_time() - start
            self._record(index, seconds, f"{first + count:,} of {documents:,} documents")
        if index.sequence <= batches:
            start = time.process_time()
            index.finish_indexing()
            index.optimize()
            index.commit(batches + 1)
            seconds += time.process_time() - start
            self._record(index, seconds, "optimised")
        return seconds

    def _seconds(self, index: Index) -> float:
        state = index.path.parent / STATE
        if self.folder is None or not state.is_file():
            return 0.0
        return float(json.loads(state.read_text("utf-8"))["seconds"])

    def _record(self, index: Index, seconds: float, what: str) -> None:
        if self.folder is not None:
            write_json(index.path.parent / STATE, {"seconds": seconds})
            print(f"{index.path.parent.name}: {what}, {seconds:.0f} processor s", file=sys.stderr, flush=True)
