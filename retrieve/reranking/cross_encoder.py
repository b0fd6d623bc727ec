"""Rerankers: the second stage, which reads each candidate beside the query and orders them anew."""

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Protocol, get_args, overload

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from indexing.errors import InputError
from indexing.hits import Hits, LegColumns, Ranking
from retrieve.fusion.normalizers.min_max import min_max
from retrieve.reranking.budget import Budget, Portions
from retrieve.reranking.passages import Passages, Windows, reduce_passages
from retrieve.trace import Trace

if TYPE_CHECKING:
    from retrieve.encoders import CrossEncoder
    from retrieve.encoders.base import Encoder

FIRST_STAGE = "first-stage"
"""The provenance under which reranked hits keep the rank and score they came with."""

RERANKER = "reranker"
"""The provenance under which they have the reranker's own rank and score, before any of the first stage's is added."""

CANDIDATES_AT_ONCE = 8192
"""How many candidates' texts are held at a time, whatever the number of queries."""

CHARACTERS = 5
"""Of a token, roughly: what lies beyond `max_length` tokens costs nothing."""


class Contents(Protocol):
    """Where a reranker reads the candidates' texts: a `DocumentStore`, for one."""

    def contents(self, ids: Sequence[str]) -> Sequence[str]:
        """Give the text of each id, in order."""


