"""Hits: the result of every index, retriever, fusion and reranker, in columns for a batch of queries.

Ids stay integer codes into one shared table until they are read: a run of ten thousand queries with a thousand hits
each is three arrays, not ten million Python strings.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from indexing.errors import InputError
from indexing.plurals import counted

StringArray = NDArray[np.object_]
"""A one-dimensional array of `str` objects: indexing it with an array of codes is one step and shares the strings.

(NumPy's own `StringDType` would be smaller, but sorting it crashes the process in NumPy 2.4.)
"""

Run = dict[str, dict[str, float]]
"""A run in the form that evaluation tools use: ``{query_id: {doc_id: score}}``."""


def string_array(strings: Sequence[str] | StringArray) -> StringArray:
    """Convert `strings` to a `StringArray`; one that already is a `StringArray` is returned without a copy."""
    if isinstance(strings, np.ndarray) and strings.dtype == object:
        return strings
    array = np.empty(len(strings), dtype=object)
    array[:] = strings
    return array


def encode_strings(strings: Sequence[str]) -> tuple[StringArray, NDArray[np.int64]]:
    """Return the distinct strings in order of first occurrence, and each string's position among them (int64 [n])."""
    positions = {string: position for position, string in enumerate(dict.fromkeys(strings))}
    codes = np.fromiter(map(positions.__getitem__, strings), np.int64, count=len(strings))
    return string_array(list(positions)), codes


@dataclass(frozen=True, slots=True)
class LegHit:
    """A hit's place in one leg: its rank there, from 1, and the leg's own score."""

    rank: int
    score: float


@dataclass(frozen=True, slots=True)
class Hit:
    """One retrieved document: `rank` counts from 1; `legs` holds its rank and score in each leg that returned it."""

    doc_id: str
    score: float
    rank: int
    legs: Mapping[str, LegHit] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class LegColumns:
    """One leg's ranks and scores, aligned with a `Hits`: rank 0 and score NaN where the leg did not return the hit."""

    ranks: NDArray[np.int32]
    scores: NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Hits:
    """Ranked hits for a batch of queries.

    Query ``i`` owns the slice ``offsets[i]:offsets[i + 1]`` of `codes` and `scores`. Within it hits are ordered by
    score descending, then doc_id ascending, and no document occurs twice.

    Parameters
    ----------
    offsets
        int64 [queries + 1].
    codes
        int64 [hits], each a position in `ids`.
    scores
        [hits], float32 from indexes and models, float64 from fusion.
    ids
        The table of doc_ids that `codes` point into; it may hold ids without a hit.
    legs
        Provenance: for each named leg its ranks and scores, aligned with `codes`.
    rare
        bool [hits], the hits that contain the rare words which decide their query (`Index.rare_hits`); None where
        they were not looked for.
    """

    offsets: NDArray[np.int64]
    codes: NDArray[np.int64]
    scores: NDArray[Any]
    ids: StringArray
    legs: Mapping[str, LegColumns] = field(default_factory=dict)
    rare: NDArray[np.bool_] | None = None

    @classmethod
    def ranked(
        cls,
        queries: int,
        rows: NDArray[np.integer],
        codes: NDArray[np.integer],
        scores: NDArray[np.floating],
        ids: StringArray,
        k: int | None = None,
        legs: Mapping[str, LegColumns] | None = None,
        rare: NDArray[np.bool_] | None = None,
    ) -> "Hits":
        """Sort unordered (query row, code, score) triples into `Hits`, at most `k` per query.

        Every ranking of this project is ordered here: score descending, then doc_id ascending.

        Raises
        ------
        InputError
            When a score is NaN.
        """
        if np.isnan(scores).any():
            first = int(np.flatnonzero(np.isnan(scores))[0])
            raise InputError(
                f"the score of document {str(ids[codes[first]])!r} for query number {int(rows[first])} is NaN: "
                "check the model or the vectors it came from"
            )
        order = np.lexsort((-scores, rows))
        tied = _tied(rows[order], scores[order])
        if tied.any():
            tie_break = np.zeros(len(order), dtype=np.int64)
            members = order[tied]
            tie_break[members] = _alphabetical_ranks(ids, codes[members])
            order = np.lexsort((tie_break, -scores, rows))
        if k is not None:
            order = order[_positions_in_groups(np.bincount(rows, minlength=queries)) < k]
        counts = np.bincount(rows[order], minlength=queries)
        return cls(
            offsets=np.concatenate(([0], np.cumsum(counts))).astype(np.int64),
            codes=codes[order].astype(np.int64, copy=False),
            scores=scores[order],
            ids=ids,
            legs={name: LegColumns(leg.ranks[order], leg.scores[order]) for name, leg in (legs or {}).items()},
            rare=None if rare is None else rare[order],
        )

    @classmethod
    def from_run(cls, run: Mapping[str, Mapping[str, float]], queries: Sequence[str]) -> "Hits":
        """Convert a run; row ``i`` answers ``queries[i]``, and a query that the run lacks gets no hits."""
        rankings = [run.get(query_id, {}) for query_id in queries]
        names = [doc_id for ranking in rankings for doc_id in ranking]
        scores = np.fromiter((score for ranking in rankings for score in ranking.values()), np.float64, len(names))
        rows = np.repeat(np.arange(len(rankings)), [len(ranking) for ranking in rankings])
        ids, codes = encode_strings(names)
        return cls.ranked(len(rankings), rows, codes, scores, ids)

    @classmethod
    def empty(cls, queries: int) -> "Hits":
        """Return `Hits` without any hit for this number of queries."""
        none = np.zeros(0, dtype=np.int64)
        return cls(np.zeros(queries + 1, np.int64), none, none.astype(np.float32), string_array([]))

    @classmethod
    def concatenate(cls, parts: "Sequence[Hits]") -> "Hits":
        """Concatenate the hits of consecutive batches of queries; all must have the same legs."""
        if not parts:
            return cls.empty(0)
        ids, codes = align(parts)
        return cls(
            offsets=np.concatenate(([0], np.cumsum(np.concatenate([hits.counts for hits in parts])))).astype(np.int64),
            codes=np.concatenate(codes),
            scores=np.concatenate([hits.scores for hits in parts]),
            ids=ids,
            legs={
                name: LegColumns(
                    np.concatenate([hits.legs[name].ranks for hits in parts]),
                    np.concatenate([hits.legs[name].scores for hits in parts]),
                )
                for name in parts[0].legs
            },
            rare=_concatenated_marks(parts),
        )

    def to_run(self, queries: Sequence[str]) -> Run:
        """Convert to ``{query_id: {doc_id: score}}``; ``queries[i]`` is the id of row ``i``."""
        names, scores = self.doc_ids, self.scores.tolist()
        bounds = self.offsets.tolist()
        return {
            query_id: dict(zip(names[start:stop], scores[start:stop], strict=True))
            for query_id, (start, stop) in zip(queries, pairwise(bounds), strict=True)
        }

    @property
    def doc_ids(self) -> list[str]:
        """The doc_ids of all hits, query after query."""
        return self.ids[self.codes].tolist()

    @property
    def counts(self) -> NDArray[np.int64]:
        """Number of hits of each query, int64 [queries]."""
        return np.diff(self.offsets)

    @property
    def rows(self) -> NDArray[np.int64]:
        """Row of the query that each hit answers, int64 [hits]."""
        return np.repeat(np.arange(len(self)), self.counts)

    @property
    def ranks(self) -> NDArray[np.int64]:
        """Rank of each hit within its query, from 1, int64 [hits]."""
        return _positions_in_groups(self.counts) + 1

    def top(self, k: int) -> "Hits":
        """Keep the best `k` of each query."""
        return self if (self.counts <= k).all() else self.where(self.ranks <= k)

    def where(self, keep: NDArray[np.bool_]) -> "Hits":
        """Keep the hits where the mask (bool [hits]) is true, in their order."""
        counts = np.bincount(self.rows[keep], minlength=len(self))
        return replace(
            self,
            offsets=np.concatenate(([0], np.cumsum(counts))).astype(np.int64),
            codes=self.codes[keep],
            scores=self.scores[keep],
            legs={name: LegColumns(leg.ranks[keep], leg.scores[keep]) for name, leg in self.legs.items()},
            rare=None if self.rare is None else self.rare[keep],
        )

    def part(self, start: int, stop: int) -> "Hits":
        """Return the hits of the queries from `start` up to, not including, `stop`."""
        first, last = self.offsets[start], self.offsets[stop]
        return replace(
            self,
            offsets=self.offsets[start : stop + 1] - first,
            codes=self.codes[first:last],
            scores=self.scores[first:last],
            legs={name: LegColumns(leg.ranks[first:last], leg.scores[first:last]) for name, leg in self.legs.items()},
            rare=None if self.rare is None else self.rare[first:last],
        )

    def as_leg(self, name: str) -> "Hits":
        """Record these hits' ranks and scores as those of the leg `name`."""
        return replace(self, legs={name: LegColumns(self.ranks.astype(np.int32), self.scores.astype(np.float64))})

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, query: int) -> "Ranking":
        return Ranking(self, range(len(self))[query])

    def __iter__(self) -> Iterator["Ranking"]:
        return (self[query] for query in range(len(self)))


