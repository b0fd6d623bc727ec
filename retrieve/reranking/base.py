"""Base class of rerankers, which reads candidates within a budget and reorders the hits."""

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any, Protocol, get_args, overload

import numpy as np
from numpy.typing import NDArray

from indexing.errors import InputError
from indexing.hits import Hits, LegColumns, Ranking
from indexing.inputs import number, shown, texts, whole_number
from indexing.plurals import counted
from indexing.progress import progress
from retrieve.fusion.normalizers import min_max
from retrieve.reranking.budget import Budget, CandidateBatches, OutOfTime
from retrieve.reranking.passages import Passages, Windows, reduce_passages
from retrieve.trace import Trace

if TYPE_CHECKING:
    from retrieve.encoders.base import Encoder

FIRST_STAGE = "first-stage"
"""Provenance name of a reranked hit's rank and score before reranking."""

RERANKER = "reranker"
"""Provenance name of the reranker's own rank and score, without the first stage's part."""

MAX_CANDIDATES = 8192
"""Maximum number of candidates whose texts are in memory at a time, for any number of queries."""

CHARS_PER_TOKEN = 5
"""Rough estimate: text beyond `max_length` tokens costs nothing."""


class Contents(Protocol):
    """Source of the candidates' texts, such as a `DocumentStore`."""

    def contents(self, ids: Sequence[str]) -> Sequence[str]:
        """Return the text of each id, in order."""


