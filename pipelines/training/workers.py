"""Worker processes for streamed data: one reads the rows, the others make batches of them, in the order of one process.

Several readers could keep neither the order nor, for a source that is not divided into shards, each row once.
"""

import os
import pickle
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset, IterableDataset

from indexing.errors import InputError
from indexing.plurals import counted

_CHECKED_EVERY = 1.0  # seconds


@dataclass(frozen=True, slots=True)
class Workers:
    """Number of worker processes, and the batches that each of them prepares ahead (2 by default)."""

    count: int
    ahead: int | None = None

    @property
    def options(self) -> dict[str, Any]:
        """Options of a loader with worker processes."""
        return {
            "collate_fn": _unchanged,
            "prefetch_factor": self.ahead or 2,
            "worker_init_fn": _Start(os.getpid()),
            # A started interpreter would have to load the model again, and needs a main module that can be imported.
            "multiprocessing_context": "fork" if sys.platform == "linux" else None,
        }


def in_workers(blocks: Callable[[], Iterator[Any]], batch: Callable[[Any], Any], workers: Workers) -> Iterator[Any]:
    """Yield ``map(batch, blocks())``, computed in worker processes, which end with this iterator.

    A single worker does both. Of several, the first iterates over the blocks, and the others share the calls of
    `batch`. An exception is raised here, where the result of its block would be.

    Raises
    ------
    InputError
        If a worker was killed, for example because memory ran out.
    """
    options = workers.options
    loader: DataLoader
    if workers.count == 1:
        loader = DataLoader(_Results(lambda: map(batch, blocks())), batch_size=None, num_workers=1, **options)
    else:
        reading = DataLoader(_Results(blocks), batch_size=None, num_workers=1, **options)
        # The workers get whole blocks where a sampler has row numbers.
        loader = DataLoader(_Batches(batch), batch_sampler=reading, num_workers=workers.count - 1, **options)
    with _single_threaded_tokenizers():
        results = iter(loader)
    try:
        while True:
            try:
                result = next(results)
            except StopIteration:
                return
            except RuntimeError as error:
                if "DataLoader worker" not in str(error):
                    raise
                raise InputError(
                    f"a stream of training data is read by {counted(workers.count, 'worker')}, and one has ended, "
                    "killed or out of memory: use fewer (dataloader_num_workers)"
                ) from error
            if isinstance(result, _Failure):
                raise result.error
            yield result
    finally:
        del results  # ends the workers


class _Failure:
    """An exception of a worker, which the training process raises instead of a result."""

    def __init__(self, error: Exception) -> None:
        try:
            pickle.loads(pickle.dumps(error))
        except Exception:  # whatever the class of another package raises
            error = RuntimeError(f"{type(error).__name__}: {error}")
        self.error = error


class _Results(IterableDataset[Any]):
    """The items of an iterator, and at last its failure, if any."""

    def __init__(self, items: Callable[[], Iterable[Any]]) -> None:
        self._items = items

    def __iter__(self) -> Iterator[Any]:
        try:
            yield from self._items()
        except Exception as error:  # raised in the training process
            yield _Failure(error)


class _Batches(Dataset[Any]):
    """Computes a batch of each block that it is asked for."""

    def __init__(self, batch: Callable[[Any], Any]) -> None:
        self._batch = batch

    def __getitems__(self, block: Any) -> Any:
        if isinstance(block, _Failure):
            return block
        try:
            return self._batch(block)
        except Exception as error:  # raised in the training process
            return _Failure(error)


@dataclass(frozen=True, slots=True)
class _Start:
    """Starts a worker of the training process `parent`: it ends with it, leaves Ctrl-C to it, and reads as it would."""

    parent: int

    def __call__(self, worker: int) -> None:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        # By it `datasets` would read its share of the shards, in another order; only one worker reads.
        torch.utils.data._utils.worker._worker_info = None
        # torch's own check ends no worker that waits for a full pipe or for its source.
        threading.Thread(target=self._watch, daemon=True).start()

    def _watch(self) -> None:
        while os.getppid() == self.parent:
            time.sleep(_CHECKED_EVERY)
        os._exit(1)


def _unchanged(result: Any) -> Any:
    return result


@contextmanager
def _single_threaded_tokenizers() -> Iterator[None]:
    """Start processes whose tokenizers use one thread: those of a forked process would wait for threads it lacks."""
    name = "TOKENIZERS_PARALLELISM"
    before = os.environ.get(name)
    os.environ[name] = "false"
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before
