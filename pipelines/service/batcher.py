"""Batcher: a bounded queue whose waiting items are worked on together, in batches bounded by tokens."""

import asyncio
import math
import random
import threading
import time
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from indexing.errors import InputError
from pipelines.service.errors import ServiceError, unavailable
from pipelines.service.metrics import Metrics

T = TypeVar("T")
R = TypeVar("R")

MAX_RETRY_AFTER = 30


@dataclass(slots=True, eq=False)
class _Entry(Generic[T, R]):
    key: Hashable
    item: T
    cost: int
    deadline: float
    owner: str
    future: "asyncio.Future[R]"
    queued: float = field(default_factory=time.monotonic)


@dataclass(frozen=True, slots=True)
class Batch(Generic[T]):
    """Items that are worked on together.

    Parameters
    ----------
    items
        What was submitted, in order.
    deadline
        The earliest of their deadlines, in `time.monotonic`'s seconds.
    abandoned
        Set when nobody waits for any of them any longer.
    """

    items: Sequence[T]
    deadline: float
    abandoned: threading.Event


class Batcher(Generic[T, R]):
    """Runs submitted items in batches, as soon as a thread is free; items wait only while all threads are busy.

    Belongs to one event loop; only `run` is called in threads.

    Parameters
    ----------
    name
        What the work is, for metrics and messages.
    run
        Returns the result of each item of a batch; all its items were submitted with the same key.
    threads
        Batches that run at once.
    waiting
        Items that may wait.
    items, cost
        Limits of a batch; a single item may exceed the cost.
    ordered
        Work on items in the order of their arrival: an item of another key ends a batch.
    """

    def __init__(
        self,
        name: str,
        run: Callable[[Any, Batch[T]], Sequence[R]],
        *,
        threads: int,
        waiting: int,
        items: int,
        cost: int,
        metrics: Metrics,
        ordered: bool = False,
    ) -> None:
        self.ordered = ordered
        self.name, self._run, self._metrics = name, run, metrics
        self._threads, self._waiting, self._items, self._cost = threads, waiting, items, cost
        self._queue: deque[_Entry[T, R]] = deque()
        self._running: set[asyncio.Task[None]] = set()
        self._pool = ThreadPoolExecutor(max_workers=threads, thread_name_prefix=name)
        self._seconds_per_item = 0.05
        self._closed = False

    def __len__(self) -> int:
        """Return the number of items that wait."""
        return len(self._queue)

    @property
    def running(self) -> int:
        """Number of batches that run."""
        return len(self._running)

    async def submit(self, key: Hashable, item: T, *, cost: int = 1, deadline: float, owner: str = "") -> R:
        """Return the result of one item.

        Parameters
        ----------
        key
            Items with equal keys can be worked on together.
        cost
            Estimated tokens.
        deadline
            In `time.monotonic`'s seconds.
        owner
            Who asks: while others wait too, one owner cannot fill more than half of the queue.

        Raises
        ------
        ServiceError
            503 when the queue is full or closed, 429 when the owner has filled its half, 504 when the deadline passes
            first.
        """
        if self._closed:
            raise unavailable("the server is stopping", "send the request to another server, or later", 1)
        if len(self._queue) >= self._waiting:
            self._metrics.rejected.labels("queue full").inc()
            raise unavailable("too many requests are waiting", "slow down and try again", self._retry_after())
        mine = sum(waiting.owner == owner for waiting in self._queue)
        if self._waiting // 2 <= mine < len(self._queue):
            self._metrics.rejected.labels("too many of one caller").inc()
            retry = {"Retry-After": str(self._retry_after())}
            raise ServiceError(429, "too many requests of this caller are waiting", "slow down", headers=retry)
        entry: _Entry[T, R] = _Entry(key, item, cost, deadline, owner, asyncio.get_running_loop().create_future())
        self._queue.append(entry)
        self._start()
        try:
            async with asyncio.timeout(max(0.0, deadline - time.monotonic())):
                return await entry.future
        except TimeoutError:
            raise self._late() from None
        finally:
            entry.future.cancel()
            if entry in self._queue:
                self._queue.remove(entry)

    async def close(self) -> None:
        """Refuse what waits, wait for what runs, and stop the threads."""
        self._closed = True
        while self._queue:
            entry = self._queue.popleft()
            if not entry.future.done():
                entry.future.set_exception(unavailable("the server is stopping", "try again later", 1))
        await asyncio.gather(*self._running, return_exceptions=True)
        self._pool.shutdown(wait=False)

    def _start(self) -> None:
        while len(self._running) < self._threads and (entries := self._next()):
            task = asyncio.create_task(self._work(entries))
            self._running.add(task)
            task.add_done_callback(self._done)

    def _done(self, task: "asyncio.Task[None]") -> None:
        self._running.discard(task)
        self._start()

    def _next(self) -> list[_Entry[T, R]]:
        """Remove the next batch from the queue: the first item, and those like it within the limits."""
        entries: list[_Entry[T, R]] = []
        left: deque[_Entry[T, R]] = deque()
        cost, now = 0, time.monotonic()
        while self._queue:
            entry = self._queue.popleft()
            if entry.future.done():
                continue
            if entry.deadline <= now:
                entry.future.set_exception(self._late())
            elif not entries or (not (self.ordered and left) and self._fits(entry, entries, cost)):
                entries.append(entry)
                cost += entry.cost
                self._metrics.queue_seconds.labels(self.name).observe(now - entry.queued)
            else:
                left.append(entry)
        self._queue = left
        if entries:
            self._metrics.batch_size.labels(self.name).observe(len(entries))
            self._metrics.batch_tokens.labels(self.name).observe(cost)
        return entries

    def _fits(self, entry: _Entry[T, R], entries: Sequence[_Entry[T, R]], cost: int) -> bool:
        return entry.key == entries[0].key and len(entries) < self._items and cost + entry.cost <= self._cost

    async def _work(self, entries: list[_Entry[T, R]]) -> None:
        started = time.monotonic()
        batch = Batch([entry.item for entry in entries], min(entry.deadline for entry in entries), threading.Event())
        pending = len(entries)

        def gone(_: Any) -> None:
            nonlocal pending
            pending -= 1
            if not pending:
                batch.abandoned.set()

        for entry in entries:
            entry.future.add_done_callback(gone)
        try:
            results = await asyncio.get_running_loop().run_in_executor(self._pool, self._run, entries[0].key, batch)
            for entry, result in zip(entries, results, strict=True):
                if not entry.future.done():
                    entry.future.set_result(result)
        except InputError as error:
            if len(entries) == 1:
                self._fail(entries, error)
            else:
                # One item is at fault: each is worked on alone.
                for entry in entries:
                    if not entry.future.done():
                        await self._work([entry])
        except Exception as error:
            self._fail(entries, error)
        took = (time.monotonic() - started) / len(entries)
        self._seconds_per_item += 0.2 * (took - self._seconds_per_item)

    @staticmethod
    def _fail(entries: Sequence[_Entry[T, R]], error: Exception) -> None:
        for entry in entries:
            if not entry.future.done():
                entry.future.set_exception(error)

    def _late(self) -> ServiceError:
        self._metrics.rejected.labels("deadline").inc()
        return ServiceError(504, "the deadline passed before the answer was ready", "allow more time, or ask for less")

    def _retry_after(self) -> int:
        """Return the seconds until the queue will be done, with jitter so that clients do not return together."""
        expected = len(self._queue) * self._seconds_per_item / self._threads
        return max(1, min(MAX_RETRY_AFTER, math.ceil(expected * random.uniform(1, 1.5))))
