"""Time two or more implementations in alternation, each in its own process with its own peak memory."""

import multiprocessing
import os
import platform
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median
from types import TracebackType
from typing import Any, NamedTuple, NotRequired, Self, TypedDict

from indexing.errors import RetrieveError

NOISE = 0.1
"""Share by which the slowest run may exceed the fastest before a row is marked as noisy."""
FEATURES = ("avx2", "avx512f", "avx512_vnni", "avx_vnni", "avx512_bf16", "amx_bf16", "amx_int8", "asimddp", "sve")
"""Flags of a processor, as Linux names them, that decide the speed of a model."""


class Row(TypedDict):
    """One comparison: `ratio` is their time divided by ours, so above 1 ours is faster."""

    task: str
    peer: str
    setting: str
    ratio: float
    agreement: float
    ours_s: float
    theirs_s: float
    ours_peak_mb: float | None
    theirs_peak_mb: float | None
    detail: NotRequired[str]
    processor: NotRequired[str]


def timed_row(
    task: str,
    peer: str,
    setting: str,
    ours_s: float,
    theirs_s: float,
    agreement: float,
    detail: str,
    peaks_mb: tuple[float | None, float | None] = (None, None),
) -> Row:
    """Return the row of a comparison; `peaks_mb`, ours and theirs, is known only for sides in separate processes."""
    return {
        "task": task,
        "peer": peer,
        "setting": setting,
        "ratio": theirs_s / ours_s,
        "agreement": agreement,
        "ours_s": ours_s,
        "theirs_s": theirs_s,
        "ours_peak_mb": peaks_mb[0],
        "theirs_peak_mb": peaks_mb[1],
        "detail": detail,
    }


Job = tuple[Callable[..., Any], Callable[[Any], Any]]
"""The call to time, and the function that converts its last result for sending to the parent process."""


class Side:
    """One side of a comparison, loaded in its own process and waiting for `run`.

    Parameters
    ----------
    make
        Loads and warms up in the process; returns a `Job`.
    arguments
        Arguments of `make`.
    threads
        Threads of torch; by default torch's own choice.

    Raises
    ------
    RetrieveError
        If the process raises one.
    RuntimeError
        If the process fails in any other way.
    """

    def __init__(self, make: Callable[..., Job], *arguments: Any, threads: int | None = None) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, make, arguments, threads), daemon=True)
        self._process.start()
        theirs.close()
        self.seconds: list[float] = []
        self.processor_seconds: list[float] = []
        self._receive()

    def run(self, *arguments: Any) -> float:
        """Run the job once; record its seconds and those of the processor, and return its seconds."""
        self._pipe.send(arguments)
        seconds, processor_seconds = self._receive()
        self.seconds.append(seconds)
        self.processor_seconds.append(processor_seconds)
        return seconds

    def finish(self) -> tuple[Any, float]:
        """End the process; return the result of its last run and its peak resident memory in MB."""
        self._pipe.send(None)
        result, peak = self._receive()
        self._process.join()
        return result, peak

    def _receive(self) -> Any:
        try:
            kind, value = self._pipe.recv()
        except EOFError:
            self._process.join()
            raise RuntimeError(f"the measured process died (exit status {self._process.exitcode})") from None
        if kind == "error":
            raise value
        return value

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.terminate()
        self._process.join()


class Measured(NamedTuple):
    """Measurements of one side.

    Parameters
    ----------
    seconds
        Seconds of each run.
    result
        Result of the last run.
    peak_mb
        Peak resident memory of its process, in MB.
    processor_seconds
        Processor time of each run, of all threads; other load on the machine affects it little.
    """

    seconds: Sequence[float]
    result: Any
    peak_mb: float
    processor_seconds: Sequence[float] = ()

    @property
    def noisy(self) -> bool:
        """True if the runs differ by more than `NOISE`."""
        return max(self.seconds) > (1 + NOISE) * min(self.seconds)


def measure(jobs: Iterable[tuple[Any, ...]], repeats: int, threads: int | None = None) -> list[Measured]:
    """Measure jobs in alternation, `repeats` runs each; see `alternate`.

    Parameters
    ----------
    jobs
        ``(make, *arguments)`` of a `Side` each.
    """
    with ExitStack() as stack:
        return alternate([stack.enter_context(Side(*job, threads=threads)) for job in jobs], repeats)


def alternate(sides: "Sequence[Side]", repeats: int, rounds: int = 1) -> list[Measured]:
    """Run sides in alternation, so that other load on the machine affects them alike.

    All are run again, up to `rounds` times, while the runs of one differ by more than `NOISE`; the last round counts.
    """
    for _ in range(rounds):
        for side in sides:
            side.seconds, side.processor_seconds = [], []
        for _ in range(repeats):
            for side in sides:
                side.run()
        if not any(Measured(side.seconds, None, 0).noisy for side in sides):
            break
    return [Measured(side.seconds, *side.finish(), side.processor_seconds) for side in sides]


def measured_row(
    task: str,
    setting: str,
    ours: Measured,
    theirs: Measured,
    agreement: float,
    detail: str,
    peer: str = "sentence-transformers",
) -> Row:
    """Return the row of two sides by their median seconds; the detail says so where their runs differ much."""
    noisy = [name for name, side in (("ours", ours), ("theirs", theirs)) if side.noisy]
    if noisy:
        detail += f"; noisy: runs differ by more than {NOISE:.0%} ({', '.join(noisy)})"
    medians, peaks = (median(ours.seconds), median(theirs.seconds)), (ours.peak_mb, theirs.peak_mb)
    return timed_row(task, peer, setting, *medians, agreement, detail, peaks)


def memory(name: str, process: int | str = "self") -> float:
    """Return one of the memory figures of a process on Linux (VmHWM, RssAnon, …), in MB; `process` is its id.

    Raises
    ------
    KeyError
        If the process has no such figure; a process that has ended has none.
    """
    for line in Path(f"/proc/{process}/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) / 1024
    raise KeyError(name)


def processor() -> str:
    """Return the processor's name, its number of cores, and which of `FEATURES` it has (Linux; else its name)."""
    cores, path = f"{os.cpu_count()} cores of", Path("/proc/cpuinfo")
    if not path.is_file():
        return f"{cores} {platform.processor() or platform.machine()}"
    lines = dict(line.split(":", 1) for line in path.read_text().splitlines() if ":" in line)
    found = {name.strip(): value.split() for name, value in lines.items()}
    name, flags = found.get("model name", [platform.machine()]), found.get("flags") or found.get("Features") or []
    return f"{cores} {' '.join(name)} ({', '.join(flag for flag in FEATURES if flag in flags) or 'none of its flags'})"


def peak_memory() -> float:
    """Return the peak resident memory of this process, in MB."""
    if platform.system() == "Linux":
        # ru_maxrss is not usable: a child process inherits its parent's.
        return memory("VmHWM")
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1 << 20)


def _serve(pipe: Connection, make: Callable[..., Job], arguments: tuple[Any, ...], threads: int | None) -> None:
    try:
        if threads is not None:
            import torch

            torch.set_num_threads(threads)
        run, arrays = make(*arguments)
        pipe.send(("ready", None))
        result = None
        while (given := pipe.recv()) is not None:
            start, processor_start = time.perf_counter(), time.process_time()
            result = run(*given)
            pipe.send(("seconds", (time.perf_counter() - start, time.process_time() - processor_start)))
        peak = peak_memory()
        pipe.send(("result", (arrays(result), peak)))
    except RetrieveError as error:
        pipe.send(("error", error))
    except Exception as error:
        pipe.send(("error", RuntimeError(f"{type(error).__name__}: {error}")))
