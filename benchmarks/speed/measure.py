"""How two sides are timed: each in its own process, by turns, with its own peak of memory."""

import multiprocessing
import platform
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median
from types import TracebackType
from typing import Any, NotRequired, Self, TypedDict


class Row(TypedDict):
    """One comparison: `ratio` is their time over ours, so above 1 we are faster."""

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


def timed_row(task: str, peer: str, setting: str, ours_s: float, theirs_s: float, agreement: float, detail: str) -> Row:
    """Make the row of a comparison within one process, where no side has a peak of memory of its own."""
    return {
        "task": task,
        "peer": peer,
        "setting": setting,
        "ratio": theirs_s / ours_s,
        "agreement": agreement,
        "ours_s": ours_s,
        "theirs_s": theirs_s,
        "ours_peak_mb": None,
        "theirs_peak_mb": None,
        "detail": detail,
    }


Job = tuple[Callable[..., Any], Callable[[Any], Any]]
"""What a side makes: the call to be timed, and how its last answer is turned into arrays afterwards."""


class Side:
    """One of the sides of a comparison, loaded and waiting in a process of its own.

    Parameters
    ----------
    make
        Loads and warms up, in the process; gives a `Job`.
    arguments
        For `make`.
    threads
        How many torch may use; by default as many as it wants.
    """

    def __init__(self, make: Callable[..., Job], *arguments: Any, threads: int | None = None) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, make, arguments, threads), daemon=True)
        self._process.start()
        theirs.close()
        self.seconds: list[float] = []
        self._hear()

    def run(self, *arguments: Any) -> float:
        """Run the job once; give the seconds it took, and note them."""
        self._pipe.send(arguments)
        self.seconds.append(self._hear())
        return self.seconds[-1]

    @property
    def median(self) -> float:
        """The median of all runs, in seconds."""
        return median(self.seconds)

    def finish(self) -> tuple[Any, float]:
        """End the process; give the answer of its last run and its peak of resident memory in MB."""
        self._pipe.send(None)
        result, peak = self._hear()
        self._process.join()
        return result, peak

    def _hear(self) -> Any:
        try:
            kind, value = self._pipe.recv()
        except EOFError:
            self._process.join()
            raise RuntimeError(f"a side of the comparison died (exit status {self._process.exitcode})") from None
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


def by_turns(sides: list[Side], repeats: int) -> None:
    """Run the sides one after another, `repeats` times round, so that a busy minute hits them alike."""
    for _ in range(repeats):
        for side in sides:
            side.run()


def memory(name: str, process: int | str = "self") -> float:
    """Read one of a process's memory figures on Linux (VmHWM, RssAnon, …), in MB: this one's, or by its number.

    Raises
    ------
    KeyError
        When it has none of that name: a process that has ended has none.
    """
    for line in Path(f"/proc/{process}/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) / 1024
    raise KeyError(name)


def peak_memory() -> float:
    """Give the most memory that this process has had resident, in MB."""
    if platform.system() == "Linux":
        # Not ru_maxrss: a child inherits its parent's.
        return memory("VmHWM")
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1 << 20)


def _serve(pipe: Connection, make: Callable[..., Job], arguments: tuple[Any, ...], threads: int | None) -> None:
    try:
        _use_threads(threads)
        run, arrays = make(*arguments)
        pipe.send(("ready", None))
        result = None
        while (given := pipe.recv()) is not None:
            start = time.perf_counter()
            result = run(*given)
            pipe.send(("seconds", time.perf_counter() - start))
        peak = peak_memory()
        pipe.send(("result", (arrays(result), peak)))
    except Exception as error:
        pipe.send(("error", RuntimeError(f"{type(error).__name__}: {error}")))


def _use_threads(threads: int | None) -> None:
    if threads is not None:
        import torch

        torch.set_num_threads(threads)