class CandidateReranker(ABC):
    """Base class of rerankers: reads candidates and their passages within a budget, and reorders the hits.

    Parameters
    ----------
    weight
        Weight of the first stage's score, from 0 to 1. With weight w the new score is
        ``(1 - w) * min_max(reranker) + w * min_max(first stage)``, both normalised over a query's candidates that
        were read; at 0 it is the reranker's own score.
    passages
        Score of a document that is longer than the model reads: that of its ``"first"`` window, as the model truncates
        it; the ``"max"`` of all windows' scores; or their ``"mean"``.
    overlap
        Number of tokens that a window shares with the one before, at most half a window.
    encoder
        The model, whose tokenizer cuts passages; None for a reranker without one, which reads documents whole.
    """

    def __init__(
        self,
        *,
        weight: float = 0.0,
        passages: Passages = "first",
        overlap: int = 32,
        encoder: "Encoder | None" = None,
    ) -> None:
        weight = number(weight, "weight", least=0, most=1)
        if passages not in get_args(Passages):
            raise InputError(f"passages must be one of {', '.join(get_args(Passages))}, not {passages!r}")
        self.weight, self.passages, self.overlap, self.encoder = weight, passages, overlap, encoder
        if passages != "first" and encoder is None:
            raise InputError(f"{type(self).__name__} reads documents whole: passages must be 'first'")
        self._windows = None if passages == "first" or encoder is None else Windows(encoder, overlap=overlap)
        self._rate: float | None = None

    @overload
    def rerank(
        self,
        queries: str,
        hits: Ranking,
        documents: Contents | Mapping[str, str],
        *,
        depth: int | None = None,
        budget: Budget | None = None,
        trace: Trace | None = None,
        show_progress: bool = False,
    ) -> Ranking: ...
    @overload
    def rerank(
        self,
        queries: Sequence[str],
        hits: Hits,
        documents: Contents | Mapping[str, str],
        *,
        depth: int | None = None,
        budget: Budget | None = None,
        trace: Trace | None = None,
        show_progress: bool = False,
    ) -> Hits: ...
    def rerank(
        self,
        queries: str | Sequence[str],
        hits: Ranking | Hits,
        documents: Contents | Mapping[str, str],
        *,
        depth: int | None = None,
        budget: Budget | None = None,
        trace: Trace | None = None,
        show_progress: bool = False,
    ) -> Ranking | Hits:
        """Rerank each query's hits by their texts.

        Parameters
        ----------
        queries, hits
            One query with its `Ranking`, or several with their `Hits`.
        documents
            The texts: an object with ``contents(ids)``, or a mapping of doc_id to text.
        depth
            Number of each query's hits to rerank (default: all). The others keep their order below.
        budget
            Limit of the work. Unread candidates keep their order below those that were read.
        trace
            Records the number of candidates read and the time.

        Returns
        -------
        Ranking or Hits
            The same documents with new scores. The provenance gains ``first-stage`` (the rank and score before) and
            ``reranker`` (the reranker's own, for the hits that it read).

        Raises
        ------
        InputError
            When the numbers of queries and rankings differ, or a text is missing.
        """
        depth = None if depth is None else whole_number(depth, "depth")
        budget, trace = budget or Budget(), trace or Trace()
        if isinstance(queries, str):
            if not isinstance(hits, Ranking):
                raise InputError("one query goes with one Ranking; for Hits pass a list of queries")
            return self._rerank([queries], hits.as_hits(), documents, depth, budget, trace, show_progress)[0]
        queries = texts(queries, "queries")
        if not isinstance(hits, Hits) or len(queries) != len(hits):
            what = f"of {len(hits)}" if isinstance(hits, Hits | Ranking) else shown(hits)
            raise InputError(
                f"{counted(len(queries), 'query')} need Hits for as many, not {type(hits).__name__} {what}"
            )
        return self._rerank(queries, hits, documents, depth, budget, trace, show_progress)

    def weight_for(self, documents: Contents | Mapping[str, str]) -> float:
        """Return the weight of the first stage's score for hits of this collection."""
        return self.weight

    @abstractmethod
    def _scores(
        self, queries: Sequence[str], rows: NDArray[np.int64], texts: Sequence[str], places: NDArray[np.int64]
    ) -> NDArray:
        """Score pairs, float32 [pairs]: pair ``i`` is of ``queries[rows[i]]`` and ``texts[places[i]]``.

        `rows` ascend. Some queries or texts may be in no pair.
        """

    def _scores_by(
        self,
        deadline: float | None,
        queries: Sequence[str],
        rows: NDArray[np.int64],
        texts: Sequence[str],
        places: NDArray[np.int64],
    ) -> NDArray:
        """Score pairs as `_scores`; a reranker that waits for a server raises `OutOfTime` at the deadline.

        Parameters
        ----------
        deadline
            In `time.perf_counter`'s seconds; None for no limit.
        """
        return self._scores(queries, rows, texts, places)

    def _room(self, windows: Windows, queries: Sequence[str]) -> NDArray[np.int64]:
        """Return how many tokens of a document the model reads for each query, int64 [queries]."""
        return windows.room(queries)

    def _rerank(
        self,
        queries: Sequence[str],
        hits: Hits,
        documents: Contents | Mapping[str, str],
        depth: int | None,
        budget: Budget,
        trace: Trace,
        show_progress: bool,
    ) -> Hits:
        weight = self.weight_for(documents)
        head = hits if depth is None else hits.top(depth)
        scores, read = np.zeros(len(head.codes)), np.zeros(len(head.codes), np.bool_)
        with trace.stage("reranker"):
            with progress(total=len(scores), desc="reranking", unit="pair", disable=not show_progress) as bar:
                for start, stop in _blocks(head.offsets):
                    part = slice(int(head.offsets[start]), int(head.offsets[stop]))
                    batches = self._read(
                        queries[start:stop], head.part(start, stop), documents, budget, weight, trace, bar.update
                    )
                    scores[part], read[part] = batches.scores, batches.read
                    trace.out_of_time |= batches.out_of_time
            counts = np.bincount(head.rows[read], minlength=len(hits))
            trace.scored = counts
            return self._merged(hits, hits.where(hits.ranks <= counts[hits.rows]), scores[read], weight)

    def _read(
        self,
        queries: Sequence[str],
        block: Hits,
        documents: Contents | Mapping[str, str],
        budget: Budget,
        weight: float,
        trace: Trace,
        progress: Callable[[int], object],
    ) -> CandidateBatches:
        """Score as many of a block's candidates as the budget allows."""
        deadline = None if budget.max_ms is None else time.perf_counter() + len(block) * budget.max_ms / 1000
        codes, places = np.unique(block.codes, return_inverse=True)
        texts = self._contents(documents, block.ids[codes].tolist())
        # A document or passage that is a candidate of several queries is one text.
        rows, counts = block.rows, np.ones(len(block.codes), np.int64)
        if self._windows is not None:
            sizes = self._room(self._windows, queries)[rows]
            texts, places, counts = _cut_into_windows(self._windows, texts, places, sizes)
            rows = np.repeat(rows, counts)
        candidates = np.repeat(np.arange(len(counts)), counts)
        batches = CandidateBatches(
            budget,
            block,
            counts,
            np.bincount(candidates, self._costs(queries, rows, texts, places), len(counts)).astype(np.float64),
            rate=self._rate,
            deadline=deadline,
            weight=weight,
        )
        while len(batch := batches.next()):
            trace.check()
            start = time.perf_counter()
            pairs = np.arange(len(candidates))
            if len(batch) < len(counts):
                pairs = np.flatnonzero(np.isin(candidates, batch))
            try:
                scores = self._scores_by(deadline, queries, rows[pairs], texts, places[pairs])
            except OutOfTime as reason:
                trace.notes.append(str(reason))
                batches.stop()
                break
            if self.passages != "first":
                starts = np.flatnonzero(np.diff(candidates[pairs], prepend=-1))
                scores = reduce_passages(scores, starts, self.passages)
            batches.done(batch, scores, time.perf_counter() - start)
            progress(len(batch))
        self._rate = batches.rate
        return batches

    def _contents(self, documents: Contents | Mapping[str, str], ids: Sequence[str]) -> Sequence[str]:
        """Return what `_scores` reads of each candidate: its text."""
        return _texts(documents, ids)

    def _costs(
        self, queries: Sequence[str], rows: NDArray[np.int64], texts: Sequence[str], places: NDArray[np.int64]
    ) -> NDArray[np.float64]:
        """Estimate each pair's cost to the model: the number of characters that it reads."""
        documents = np.fromiter(map(len, texts), np.float64, count=len(texts))
        if self.encoder is not None and self.encoder.max_length is not None:
            documents = np.minimum(documents, CHARS_PER_TOKEN * self.encoder.max_length)
        return documents[places] + np.fromiter(map(len, queries), np.float64, count=len(queries))[rows]

    def _merged(self, hits: Hits, read: Hits, scores: NDArray[np.float64], weight: float) -> Hits:
        """Rank the hits that were read by their new scores, and the others below in their old order."""
        own = Hits.ranked(
            len(hits),
            read.rows,
            read.codes,
            scores,
            hits.ids,
            legs={"": LegColumns(np.arange(len(scores), dtype=np.int32), scores)},
        )
        ranks, raw = np.zeros(len(hits.codes), np.int32), np.full(len(hits.codes), np.nan)
        places = np.arange(len(scores)) + np.repeat(hits.offsets[:-1] - read.offsets[:-1], read.counts)
        ranks[places[own.legs[""].ranks]], raw[places] = own.ranks, scores
        if weight:
            before, now = min_max(read.scores, read.offsets), min_max(scores, read.offsets)
            scores = (1 - weight) * now + weight * before
        return Hits.ranked(
            len(hits),
            hits.rows,
            hits.codes,
            scores if len(scores) == len(hits.codes) else _with_tail(hits, read, scores, places),
            hits.ids,
            legs={**hits.legs, **hits.as_leg(FIRST_STAGE).legs, RERANKER: LegColumns(ranks, raw)},
        )