class CandidateReranker(ABC):
    """What all rerankers share: which candidates are read, in what passages, and what becomes of the scores.

    Parameters
    ----------
    weight
        The part of the first stage's score that is kept, 0 (none) to 1. With ``weight`` w the new score is
        ``(1 - w) * min_max(reranker) + w * min_max(first stage)``, both normalised over a query's candidates that
        were read; at 0 it is the reranker's own score.
    passages
        What stands for a document that is longer than the model reads: its first window, as the model cuts it;
        the ``"max"`` of all windows' scores; or their ``"mean"``.
    overlap
        How many tokens a window shares with the one before, at most half a window.
    """

    def __init__(self, *, weight: float = 0.0, passages: Passages = "first", overlap: int = 32) -> None:
        if not 0 <= weight <= 1:
            raise InputError(f"weight must be between 0 and 1, not {weight}")
        if passages not in get_args(Passages):
            raise InputError(f"passages must be one of {', '.join(get_args(Passages))}, not {passages!r}")
        self.weight, self.passages, self.overlap = weight, passages, overlap
        self._windows = None if passages == "first" else self._make_windows()
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
        """Order each query's hits by what this reranker makes of their texts.

        Parameters
        ----------
        queries, hits
            One query with its `Ranking`, or several with their `Hits`.
        documents
            Where the texts are: an object with ``contents(ids)``, or a mapping of doc_id to text.
        depth
            How many of each query's hits are reranked (all by default). The others keep their order, below.
        budget
            What it may cost. Whatever is not read keeps its order, below what is.
        trace
            Is told how many candidates were read, and how long it took.

        Returns
        -------
        Ranking or Hits
            The same documents with new scores. Provenance is kept; ``first-stage`` (the rank and score before) and
            ``reranker`` (the reranker's own, of the hits that it read) are added.

        Raises
        ------
        InputError
            When the numbers of queries and of rankings differ, or a text is missing.
        """
        if depth is not None and depth < 1:
            raise InputError(f"depth must be at least 1, not {depth}")
        budget, trace = budget or Budget(), trace or Trace()
        if isinstance(queries, str):
            if not isinstance(hits, Ranking):
                raise InputError("one query goes with one Ranking; for Hits give a list of queries")
            return self._rerank([queries], hits.as_hits(), documents, depth, budget, trace, show_progress)[0]
        if not isinstance(hits, Hits) or len(queries) != len(hits):
            raise InputError(
                f"{len(queries)} queries go with Hits for as many, not {type(hits).__name__} of {len(hits)}"
            )
        return self._rerank(queries, hits, documents, depth, budget, trace, show_progress)

    @abstractmethod
    def _scores(
        self, queries: Sequence[str], rows: NDArray[np.int64], texts: Sequence[str], places: NDArray[np.int64]
    ) -> NDArray:
        """Score pairs, float32 [pairs]: pair ``i`` is of ``queries[rows[i]]`` and ``texts[places[i]]``.

        `rows` ascend. Not every query or text need be in a pair.
        """

    @property
    def _encoder(self) -> "Encoder | None":
        """The model, by which long documents are cut into passages."""
        return None

    def _room(self, windows: Windows, queries: Sequence[str]) -> NDArray[np.int64]:
        """Say how many tokens of a document the model reads for each query, int64 [queries]."""
        return windows.room(queries)

    def _make_windows(self) -> Windows:
        encoder = self._encoder
        if encoder is None:
            raise InputError(f"{type(self).__name__} reads documents whole: passages must be 'first'")
        return Windows(encoder, overlap=self.overlap)

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
        head = hits if depth is None else hits.top(depth)
        scores, read = np.zeros(len(head.codes)), np.zeros(len(head.codes), np.bool_)
        with trace.stage("reranker"):
            with tqdm(total=len(scores), desc="reranking", unit="pair", disable=not show_progress) as bar:
                for start, stop in _blocks(head.offsets):
                    part = slice(int(head.offsets[start]), int(head.offsets[stop]))
                    portions = self._read(
                        queries[start:stop], head.part(start, stop), documents, budget, trace, bar.update
                    )
                    scores[part], read[part] = portions.scores, portions.read
                    trace.out_of_time |= portions.out_of_time
            counts = np.bincount(head.rows[read], minlength=len(hits))
            trace.scored = counts
            return self._merged(hits, hits.where(hits.ranks <= counts[hits.rows]), scores[read])

    def _read(
        self,
        queries: Sequence[str],
        block: Hits,
        documents: Contents | Mapping[str, str],
        budget: Budget,
        trace: Trace,
        progress: Callable[[int], object],
    ) -> Portions:
        """Score as many of a block's candidates as the budget allows."""
        deadline = None if budget.max_ms is None else time.perf_counter() + len(block) * budget.max_ms / 1000
        codes, places = np.unique(block.codes, return_inverse=True)
        texts = _texts(documents, block.ids[codes].tolist())
        # Candidates that are one document or passage for several queries are one text.
        rows, counts = block.rows, np.ones(len(block.codes), np.int64)
        if self._windows is not None:
            texts, places, counts = _in_windows(self._windows, texts, places, self._room(self._windows, queries)[rows])
            rows = np.repeat(rows, counts)
        owners = np.repeat(np.arange(len(counts)), counts)
        portions = Portions(
            budget,
            block,
            counts,
            np.bincount(owners, self._costs(queries, rows, texts, places), len(counts)).astype(np.float64),
            rate=self._rate,
            deadline=deadline,
            weight=self.weight,
        )
        while len(wave := portions.next()):
            trace.check()
            begun = time.perf_counter()
            pairs = np.flatnonzero(np.isin(owners, wave)) if len(wave) < len(counts) else np.arange(len(owners))
            scores = self._scores(queries, rows[pairs], texts, places[pairs])
            if self.passages != "first":
                scores = reduce_passages(scores, np.flatnonzero(np.diff(owners[pairs], prepend=-1)), self.passages)
            portions.done(wave, scores, time.perf_counter() - begun)
            progress(len(wave))
        self._rate = portions.rate
        return portions

    def _costs(
        self, queries: Sequence[str], rows: NDArray[np.int64], texts: Sequence[str], places: NDArray[np.int64]
    ) -> NDArray[np.float64]:
        """Guess what each pair costs the model: its characters, as far as they are read."""
        encoder = self._encoder
        longest = encoder.max_length if encoder is not None else None
        documents = np.fromiter(map(len, texts), np.float64, count=len(texts))
        if longest is not None:
            documents = np.minimum(documents, CHARACTERS * longest)
        return documents[places] + np.fromiter(map(len, queries), np.float64, count=len(queries))[rows]

    def _merged(self, hits: Hits, read: Hits, scores: NDArray[np.float64]) -> Hits:
        """Rank the hits that were read by their new scores, and the others below them as they were."""
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
        if self.weight:
            before, now = min_max(read.scores, read.offsets), min_max(scores, read.offsets)
            scores = (1 - self.weight) * now + self.weight * before
        return Hits.ranked(
            len(hits),
            hits.rows,
            hits.codes,
            scores if len(scores) == len(hits.codes) else _with_tail(hits, read, scores, places),
            hits.ids,
            legs={**hits.legs, **hits.as_leg(FIRST_STAGE).legs, RERANKER: LegColumns(ranks, raw)},
        )


