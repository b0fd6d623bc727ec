"""HybridRetriever: searches several legs concurrently and fuses their hits."""

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Literal, Self, get_args

import numpy as np
from numpy.typing import NDArray

from indexing.errors import InputError, RetrieveError
from indexing.hits import Hits
from indexing.inputs import whole_number
from indexing.resources import Closing, Lifetime, twin
from retrieve.fusion import Fusion, FusionMethod, default_fusion
from retrieve.fusion.choice import fusion_of
from retrieve.fusion.deeper import appended, appended_shares
from retrieve.fusion.shares import ExplainingFusion, measured_shares, stated_shares
from retrieve.retrievers import Retriever
from retrieve.trace import Cancelled, Trace

if TYPE_CHECKING:
    from indexing.indexes.base import Index

logger = logging.getLogger(__name__)

OnLegError = Literal["raise", "degrade"]

DEPTH = 100
"""Default number of hits of each leg that are fused."""

CONCURRENT_SEARCHES = 4
"""Number of searches that have a thread for each of their legs at the same time; more wait."""


class HybridRetriever(Closing, Retriever):
    """Retriever that searches its legs concurrently and fuses their hits.

    A batch of queries is encoded at once, and once for all legs with the same encoder.

    Parameters
    ----------
    legs
        Retrievers with different names; hits keep each leg's rank and score under its name.
    fusion
        A `FusionMethod`, its name or configuration, or any function of the legs' hits; by default `fusion_for` these
        legs.
        `weighted_sum` normalises scores by min-max for each query and leg and adds them:
        ``sum of weight * (s - min) / (max - min) / sum of weights``.
        `reciprocal_rank_fusion` adds ``weight / (k + rank)``, with ``k=60`` and ranks from 1.
        In both a leg that did not return a document adds nothing. Bind options with `functools.partial`:
        ``fusion=partial(reciprocal_rank_fusion, k=20)``.
    depth
        Number of hits of each leg that are fused: one number, or a mapping of the legs' names to numbers; `DEPTH` for
        legs that it lacks. It does not depend on `k`, so neither do the first hits: where the fused hits are fewer than
        `k`, those of a fusion of the first `k` of each leg follow below.
    on_leg_error
        ``"raise"`` raises a leg's error. ``"degrade"`` logs it, records it in the trace and fuses the other legs' hits;
        if all legs fail, the first error is raised. An `InputError` is always raised. A leg that fails only at scoring
        other legs' candidates (``missing="score"``) keeps its hits.

    Raises
    ------
    InputError
        For legs that share a name, a depth below 1, or the depth of an unknown leg.
    """

    def __init__(
        self,
        legs: Sequence[Retriever],
        *,
        fusion: Fusion | str | Mapping[str, Any] | None = None,
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
        self.fusion: Fusion = fusion_for(legs) if fusion is None else fusion_of(fusion)
        self.depth = leg_depths(depth, names)
        self._lifetime = Lifetime("hybrid retriever")
        self._pool = ThreadPoolExecutor(max_workers=CONCURRENT_SEARCHES * len(legs), thread_name_prefix="leg")

    def over(self, replace: "Callable[[Index], Index]") -> Self:
        """Return the same retriever with its legs over other indexes; both share the threads."""
        newer = twin(self)
        newer.legs = tuple(leg.over(replace) for leg in self.legs)
        return newer

    def close(self) -> None:
        """Stop the threads; the legs stay open."""
        self._lifetime.closed = True
        if self._lifetime.forked:
            return
        self._pool.shutdown(wait=True, cancel_futures=True)

    def fuse(self, queries: Sequence[str], k: int, answers: Callable[[Mapping[str, int]], Sequence[Hits]]) -> Hits:
        """Fuse hits that the legs gave before, as a search for `k` hits does.

        The legs are asked only if the fusion needs their scores of other legs' candidates (``missing="score"``).

        Parameters
        ----------
        answers
            Returns the hits of each leg, in the order of the legs, for depths by the names of the legs.
        """

        def named(depths: Mapping[str, int]) -> list[Hits]:
            return [hits.as_leg(leg.name) for leg, hits in zip(self.legs, answers(depths), strict=True)]

        trace = Trace()
        return self._find(_Encodings(self.legs, queries, trace), k, named, trace)

    def _run(self, queries: Sequence[str], k: int, filter: Any, trace: Trace) -> Hits:
        self._lifetime.check()
        encodings = _Encodings(self.legs, queries, trace)
        return self._find(
            encodings, k, lambda depths: self._answers(encodings, depths, filter, len(queries), trace), trace
        )

    def _find(
        self, encodings: "_Encodings", k: int, search: Callable[[Mapping[str, int]], list[Hits]], trace: Trace
    ) -> Hits:
        """Fuse the first hits of each leg; where they are fewer than `k`, add the fusion of deeper ones below them."""
        answers = search(self.depth)
        with trace.stage("fusion"):
            head = self._fused(answers, encodings, trace)
        cut = [hits.counts >= self.depth[leg.name] for leg, hits in zip(self.legs, answers, strict=True)]
        short = (head.counts < k) & np.any(cut, axis=0)
        if not short.any():
            return head.top(k)
        deeper, shares = max(k, *self.depth.values()), trace.shares
        trace.notes.append(
            f"k is {k}, and the fused hits are fewer (depth {_depths(self.depth)}): those below rank "
            f"{int(head.counts[short].min())} come from a fusion of the first {deeper} of each leg"
        )
        answers = search(dict.fromkeys(self.depth, deeper))
        with trace.stage("fusion"):
            deep = self._fused(answers, encodings, trace)
            if shares is not None and trace.shares is not None:
                trace.shares = appended_shares(shares, trace.shares)
            return appended(head, deep).top(k)

    def _answers(
        self, encodings: "_Encodings", depths: Mapping[str, int], filter: Any, queries: int, trace: Trace
    ) -> list[Hits]:
        """Search all legs at the same time."""
        # Marking takes as long as half a search; a function of one's own may read the marks.
        marked = getattr(self.fusion, "rare_words", not isinstance(self.fusion, FusionMethod))

        def answer(leg: Retriever) -> Hits | BaseException:
            try:
                encoded = encodings.of(leg)
                with trace.stage(f"{leg.name}.search"):
                    hits = leg.find_kept(encodings.queries, encoded, depths[leg.name], filter)
                    return (leg.mark(encoded, hits) if marked else hits).as_leg(leg.name)
            except Exception as error:
                return error

        # The last leg runs on the calling thread, so a search of a single leg needs no other thread.
        *others, last = self.legs
        futures = [self._lifetime.submit(self._pool, answer, leg) for leg in others]
        try:
            last_outcome = answer(last)
            outcomes = [future.result() for future in futures]
        finally:
            for future in futures:
                future.cancel()
        return self._surviving([*outcomes, last_outcome], queries, trace)

    @staticmethod
    def encodings(legs: Sequence[Retriever], queries: Sequence[str], trace: Trace) -> "_Encodings":
        """Return the encodings of a batch of queries, each made when first used."""
        return _Encodings(legs, queries, trace)

    def find_kept(self, queries: Sequence[str], encoded: Any, k: int, filter: Any = None) -> Hits:
        """Search; each leg keeps the requirements and exclusions of the queries."""
        return self.find(queries, k, filter)

    def _search(self, encoded: Any, k: int, filter: Any = None) -> Hits:
        return self._run(encoded, k, filter, Trace())

    def _fused(self, answers: Sequence[Hits], encodings: "_Encodings", trace: Trace) -> Hits:
        fusion = self.fusion
        if not isinstance(fusion, ExplainingFusion):
            fused = fusion(answers)
            if trace.explain:
                trace.shares = measured_shares(fusion, answers, fused)
            return fused

        def complete(leg_index: int, rows: NDArray[np.int64], doc_ids: Sequence[str]) -> NDArray[np.floating] | None:
            """Return a leg's true scores of candidates, in any order of their queries; None if the leg failed."""
            leg, order = self.legs[leg_index], np.argsort(rows, kind="stable")
            if leg.name in trace.failures:
                return None
            bounds = np.searchsorted(rows[order], np.arange(len(answers[leg_index]) + 1))
            wanted = [[doc_ids[at] for at in order[low:high].tolist()] for low, high in pairwise(bounds.tolist())]
            scores = np.empty(len(rows))
            try:
                encoded = encodings.of(leg)
                with trace.stage(f"{leg.name}.score"):
                    scores[order] = leg.score(encoded, wanted)
            except Exception as error:
                if self.on_leg_error == "raise" or isinstance(error, InputError | Cancelled):
                    raise
                _record_failure(leg, error, trace)
                return None
            return scores

        if not trace.explain:
            return fusion(answers, complete=complete)
        trace.shares = stated_shares(fusion, answers, complete)
        return trace.shares.hits

    def _surviving(self, outcomes: Sequence[Hits | BaseException], queries: int, trace: Trace) -> list[Hits]:
        """Return the legs' hits, empty ones for failed legs, or raise an error as `on_leg_error` demands."""
        errors = [outcome for outcome in outcomes if isinstance(outcome, BaseException)]
        fatal = next((error for error in errors if isinstance(error, InputError | Cancelled)), None)
        if fatal is not None or (errors and (self.on_leg_error == "raise" or len(errors) == len(outcomes))):
            raise fatal or errors[0]
        answers = []
        for leg, outcome in zip(self.legs, outcomes, strict=True):
            if isinstance(outcome, BaseException):
                _record_failure(leg, outcome, trace)
                outcome = Hits.empty(queries).as_leg(leg.name)
            answers.append(outcome)
        return answers


def _record_failure(leg: Retriever, error: BaseException, trace: Trace) -> None:
    """Log a leg's failure and record it in the trace."""
    reason = str(error) if isinstance(error, RetrieveError) else f"{type(error).__name__}: {error}"
    trace.failures[leg.name] = reason
    logger.warning("the leg %r failed; its hits are missing from the results: %s", leg.name, reason)


def fusion_for(legs: Sequence[Retriever]) -> FusionMethod:
    """Return the default fusion of these legs: `default_fusion` of their kinds of score."""
    return default_fusion({leg.name: leg.score_kind for leg in legs})


def leg_depths(depth: int | Mapping[str, int], names: Sequence[str], default: int = DEPTH) -> dict[str, int]:
    """Return each leg's depth by its name.

    Raises
    ------
    InputError
        For a depth below 1, or the depth of an unknown leg.
    """
    depths = dict(depth) if isinstance(depth, Mapping) else dict.fromkeys(names, depth)
    unknown = next((name for name in depths if name not in names), None)
    if unknown is not None:
        raise InputError(f"there is a depth for the leg {unknown!r}, but the legs are {', '.join(names)}")
    return {name: whole_number(depths.get(name, default), "depth") for name in names}


def _depths(depths: Mapping[str, int]) -> str:
    """Return depths for a message: one number if they are equal."""
    if len(set(depths.values())) == 1:
        return str(next(iter(depths.values())))
    return ", ".join(f"{name}={depth}" for name, depth in depths.items())


class _Encodings:
    """Encodings of one batch of queries, shared by all legs with the same encoder."""

    def __init__(self, legs: Sequence[Retriever], queries: Sequence[str], trace: Trace) -> None:
        self.queries, self._trace = queries, trace
        self._locks = {self._key(leg): threading.Lock() for leg in legs}
        self._encoded: dict[tuple[type, int], Any] = {}

    def of(self, leg: Retriever) -> Any:
        if leg.encoder is None:
            return leg.encode(self.queries)
        key = self._key(leg)
        with self._locks[key]:
            if key not in self._encoded:
                with self._trace.stage(f"{leg.name}.encode"):
                    self._encoded[key] = leg.encode(self.queries)
            return self._encoded[key]

    @staticmethod
    def _key(leg: Retriever) -> tuple[type, int]:
        return type(leg), id(leg.encoder)
