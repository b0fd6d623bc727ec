"""HybridRetriever: several legs at once, fused into one ranking that remembers where each hit came from."""

import logging
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from indexing.errors import InputError, RetrieveError
from indexing.hits import Hits
from indexing.resources import Closing
from retrieve.fusion import Fusion, FusionMethod, default_fusion
from retrieve.fusion.shares import ExplainingFusion, measured_shares, stated_shares
from retrieve.retrievers import Retriever
from retrieve.trace import Cancelled, Trace

logger = logging.getLogger(__name__)

OnLegError = Literal["raise", "degrade"]

DEPTH = 100
"""Hits that each leg gives to the fusion by default."""

SIDE_BY_SIDE = 4
"""How many searches at once have a thread for each of their legs; more wait for one."""


class HybridRetriever(Closing, Retriever):
    """Runs its legs concurrently and fuses what they find.

    A batch of queries is encoded in one go, once for all legs that have the same encoder.

    Parameters
    ----------
    legs
        The retrievers, each with its own name; hits keep each leg's rank and score under it.
    fusion
        A `FusionMethod`, or any function of the legs' hits; by default `fusion_for` these legs.
        `weighted_sum` normalises scores by min-max for each query and leg and adds them:
        ``sum of weight * (s - min) / (max - min) / sum of weights``.
        `reciprocal_rank_fusion` adds ``weight / (k + rank)``, with ``k=60`` and ranks from 1.
        In both a leg that did not return a document adds nothing. Bind options with `functools.partial`:
        ``fusion=partial(reciprocal_rank_fusion, k=20)``.
    depth
        How many hits each leg gives to the fusion (more when more are asked for): one number, or one a leg by its
        name; `DEPTH` for legs without one.
    on_leg_error
        ``"raise"`` hands a leg's error on. ``"degrade"`` logs it, notes it in the trace and fuses what the other legs
        found; when all fail, the first error is raised. A wrong argument (`InputError`) is raised always. A leg that
        fails only when it is asked for the scores of others' candidates (``missing="score"``) keeps what it found.

    Raises
    ------
    InputError
        For legs without different names, a depth below 1 or for a leg there is not.
    """

    def __init__(
        self,
        legs: Sequence[Retriever],
        *,
        fusion: Fusion | None = None,
        depth: int | Mapping[str, int] = DEPTH,
        on_leg_error: OnLegError = "raise",
        name: str = "hybrid",
    ) -> None:
        super().__init__(name)
        names = [leg.name for leg in legs]
        if not legs or len(set(names)) < len(names):
            raise InputError(f"a hybrid needs legs with different names, not {names}")
        if on_leg_error not in get_args(OnLegError):
            raise InputError(f"on_leg_error must be 'raise' or 'degrade', not {on_leg_error!r}")
        self.legs, self.on_leg_error = tuple(legs), on_leg_error
        self.fusion: Fusion = fusion_for(legs) if fusion is None else fusion
        self.depth = leg_depths(depth, names)
        self._pool = ThreadPoolExecutor(max_workers=SIDE_BY_SIDE * len(legs), thread_name_prefix="leg")

    def close(self) -> None:
        """Let the threads go; the legs stay open."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _run(self, queries: Sequence[str], k: int, filter: Any, trace: Trace) -> Hits:
        encodings = _Encodings(self.legs, queries, trace)

        def answer(leg: Retriever) -> Hits | BaseException:
            try:
                encoded = encodings.of(leg)
                with trace.stage(f"{leg.name}.search"):
                    return leg.find(encoded, max(self.depth[leg.name], k), filter).as_leg(leg.name)
            except Exception as error:
                return error

        # The last leg on this thread: a search of one leg less to hand over, and one that needs no other thread.
        *others, last = self.legs
        waiting = [self._pool.submit(answer, leg) for leg in others]
        try:
            ours = answer(last)
            found = [future.result() for future in waiting]
        finally:
            for future in waiting:
                future.cancel()
        answers = self._carry_on([*found, ours], len(queries), trace)
        with trace.stage("fusion"):
            return self._fused(answers, encodings, trace).top(k)

    def _search(self, encoded: Any, k: int, filter: Any = None) -> Hits:
        return self._run(encoded, k, filter, Trace())

    def _fused(self, answers: Sequence[Hits], encodings: "_Encodings", trace: Trace) -> Hits:
        fusion = self.fusion
        if not isinstance(fusion, ExplainingFusion):
            fused = fusion(answers)
            if trace.explain:
                trace.shares = measured_shares(fusion, answers, fused)
            return fused

        def complete(place: int, rows: NDArray[np.int64], doc_ids: Sequence[str]) -> NDArray[np.floating] | None:
            """Give a leg's true scores of candidates, asked query by query whatever their order."""
            leg, order = self.legs[place], np.argsort(rows, kind="stable")
            if leg.name in trace.failures:
                return None
            bounds = np.searchsorted(rows[order], np.arange(len(answers[place]) + 1))
            wanted = [[doc_ids[at] for at in order[low:high].tolist()] for low, high in pairwise(bounds.tolist())]
            scores = np.empty(len(rows))
            try:
                encoded = encodings.of(leg)
                with trace.stage(f"{leg.name}.score"):
                    scores[order] = leg.score(encoded, wanted)
            except Exception as error:
                if self.on_leg_error == "raise" or isinstance(error, InputError | Cancelled):
                    raise
                _note(leg, error, trace)
                return None
            return scores

        if not trace.explain:
            return fusion(answers, complete=complete)
        trace.shares = stated_shares(fusion, answers, complete)
        return trace.shares.hits

    def _carry_on(self, found: Sequence[Hits | BaseException], queries: int, trace: Trace) -> list[Hits]:
        """Give the legs' answers, an empty one for a leg that failed; raise what must be raised."""
        errors = [answer for answer in found if isinstance(answer, BaseException)]
        fatal = next((error for error in errors if isinstance(error, InputError | Cancelled)), None)
        if fatal is not None or (errors and (self.on_leg_error == "raise" or len(errors) == len(found))):
            raise fatal or errors[0]
        answers = []
        for leg, answer in zip(self.legs, found, strict=True):
            if isinstance(answer, BaseException):
                _note(leg, answer, trace)
                answer = Hits.empty(queries).as_leg(leg.name)
            answers.append(answer)
        return answers


