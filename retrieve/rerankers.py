"""Rerankers: the second stage, which reads each candidate beside the query and orders them anew."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol, overload

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from indexing.errors import InputError
from indexing.hits import Hits, Ranking
from retrieve.fusion.min_max import min_max

if TYPE_CHECKING:
    from retrieve.encoders import CrossEncoder

FIRST_STAGE = "first-stage"
"""The provenance under which reranked hits keep the rank and score they came with."""

CANDIDATES_AT_ONCE = 8192
"""How many candidates' texts are held at a time, whatever the number of queries."""


class Contents(Protocol):
    """Where a reranker reads the candidates' texts: a `DocumentStore`, for one."""

    def contents(self, ids: Sequence[str]) -> Sequence[str]:
        """Give the text of each id, in order."""


class CandidateReranker(ABC):
    """What all rerankers share.

    Parameters
    ----------
    weight
        The part of the first stage's score that is kept, 0 (none) to 1. With ``weight`` w the new score is
        ``(1 - w) * min_max(reranker) + w * min_max(first stage)``, both normalised over a query's candidates;
        at 0 it is the reranker's own score.
    """

    def __init__(self, *, weight: float = 0.0) -> None:
        if not 0 <= weight <= 1:
            raise InputError(f"weight must be between 0 and 1, not {weight}")
        self.weight = weight

    @overload
    def rerank(
        self,
        queries: str,
        hits: Ranking,
        documents: Contents | Mapping[str, str],
        *,
        depth: int | None = None,
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
        show_progress: bool = False,
    ) -> Hits: ...
    def rerank(
        self,
        queries: str | Sequence[str],
        hits: Ranking | Hits,
        documents: Contents | Mapping[str, str],
        *,
        depth: int | None = None,
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

        Returns
        -------
        Ranking or Hits
            The same documents with new scores. Provenance is kept, and ``first-stage`` added.

        Raises
        ------
        InputError
            When the numbers of queries and of rankings differ, or a text is missing.
        """
        if depth is not None and depth < 1:
            raise InputError(f"depth must be at least 1, not {depth}")
        if isinstance(queries, str):
            if not isinstance(hits, Ranking):
                raise InputError("one query goes with one Ranking; for Hits give a list of queries")
            return self._rerank([queries], hits.as_hits(), documents, depth, show_progress)[0]
        if not isinstance(hits, Hits) or len(queries) != len(hits):
            raise InputError(
                f"{len(queries)} queries go with Hits for as many, not {type(hits).__name__} of {len(hits)}"
            )
        return self._rerank(queries, hits, documents, depth, show_progress)

    @abstractmethod
    def _scores(self, queries: Sequence[str], hits: Hits, texts: Sequence[str], places: NDArray[np.int64]) -> NDArray:
        """Score all hits, float32 [hits]; the text of hit ``i`` is ``texts[places[i]]``."""

    def _rerank(
        self,
        queries: Sequence[str],
        hits: Hits,
        documents: Contents | Mapping[str, str],
        depth: int | None,
        show_progress: bool,
    ) -> Hits:
        head = hits if depth is None else hits.top(depth)
        scores = np.empty(len(head.codes), np.float64)
        with tqdm(total=len(scores), desc="reranking", unit="pair", disable=not show_progress) as bar:
            for start, stop in _blocks(head.offsets):
                block = head.part(start, stop)
                codes, places = np.unique(block.codes, return_inverse=True)
                texts = _texts(documents, head.ids[codes].tolist())
                scores[head.offsets[start] : head.offsets[stop]] = self._scores(
                    queries[start:stop], block, texts, places
                )
                bar.update(len(block.codes))
        if self.weight:
            before, now = min_max(head.scores, head.offsets), min_max(scores, head.offsets)
            scores = (1 - self.weight) * now + self.weight * before
        return Hits.ranked(
            len(hits),
            hits.rows,
            hits.codes,
            scores if head is hits else _with_tail(hits, head, scores),
            hits.ids,
            legs={**hits.legs, **hits.as_leg(FIRST_STAGE).legs},
        )


class Reranker(CandidateReranker):
    """Reranks with a cross-encoder, which reads query and document together (Nogueira and Cho 2019).

    All pairs of a block of queries are scored in one pass, batched by length.
    """

    def __init__(self, model: "CrossEncoder", *, weight: float = 0.0) -> None:
        super().__init__(weight=weight)
        self.model = model

    def _scores(self, queries: Sequence[str], hits: Hits, texts: Sequence[str], places: NDArray[np.int64]) -> NDArray:
        pairs = [(queries[row], texts[place]) for row, place in zip(hits.rows.tolist(), places.tolist(), strict=True)]
        scores = self.model.predict(pairs)
        if scores.ndim > 1:
            raise InputError(f"a reranker needs a cross-encoder with one label; this one has {scores.shape[1]}")
        return scores


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


def _with_tail(hits: Hits, head: Hits, scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """Give the hits below the head scores that fall from its lowest, by as much as their own fall, less 1."""
    complete = hits.scores.astype(np.float64)
    boundary, lowest = np.zeros(len(hits)), np.zeros(len(hits))
    answered = np.flatnonzero(head.counts)
    boundary[answered] = head.scores[head.offsets[answered + 1] - 1]
    lowest[answered] = np.minimum.reduceat(scores, head.offsets[answered]) if len(answered) else 0
    complete += (lowest - boundary - 1)[hits.rows]
    # The head's hits are the first of each query's.
    complete[np.arange(len(scores)) + np.repeat(hits.offsets[:-1] - head.offsets[:-1], head.counts)] = scores
    return complete
