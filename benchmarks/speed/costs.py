"""Cost of a step that runs in a process of its own. Linux only."""

import multiprocessing
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple


class Cost(NamedTuple):
    """Cost of a step: seconds by the clock and of the processor, MB written to files, and MB of peak memory."""

    seconds: float
    processor: float
    written: float
    peak: float


def measured(step: Callable[..., Any], *arguments: Any) -> tuple[Cost, Any]:
    """Run a step in a process of its own; return its cost and what it returned."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=_in_process, args=(there, step, arguments))
    process.start()
    there.close()
    try:
        cost, result = here.recv()
    finally:
        process.join()
    return Cost(*cost), result


def _in_process(pipe: Any, step: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    import faiss  # noqa: F401  # its import is not part of a step

    start, processor, written = time.perf_counter(), time.process_time(), dict(_counters("io"))["wchar"]
    result = step(*arguments)
    cost = (
        time.perf_counter() - start,
        time.process_time() - processor,
        (dict(_counters("io"))["wchar"] - written) / 1e6,
        dict(_counters("status"))["VmHWM"] / 1e3,
    )
    pipe.send((cost, result))


def _counters(name: str) -> Iterator[tuple[str, int]]:
    """Read the numbers in a file of this process in /proc."""
    for line in Path(f"/proc/self/{name}").read_text().splitlines():
        key, _, value = line.partition(":")
        number = value.split()
        if number and number[0].isdecimal():
            yield key, int(number[0])
