"""Progress of long work on stderr: a bar on a terminal, and in a log a line each tenth or 30 seconds."""

import sys
import time
from collections.abc import Iterable, Iterator, Sized
from types import TracebackType
from typing import Any, Protocol, Self

from indexing.plurals import counted

SECONDS = 30.0
"""A log gets a line after so many seconds, although no tenth of the work is complete."""
SHORTEST_SECONDS = 1.0
"""A log gets at most one line in so many seconds, so that short work does not fill it."""


class Progress(Protocol):
    """Progress of one piece of work: steps that are done, in a loop or by `update`."""

    def update(self, n: float = 1, /) -> object:
        """Add steps to those that are done."""
        ...

    def __iter__(self) -> Iterator[Any]: ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None: ...


def progress(
    items: Iterable[Any] | None = None,
    *,
    desc: str,
    total: int | None = None,
    unit: str = "it",
    disable: bool = False,
    leave: bool = True,
) -> Progress:
    """Return the progress of a loop over `items`, or of work that calls ``update``.

    Parameters
    ----------
    items
        What the loop iterates over; without it, use the result in a ``with`` block and call ``update``.
    desc, unit
        Name of the work, and of one step.
    total
        Number of steps; None if unknown. By default the length of `items`.
    disable
        Show nothing.
    leave
        Leave the bar on the terminal at the end.

    Returns
    -------
    Progress
        tqdm's bar if stderr is a terminal, else `ProgressLines`.
    """
    if not disable and sys.stderr is not None and sys.stderr.isatty():
        from tqdm import tqdm

        return tqdm(items, desc=desc, total=total, unit=unit, leave=leave)
    return ProgressLines(items, desc=desc, total=total, unit=unit, disable=disable)


class ProgressLines:
    """Progress as lines with a time stamp, for a log; the interface is the part of tqdm's that this project uses."""

    def __init__(
        self,
        items: Iterable[Any] | None = None,
        *,
        desc: str,
        total: int | None = None,
        unit: str = "it",
        disable: bool = False,
    ) -> None:
        self.total = len(items) if total is None and isinstance(items, Sized) else total
        self.n = 0
        self._items, self._desc, self._unit = items, desc, unit
        self._started = self._last = time.monotonic()
        self._tenth = 0
        self._closed = disable

    def update(self, count: float = 1, /) -> None:
        """Add steps to those that are done, and write a line if one is due."""
        self.n += int(count)
        if self._closed:
            return
        seconds = time.monotonic() - self._last
        tenth = 10 * self.n // self.total if self.total else 0
        if seconds >= SECONDS or (tenth > self._tenth and seconds >= SHORTEST_SECONDS):
            self._tenth = tenth
            self._write(self._so_far())

    def close(self) -> None:
        """Write the last line: how much was done in how many seconds."""
        if not self._closed:
            self._closed = True
            self._write(f"{counted(self.n, self._unit)} in {time.monotonic() - self._started:.1f} s")

    def __iter__(self) -> Iterator[Any]:
        with self:
            for item in self._items or ():
                yield item
                self.update()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _so_far(self) -> str:
        spent = max(time.monotonic() - self._started, 1e-9)
        done = counted(self.n, self._unit)
        if self.total:
            done = f"{100 * self.n // self.total}% ({self.n:,} of {counted(self.total, self._unit)})"
            done += f", about {max(self.total - self.n, 0) * spent / max(self.n, 1):.0f} s left"
        return f"{done}, {self.n / spent:.1f} {self._unit}/s"

    def _write(self, text: str) -> None:
        self._last = time.monotonic()
        if sys.stderr is not None:
            sys.stderr.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {self._desc}: {text}\n")
            sys.stderr.flush()