class Ranking(Sequence[Hit]):
    """One query's hits, best first: a view that creates each `Hit` when it is accessed."""

    __slots__ = ("_hits", "_query", "_start", "_stop")

    def __init__(self, hits: Hits, query: int) -> None:
        self._hits, self._query = hits, query
        self._start, self._stop = int(hits.offsets[query]), int(hits.offsets[query + 1])

    @property
    def doc_ids(self) -> list[str]:
        """The doc_ids, best first."""
        return self._hits.ids[self._hits.codes[self._start : self._stop]].tolist()

    @property
    def scores(self) -> NDArray[Any]:
        """The scores, best first."""
        return self._hits.scores[self._start : self._stop]

    def as_hits(self) -> Hits:
        """Return this ranking as `Hits` of one query."""
        return self._hits.part(self._query, self._query + 1)

    def __len__(self) -> int:
        return self._stop - self._start

    @overload
    def __getitem__(self, index: int) -> Hit: ...
    @overload
    def __getitem__(self, index: slice) -> list[Hit]: ...
    def __getitem__(self, index: int | slice) -> Hit | list[Hit]:
        if isinstance(index, slice):
            return [self[position] for position in range(*index.indices(len(self)))]
        position = range(len(self))[index]
        at = self._start + position
        return Hit(
            doc_id=str(self._hits.ids[self._hits.codes[at]]),
            score=float(self._hits.scores[at]),
            rank=position + 1,
            legs={
                name: LegHit(int(leg.ranks[at]), float(leg.scores[at]))
                for name, leg in self._hits.legs.items()
                if leg.ranks[at]
            },
        )

    def __repr__(self) -> str:
        shown = ", ".join(f"{hit.doc_id!r}: {hit.score:.4f}" for hit in self[:3])
        return f"Ranking({counted(len(self), 'hit')}: {shown}{', …' if len(self) > 3 else ''})"


