"""Budget: how much a reranker may read, and in what portions it reads so that it can stop at any time."""

import time
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from indexing.errors import InputError
from indexing.hits import Hits
from retrieve.fusion.normalizers.min_max import min_max

FIRST_WAVE = 8
"""Candidates that are read before anything is known of the model's speed."""
EXIT_WAVE = 16
"""Candidates of a query after which it is asked again whether the rest can still matter."""
TOP = 10
"""How many of the best matter to an early exit, where nobody says."""
SPENT_AT_ONCE = 0.5
"""The part of the time left that a portion may be expected to take: a wrong guess then costs little."""


@dataclass(frozen=True, slots=True)
class Budget:
    """What a reranker may spend on each query. Within it candidates are read best first; the others keep their order.

    Parameters
    ----------
    max_pairs
        The most pairs (of the query and a document, or a passage of one) that the model reads for a query. The best
        candidate is read always.
    max_ms
        Milliseconds for a query, counted from the call of ``rerank``: several queries in one call have the sum
        together. No portion is begun that would end later at the speed seen so far, but the best candidate's.
    early_exit
        Stop a query when no candidate left is expected among its best `top`: its remaining candidates are taken to
        score at most the mean of the last `EXIT_WAVE` that were read, plus so many of their standard deviations.
        Smaller stops sooner. What it costs: ``python benchmarks/run_speed.py budget``.
    top
        How many of the best matter to `early_exit`: in a pipeline as many as are asked for, else 10.
    """

    max_pairs: int | None = None
    max_ms: float | None = None
    early_exit: float | None = None
    top: int | None = None

    def __post_init__(self) -> None:
        for name in ("max_pairs", "top"):
            value = getattr(self, name)
            if value is not None and (not isinstance(value, int) or value < 1):
                raise InputError(f"{name} must be a whole number of at least 1, not {value!r}")
        for name in ("max_ms", "early_exit"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise InputError(f"{name} must be above 0, not {value!r}")


class Portions:
    """Deals the candidates of a block of queries out in portions, best ranks first, until the budget ends.

    Parameters
    ----------
    budget
        As given to ``rerank``.
    head
        The block's candidates.
    pairs
        int64 [candidates], how many pairs each is to the model.
    costs
        float64 [candidates], what each costs the model, in any unit.
    rate
        Seconds that a unit took lately; None when that is not known.
    deadline
        In `time.perf_counter`'s seconds; None for no end.
    weight
        The part of the first stage's score in the final one.

    Attributes
    ----------
    scores
        float64 [candidates], of those that were read.
    read
        bool [candidates], which were; of each query they are its first ones.
    out_of_time
        Whether candidates were left because of the deadline.
    rate
        Seconds a unit, as the largest portion took them.
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
            # A long document stops its query: what comes after it must not overtake it unread.
            ends = np.where(allowed, len(pairs), self._ranks)
            first_end = np.full(len(head), len(pairs))
            np.minimum.at(first_end, self._rows, ends)
            allowed = self._ranks < first_end[self._rows]
        best_first = np.lexsort((self._rows, self._ranks))
        self._waiting = best_first[allowed[best_first]]
        self.scores = np.zeros(len(pairs))
        self.read = np.zeros(len(pairs), np.bool_)
        self.out_of_time = False
        self.rate = rate
        self._largest = 0.0

    def next(self) -> NDArray[np.int64]:
        """Give the candidates to read now, by number, ascending; none when it is over."""
        wave = self._waiting
        if self._budget.early_exit is not None and len(wave):
            started = self._ranks[wave].min() > 1
            size = EXIT_WAVE if started else max(EXIT_WAVE, self._top)
            wave = wave[self._ranks[wave] < self._ranks[wave[0]] + size]
        if self._deadline is not None and len(wave):
            wave = wave[: self._fitting(wave)]
            self.out_of_time |= not len(wave)
        self._waiting = self._waiting[len(wave) :]
        return np.sort(wave)

    def done(self, wave: NDArray[np.int64], scores: NDArray[np.floating], seconds: float) -> None:
        """Note what a portion's candidates scored and how long that took."""
        self.scores[wave], self.read[wave] = scores, True
        cost = max(float(self._costs[wave].sum()), 1.0)
        self._rate = seconds / cost
        if cost >= self._largest:
            self._largest, self.rate = cost, self._rate
        if self._budget.early_exit is not None and len(self._waiting):
            decided = self._decided(np.unique(self._rows[wave]))
            self._waiting = self._waiting[~decided[self._rows[self._waiting]]]

    def _fitting(self, wave: NDArray[np.int64]) -> int:
        """Say how many of these candidates may be begun now."""
        if self._rate is None:
            return FIRST_WAVE
        left = (self._deadline or 0.0) - time.perf_counter()
        expected = self._rate * np.cumsum(self._costs[wave])
        if expected[-1] <= SPENT_AT_ONCE * left:
            return len(wave)
        several = int(np.searchsorted(expected, SPENT_AT_ONCE * left, side="right"))
        if not self.read.any():
            # The speed of a slow moment must not stand for ever: one is read always, and says how it is now.
            return max(several, 1)
        return several or int(expected[0] <= left)

    def _decided(self, rows: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Say for which of these queries no candidate left is expected among the best, bool [queries]."""
        decided = np.zeros(len(self._head), np.bool_)
        for row in rows.tolist():
            start, stop = int(self._head.offsets[row]), int(self._head.offsets[row + 1])
            read = start + np.flatnonzero(self.read[start:stop])
            if read[-1] + 1 == stop or len(read) < max(self._top, EXIT_WAVE):
                continue
            last = self.scores[read[-EXIT_WAVE:]]
            ceiling = float(last.mean() + (self._budget.early_exit or 0.0) * last.std())
            # The best that the next candidate is expected to reach, beside those that were read.
            now = np.append(self.scores[read], ceiling)
            first = np.append(self._head.scores[read], self._head.scores[read[-1] + 1])
            bounds = np.array([0, len(now)])
            final = now
            if self._weight:
                final = (1 - self._weight) * min_max(now, bounds) + self._weight * min_max(first, bounds)
            best = np.sort(final[:-1])[-self._top]
            decided[row] = final[-1] < best
        return decided