def check_reranker(reranker: Any) -> Any:
    """Return a reranker; anything without a method ``rerank`` raises an InputError."""
    if isinstance(reranker, type) or not callable(getattr(reranker, "rerank", None)):
        raise InputError(f"reranker must be a loaded reranker, not {shown(reranker)}: Reranker(CrossEncoder(MODEL))")
    return reranker


def reweighted(hits: Hits, weight: float) -> Hits:
    """Reorder reranked hits by another weight of the first stage, without reading texts again.

    Parameters
    ----------
    hits
        The result of ``rerank``, with every hit read.
    weight
        See `CandidateReranker`.

    Raises
    ------
    InputError
        For hits that were not reranked, or not all read.
    """
    own, first = hits.legs.get(RERANKER), hits.legs.get(FIRST_STAGE)
    if own is None or first is None or not own.ranks.all():
        raise InputError("cannot change the weight: a reranker must have read all of the hits")
    scores = own.scores
    if weight:
        now, before = min_max(own.scores, hits.offsets), min_max(first.scores, hits.offsets)
        scores = (1 - weight) * now + weight * before
    return Hits.ranked(len(hits), hits.rows, hits.codes, scores, hits.ids, legs=hits.legs)


def _cut_into_windows(
    windows: Windows, texts: Sequence[str], places: NDArray[np.int64], sizes: NDArray[np.int64]
) -> tuple[list[str], NDArray[np.int64], NDArray[np.int64]]:
    """Cut each candidate's text, ``texts[places[i]]``, into windows of at most ``sizes[i]`` tokens.

    Returns
    -------
    texts
        The different windows.
    places
        int64 [pairs], each pair's window; the pairs of a candidate are consecutive.
    counts
        int64 [candidates], each candidate's number of pairs.
    """
    spans = windows.spans(texts)
    numbers: dict[str, int] = {}
    cuts: dict[tuple[int, int], list[int]] = {}
    by_candidate = []
    for key in zip(places.tolist(), sizes.tolist(), strict=True):
        if key not in cuts:
            place, size = key
            cuts[key] = [
                numbers.setdefault(text, len(numbers)) for text in windows.cut(texts[place], spans[place], size)
            ]
        by_candidate.append(cuts[key])
    counts = np.fromiter(map(len, by_candidate), np.int64, count=len(by_candidate))
    return list(numbers), np.fromiter(chain.from_iterable(by_candidate), np.int64, count=int(counts.sum())), counts


