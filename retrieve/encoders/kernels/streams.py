"""Parallel batches on a CPU, each in a stream with its share of the CPU's threads.

In one batch over all threads, the threads wait for each other at every layer. Two batches on one thread each took 11%
less time than the same two one after the other on two threads (all-MiniLM-L6-v2, two cores).
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")

MAX_STREAMS = 8
"""Limit of streams: each holds a batch in memory."""


def count_streams(threads: int) -> int:
    """Return the largest number of streams that leaves at most a tenth of the threads idle."""
    return max(streams for streams in range(1, MAX_STREAMS + 1) if 10 * (threads % streams) <= threads)


def parallel_map(function: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
    """Map `function` over items in parallel streams that share torch's threads; yield the results in order.

    At most one item more than there are streams is submitted at a time. Exceptions of `function` are raised here.
    """
    import torch

    threads = torch.get_num_threads()
    streams = count_streams(threads)
    items = iter(items)
    first = list(islice(items, 2))
    if streams == 1 or len(first) < 2 or torch.is_autocast_enabled("cpu"):  # Autocast is a setting of one thread.
        yield from map(function, first)
        yield from map(function, items)
        return
    pool = ThreadPoolExecutor(streams, "encoding", torch.set_num_threads, (threads // streams,))
    pending: deque[Future[R]] = deque(pool.submit(function, item) for item in first)
    try:
        while pending:
            pending.extend(pool.submit(function, item) for item in islice(items, streams + 1 - len(pending)))
            yield pending.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
        torch.set_num_threads(threads)  # New threads start with the number that was last set in any thread.
