"""Parallel batches on a CPU, each in a stream with its share of the CPU's threads.

In one batch over all threads, the threads wait for each other at every layer. Two batches on one thread each took 11%
less time than the same two one after the other on two threads (all-MiniLM-L6-v2, two cores).
"""

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from itertools import islice
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")

MAX_STREAMS = 8
"""Limit of streams: each holds a batch in memory."""

SMALL_PRODUCTS = 400_000_000
"""Multiplications of a batch that one thread does alone: a query of 32 tokens through all-MiniLM-L6-v2."""


_local, _usual = threading.local(), [0]
"""What is known of each thread, and the number of torch's threads that callers of encoders last had."""


@contextmanager
def threads_for(products: int) -> Iterator[None]:
    """Run a batch of at most `SMALL_PRODUCTS` multiplications on one thread.

    Several threads wait for each other at every layer, and where other work occupies the cores, each wait takes as long
    as the others' turn: queries of 13 tokens took 5 times the processor time on two threads of two busy cores.
    """
    import torch

    threads = own_threads()
    if products > SMALL_PRODUCTS or threads == 1:
        yield
        return
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def own_threads() -> int:
    """Return torch's number of threads for the calling thread.

    A thread that uses torch for the first time starts with the number that was last set in any thread, so with 1 while
    another runs a small batch. It gets the usual number back here.
    """
    import torch

    threads = torch.get_num_threads()
    if getattr(_local, "stream", False):
        return threads
    if threads == 1 and not getattr(_local, "known", False) and _usual[0] > 1:
        threads = _usual[0]
        torch.set_num_threads(threads)
    _local.known, _usual[0] = True, threads
    return threads


def usual_threads() -> int:
    """Return torch's number of threads for the callers of encoders, also while a small batch runs on one."""
    import torch

    return max(_usual[0], torch.get_num_threads())


def _start_stream(threads: int) -> None:
    import torch

    _local.stream = True
    torch.set_num_threads(threads)


def count_streams(threads: int) -> int:
    """Return the largest number of streams that leaves at most a tenth of the threads idle."""
    return max(streams for streams in range(1, MAX_STREAMS + 1) if 10 * (threads % streams) <= threads)


def parallel_map(function: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
    """Map `function` over items in parallel streams that share torch's threads; yield the results in order.

    At most one item more than there are streams is submitted at a time. Exceptions of `function` are raised here.
    """
    import torch

    threads = own_threads()
    streams = count_streams(threads)
    items = iter(items)
    first = list(islice(items, 2))
    if streams == 1 or len(first) < 2 or torch.is_autocast_enabled("cpu"):  # Autocast is a setting of one thread.
        yield from map(function, first)
        yield from map(function, items)
        return
    pool = ThreadPoolExecutor(streams, "encoding", _start_stream, (threads // streams,))
    pending: deque[Future[R]] = deque(pool.submit(function, item) for item in first)
    try:
        while pending:
            pending.extend(pool.submit(function, item) for item in islice(items, streams + 1 - len(pending)))
            yield pending.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
        torch.set_num_threads(threads)  # New threads start with the number that was last set in any thread.


def map_ahead(function: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
    """Map `function` over items in a thread that is one item ahead of the caller; yield the results in order.

    Items are read in the calling thread. An error in reading one is raised after the results of those before it.
    """
    iterator = iter(items)
    try:
        first = next(iterator)
    except StopIteration:
        return
    with ThreadPoolExecutor(1, "ahead") as pool:
        pending: Callable[[], R] = partial(function, first)  # A single item needs no thread.
        while True:
            try:
                item = next(iterator)
            except StopIteration:
                break
            except BaseException:
                yield pending()
                raise
            submitted = pool.submit(function, item)
            yield pending()
            pending = submitted.result
        yield pending()
