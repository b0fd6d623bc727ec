"""Trace: what one search call did, told by its stages as they run, and the way to stop it half-way."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from retrieve.fusion.shares import Shares


class Cancelled(Exception):  # noqa: N818  # no error: somebody no longer wants the answer
    """Raised within a call whose caller has gone."""


class Trace:
    """What one call to a retriever or reranker did.

    Stages of one call may run in several threads; each writes under its own name.

    Parameters
    ----------
    explain
        Ask the fusion for each leg's part in each score, at some cost.
    cancelled
        When this event is set, the next stage does not begin: `Cancelled` is raised instead.

    Attributes
    ----------
    seconds
        By stage: ``dense.encode``, ``dense.search``, ``bm25.search``, ``fusion``, ``reranker``, …
    failures
        By leg, why it gave nothing, where a hybrid carries on without it.
    shares
        Each leg's part in the fused scores, when it was asked for and something was fused.
    scored
        How many of each query's candidates the reranker read, int64 [queries]; None without one.
    out_of_time
        Whether a reranker stopped because of its time.
    """

    def __init__(self, *, explain: bool = False, cancelled: threading.Event | None = None) -> None:
        self.explain, self._cancelled = explain, cancelled
        self.seconds: dict[str, float] = {}
        self.failures: dict[str, str] = {}
        self.shares: Shares | None = None
        self.scored: NDArray[np.int64] | None = None
        self.out_of_time = False

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time what stands in the block, adding to what a stage of this name took before."""
        self.check()
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start

    def check(self) -> None:
        """Raise `Cancelled` when the caller has gone."""
        if self._cancelled is not None and self._cancelled.is_set():
            raise Cancelled