class Reranker(CandidateReranker):
    """Reranks with a cross-encoder, which reads query and document together (Nogueira and Cho 2019).

    All pairs of a block of queries are scored in one pass, batched by length, each different pair of texts once.

    Parameters
    ----------
    model
        A `CrossEncoder` with one label.
    weight, passages, overlap
        As for every reranker.
    """

    def __init__(
        self, model: "CrossEncoder", *, weight: float = 0.0, passages: Passages = "first", overlap: int = 32
    ) -> None:
        self.model = model
        super().__init__(weight=weight, passages=passages, overlap=overlap)

    @property
    def _encoder(self) -> "Encoder | None":
        return self.model

    def _scores(
        self, queries: Sequence[str], rows: NDArray[np.int64], texts: Sequence[str], places: NDArray[np.int64]
    ) -> NDArray:
        pairs = [(queries[row], texts[place]) for row, place in zip(rows.tolist(), places.tolist(), strict=True)]
        scores = self.model.predict(pairs)
        if scores.ndim > 1:
            raise InputError(f"a reranker needs a cross-encoder with one label; this one has {scores.shape[1]}")
        return scores


def reweighted(hits: Hits, weight: float) -> Hits:
    """Order reranked hits as a reranker with another `weight` would have, without reading anything again.

    Parameters
    ----------
    hits
        What ``rerank`` gave, every hit read.
    weight
        As in `CandidateReranker`.

    Raises
    ------
    InputError
        For hits that were not reranked, or of which some were not read.
    """
    own, first = hits.legs.get(RERANKER), hits.legs.get(FIRST_STAGE)
    if own is None or first is None or not own.ranks.all():
        raise InputError("only hits that a reranker has read, all of them, can be given another weight")
    scores = own.scores
    if weight:
        now, before = min_max(own.scores, hits.offsets), min_max(first.scores, hits.offsets)
        scores = (1 - weight) * now + weight * before
    return Hits.ranked(len(hits), hits.rows, hits.codes, scores, hits.ids, legs=hits.legs)


def _in_windows(
    windows: Windows, texts: Sequence[str], places: NDArray[np.int64], sizes: NDArray[np.int64]
) -> tuple[list[str], NDArray[np.int64], NDArray[np.int64]]:
    """Cut each candidate's text into windows of its size.

    Returns
    -------
    texts
        The different windows.
    places
        int64 [pairs], which of them each pair reads; a candidate's pairs one after another.
    counts
        int64 [candidates], how many pairs each has.
    """
    spans = windows.spans(texts)
    numbers: dict[str, int] = {}
    cuts: dict[tuple[int, int], list[int]] = {}
    found = []
    for key in zip(places.tolist(), sizes.tolist(), strict=True):
        if key not in cuts:
            place, size = key
            cuts[key] = [
                numbers.setdefault(text, len(numbers)) for text in windows.cut(texts[place], spans[place], size)
            ]
        found.append(cuts[key])
    counts = np.fromiter(map(len, found), np.int64, count=len(found))
    return list(numbers), np.fromiter(chain.from_iterable(found), np.int64, count=int(counts.sum())), counts


def _blocks(offsets: NDArray[np.int64]) -> Iterator[tuple[int, int]]:
    """Cut the queries into runs of at most `CANDIDATES_AT_ONCE` candidates, a query at least."""
    start, queries = 0, len(offsets) - 1
    while start < queries:
        stop = int(np.searchsorted(offsets, offsets[start] + CANDIDATES_AT_ONCE, side="right")) - 1
        stop = min(max(stop, start + 1), queries)
        yield start, stop
        start = stop


def _texts(documents: Contents | Mapping[str, str], ids: Sequence[str]) -> Sequence[str]:
    if not isinstance(documents, Mapping):
        return documents.contents(ids)
    missing = next((doc_id for doc_id in ids if doc_id not in documents), None)
    if missing is not None:
        raise InputError(f"there is no text for the document {missing!r}")
    return [documents[doc_id] for doc_id in ids]


def _with_tail(hits: Hits, read: Hits, scores: NDArray[np.float64], places: NDArray[np.int64]) -> NDArray[np.float64]:
    """Give the hits that were not read scores that fall from the lowest of the others, by their own fall, less 1.

    Those that were read are the first of each query's, at `places` among the hits.
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