def best_with_ties(scores: NDArray[np.float32], k: int) -> NDArray[np.int64]:
    """Return the positions of the `k` best scores with all that tie with the last, ascending."""
    if k >= len(scores):
        return np.arange(len(scores))
    last = np.partition(scores, len(scores) - k)[len(scores) - k]
    return np.flatnonzero(scores >= last)


def align(parts: Sequence[Hits]) -> tuple[StringArray, list[NDArray[np.int64]]]:
    """Map the codes of several `Hits` into one table, so that equal codes mean the same document.

    Returns
    -------
    ids
        The table.
    codes
        For each part the codes of its hits in `ids`, in its own order.
    """
    first = parts[0].ids
    if all(hits.ids is first for hits in parts):
        return first, [hits.codes for hits in parts]
    used = [np.unique(hits.codes, return_inverse=True) for hits in parts]
    names = [name for hits, (codes, _) in zip(parts, used, strict=True) for name in hits.ids[codes].tolist()]
    ids, positions = encode_strings(names)
    splits = np.cumsum([len(codes) for codes, _ in used])[:-1]
    return ids, [local[inverse] for local, (_, inverse) in zip(np.split(positions, splits), used, strict=True)]


def _concatenated_marks(parts: Sequence[Hits]) -> NDArray[np.bool_] | None:
    """Concatenate the marks of rare words; False for a part without marks, None if no part has any."""
    if all(hits.rare is None for hits in parts):
        return None
    return np.concatenate([np.zeros(len(hits.codes), np.bool_) if hits.rare is None else hits.rare for hits in parts])


def _alphabetical_ranks(ids: StringArray, codes: NDArray[np.integer]) -> NDArray[np.int64]:
    """Return each code's rank when these ids are sorted by code point."""
    distinct, inverse = np.unique(codes, return_inverse=True)
    names = ids[distinct].tolist()
    ranks = np.empty(len(names), dtype=np.int64)
    ranks[sorted(range(len(names)), key=names.__getitem__)] = np.arange(len(names))
    return ranks[inverse]


def _positions_in_groups(counts: NDArray[np.integer]) -> NDArray[np.int64]:
    """Return each member's position, from 0, within consecutive groups of these sizes."""
    starts = np.repeat(np.cumsum(counts) - counts, counts)
    return np.arange(len(starts), dtype=np.int64) - starts


def _tied(rows: NDArray[Any], scores: NDArray[Any]) -> NDArray[np.bool_]:
    """Mark the hits whose score equals a neighbour's in the same row; the columns are sorted."""
    same = (rows[1:] == rows[:-1]) & (scores[1:] == scores[:-1])
    tied = np.zeros(len(rows), dtype=np.bool_)
    tied[1:] |= same
    tied[:-1] |= same
    return tied
