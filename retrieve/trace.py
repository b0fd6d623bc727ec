"""Trace of one search call: timings, failures and shares recorded by its stages, and cancellation."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from retrieve.fusion.shares import Shares


class Cancelled(Exception):  # noqa: N818  # not an error: the caller no longer wants the answer
    """Raised inside a call that its caller has cancelled."""


class Trace:
    """Record of one call to a retriever or reranker.

    Stages of one call may run in several threads; each writes under its own name.

    Parameters
    ----------
    explain
        Compute each leg's share of each fused score, at some cost.
    cancelled
        Once this event is set, the next stage raises `Cancelled` instead of starting.

    Attributes
    ----------
    seconds
        Time by stage: ``dense.encode``, ``dense.search``, ``bm25.search``, ``fusion``, ``reranker``, …
    failures
        Reason of each failed leg, by its name, where a hybrid continues without it.
    notes
        What a user may not expect of this answer, such as a depth below `k`.
    shares
        Each leg's share of the fused scores, with `explain` and a fusion.
    scored
        Number of each query's candidates that the reranker read, int64 [queries]; None without a reranker.
    out_of_time
        Whether the reranker's time limit left candidates unread.
    """

    def __init__(self, *, explain: bool = False, cancelled: threading.Event | None = None) -> None:
        self.explain, self._cancelled = explain, cancelled
        self.seconds: dict[str, float] = {}
        self.failures: dict[str, str] = {}
        self.notes: list[str] = []
        self.shares: Shares | None = None
        self.scored: NDArray[np.int64] | None = None
        self.out_of_time = False

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Add the time of the ``with`` block to the stage of this name."""
        self.check()
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start

    def check(self) -> None:
        """Raise `Cancelled` if the caller has cancelled the call."""
        if self._cancelled is not None and self._cancelled.is_set():
            raise Cancelled