def _blocks(offsets: NDArray[np.int64]) -> Iterator[tuple[int, int]]:
    """Yield blocks of at least one query and at most `MAX_CANDIDATES` candidates, as (start, stop) of queries."""
    start, queries = 0, len(offsets) - 1
    while start < queries:
        stop = int(np.searchsorted(offsets, offsets[start] + MAX_CANDIDATES, side="right")) - 1
        stop = min(max(stop, start + 1), queries)
        yield start, stop
        start = stop


def _texts(documents: Contents | Mapping[str, str], ids: Sequence[str]) -> Sequence[str]:
    if not isinstance(documents, Mapping):
        return documents.contents(ids)
    if (missing := next((doc_id for doc_id in ids if doc_id not in documents), None)) is not None:
        raise InputError(f"there is no text for the document {missing!r}")
    return [documents[doc_id] for doc_id in ids]


def _with_tail(hits: Hits, read: Hits, scores: NDArray[np.float64], places: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the new scores, and for unread hits scores below: by 1 plus their old distance from the last hit read.

    The hits that were read are the first of each query, at `places` among all hits.
    """
    complete = hits.scores.astype(np.float64)
    shift = np.zeros(len(hits))
    answered = np.flatnonzero(read.counts)
    if len(answered):
        boundary = read.scores[read.offsets[answered + 1] - 1]
        shift[answered] = np.minimum.reduceat(scores, read.offsets[answered]) - boundary - 1
    complete += shift[hits.rows]
    complete[places] = scores
    return complete
