"""Budget of a reranker, and the batches in which it reads candidates so that it can stop at any time."""

import time
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from indexing.hits import Hits
from indexing.inputs import number, whole_number
from retrieve.fusion.normalizers import min_max

FIRST_BATCH = 8
"""Candidates read while the model's speed is unknown."""
EXIT_BATCH = 16
"""Candidates of a query between two checks for an early exit."""
TOP = 10
"""Default of `Budget.top`."""
MAX_TIME_SHARE = 0.5
"""Largest expected share of the remaining time for one batch; it limits the cost of a wrong estimate."""


@dataclass(frozen=True, slots=True)
class Budget:
    """Limit of a reranker's work for each query: candidates are read best first, and unread ones keep their order.

    Parameters
    ----------
    max_pairs
        Maximum number of pairs (the query and a document or passage) that the model reads for a query. The best
        candidate is always read.
    max_ms
        Milliseconds per query from the call of ``rerank``; the queries of one call share the sum. Apart from the best
        candidate, no batch starts that would end later at the speed measured so far. A reranker behind a URL waits no
        longer than that: candidates without an answer by then count as unread, also the best.
    early_exit
        Stop a query when none of its unread candidates is expected among its best `top`. They are expected to score at
        most the mean of the last `EXIT_BATCH` scores plus this many of their standard deviations. Smaller values stop
        sooner. ``python benchmarks/run_speed.py budget`` measures the loss of quality.
    top
        Number of best candidates that `early_exit` protects: the number of requested hits in a pipeline, else 10.
    """

    max_pairs: int | None = None
    max_ms: float | None = None
    early_exit: float | None = None
    top: int | None = None

    def __post_init__(self) -> None:
        for name in ("max_pairs", "top"):
            if (value := getattr(self, name)) is not None:
                object.__setattr__(self, name, whole_number(value, name))
        for name in ("max_ms", "early_exit"):
            if (value := getattr(self, name)) is not None:
                object.__setattr__(self, name, number(value, name, above=0))


class OutOfTime(Exception):  # noqa: N818  # a limit that was reached, as asked: no error
    """Raised by a reranker that waits for a server when the time limit ends before the answer; it has the reason."""


class CandidateBatches:
    """Splits the candidates of a block of queries into batches, best ranks first, until the budget is spent.

    Parameters
    ----------
    budget
        The argument of ``rerank``.
    head
        The block's candidates.
    pairs
        int64 [candidates], number of pairs that the model reads for each.
    costs
        float64 [candidates], estimated cost of each to the model, in any unit.
    rate
        Recent seconds per unit of cost; None if unknown.
    deadline
        In `time.perf_counter`'s seconds; None for no limit.
    weight
        Weight of the first stage's score in the final one.

    Attributes
    ----------
    scores
        float64 [candidates], scores of the candidates read so far.
    read
        bool [candidates], whether each was read; those of a query are its best.
    out_of_time
        Whether the deadline left candidates unread.
    rate
        Seconds per unit of cost of the largest batch.
    """

    def __init__(
        self,
        budget: Budget,
        head: Hits,
        pairs: NDArray[np.int64],
        costs: NDArray[np.float64],
        *,
        rate: float | None,
        deadline: float | None,
        weight: float,
    ) -> None:
        self._budget, self._head, self._costs = budget, head, costs
        self._top = budget.top or TOP
        self._rate, self._deadline, self._weight = rate, deadline, weight
        self._rows, self._ranks = head.rows, head.ranks
        allowed = np.ones(len(pairs), np.bool_)
        if budget.max_pairs is not None:
            used = np.cumsum(pairs)
            before = np.concatenate(([0], used))[head.offsets[:-1]]
            allowed = (used - before[self._rows] <= budget.max_pairs) | (self._ranks == 1)
            # A document beyond the limit ends its query: later candidates must not overtake it unread.
            ends = np.where(allowed, len(pairs), self._ranks)
            first_end = np.full(len(head), len(pairs))
            np.minimum.at(first_end, self._rows, ends)
            allowed = self._ranks < first_end[self._rows]
        best_first = np.lexsort((self._rows, self._ranks))
        self._unread = best_first[allowed[best_first]]
        self.scores = np.zeros(len(pairs))
        self.read = np.zeros(len(pairs), np.bool_)
        self.out_of_time = False
        self.rate = rate
        self._largest = 0.0

    def next(self) -> NDArray[np.int64]:
        """Return the numbers of the candidates to read now, ascending; none at the end."""
        batch = self._unread
        if self._budget.early_exit is not None and len(batch):
            started = self._ranks[batch].min() > 1
            size = EXIT_BATCH if started else max(EXIT_BATCH, self._top)
            batch = batch[self._ranks[batch] < self._ranks[batch[0]] + size]
        if self._deadline is not None and len(batch):
            batch = batch[: self._count_in_time(batch)]
            self.out_of_time |= not len(batch)
        self._unread = self._unread[len(batch) :]
        return np.sort(batch)

    def done(self, batch: NDArray[np.int64], scores: NDArray[np.floating], seconds: float) -> None:
        """Record the scores of a batch's candidates and the time it took."""
        self.scores[batch], self.read[batch] = scores, True
        cost = max(float(self._costs[batch].sum()), 1.0)
        self._rate = seconds / cost
        if cost >= self._largest:
            self._largest, self.rate = cost, self._rate
        if self._budget.early_exit is not None and len(self._unread):
            decided = self._decided(np.unique(self._rows[batch]))
            self._unread = self._unread[~decided[self._rows[self._unread]]]

    def stop(self) -> None:
        """Leave all other candidates unread: the time limit has ended."""
        self._unread, self.out_of_time = self._unread[:0], True

    def _count_in_time(self, batch: NDArray[np.int64]) -> int:
        """Return how many of these candidates may start now."""
        if self._rate is None:
            return FIRST_BATCH
        left = (self._deadline or 0.0) - time.perf_counter()
        expected = self._rate * np.cumsum(self._costs[batch])
        if expected[-1] <= MAX_TIME_SHARE * left:
            return len(batch)
        count = int(np.searchsorted(expected, MAX_TIME_SHARE * left, side="right"))
        if not self.read.any():
            # One candidate is always read: it measures the speed anew, so that one slow moment has no lasting effect.
            return max(count, 1)
        return count or int(expected[0] <= left)

    def _decided(self, rows: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Return whether each query is among `rows` and has no unread candidate expected among its best."""
        decided = np.zeros(len(self._head), np.bool_)
        for row in rows.tolist():
            start, stop = int(self._head.offsets[row]), int(self._head.offsets[row + 1])
            read = start + np.flatnonzero(self.read[start:stop])
            if read[-1] + 1 == stop or len(read) < max(self._top, EXIT_BATCH):
                continue
            last = self.scores[read[-EXIT_BATCH:]]
            ceiling = float(last.mean() + (self._budget.early_exit or 0.0) * last.std())
            # The highest score expected of the next candidate, after those that were read.
            now = np.append(self.scores[read], ceiling)
            first = np.append(self._head.scores[read], self._head.scores[read[-1] + 1])
            bounds = np.array([0, len(now)])
            final = now
            if self._weight:
                final = (1 - self._weight) * min_max(now, bounds) + self._weight * min_max(first, bounds)
            best = np.sort(final[:-1])[-self._top]
            decided[row] = final[-1] < best
        return decided