def _note(leg: Retriever, error: BaseException, trace: Trace) -> None:
    """Log and note that a leg failed."""
    reason = str(error) if isinstance(error, RetrieveError) else f"{type(error).__name__}: {error}"
    trace.failures[leg.name] = reason
    logger.warning("the leg %r failed and is left out of the answer: %s", leg.name, reason)


def fusion_for(legs: Sequence[Retriever]) -> FusionMethod:
    """Return the default fusion of these legs: `default_fusion` of their kinds of score."""
    return default_fusion({leg.name: leg.score_kind for leg in legs})


def leg_depths(depth: int | Mapping[str, int], names: Sequence[str], default: int = DEPTH) -> dict[str, int]:
    """Give each leg's depth by its name.

    Raises
    ------
    InputError
        For a depth below 1, or one for a leg there is not.
    """
    given = dict.fromkeys(names, depth) if isinstance(depth, int) else dict(depth)
    unknown = next((name for name in given if name not in names), None)
    if unknown is not None:
        raise InputError(f"there is a depth for the leg {unknown!r}, and the legs are {', '.join(names)}")
    wrong = next((value for value in given.values() if value < 1), None)
    if wrong is not None:
        raise InputError(f"depth must be at least 1, not {wrong}")
    return {name: given.get(name, default) for name in names}


class _Encodings:
    """One batch of queries, encoded once for all legs whose encoder is the same."""

    def __init__(self, legs: Sequence[Retriever], queries: Sequence[str], trace: Trace) -> None:
        self._queries, self._trace = queries, trace
        self._turns = {self._key(leg): threading.Lock() for leg in legs}
        self._made: dict[tuple[type, int], Any] = {}

    def of(self, leg: Retriever) -> Any:
        if leg.encoder is None:
            return leg.encode(self._queries)
        key = self._key(leg)
        with self._turns[key]:
            if key not in self._made:
                with self._trace.stage(f"{leg.name}.encode"):
                    self._made[key] = leg.encode(self._queries)
            return self._made[key]

    @staticmethod
    def _key(leg: Retriever) -> tuple[type, int]:
        return type(leg), id(leg.encoder)
