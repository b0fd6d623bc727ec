"""Qrels and judged hits as coded columns: the one place where document ids meet relevance grades.

Of a query's thousand hits a handful were judged, and every measure follows from those and their ranks. So only they
are kept: after one look at each hit, the rest of the work grows with the judgements, not with the depth.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import repeat
from typing import Self

import numpy as np
from numpy.typing import NDArray

from indexing.errors import InputError
from indexing.hits import Hits, StringArray, encode_strings

HITS_AT_ONCE = 1 << 16
"""Hits looked up at a time: few enough that the columns in between stay in the processor's cache."""


@dataclass(frozen=True, eq=False)
class Qrels:
    """Relevance judgements in columns, sorted by query and grade; make them with `from_dict`.

    Query ``i`` owns the judgements ``offsets[i]:offsets[i + 1]``.

    Parameters
    ----------
    query_ids
        The judged queries, in the order they were given.
    offsets
        int64 [queries + 1].
    doc_ids
        The table of judged documents.
    codes, grades
        int64 [judgements]: positions in `doc_ids`, and grades, within a query the highest first.
    """

    query_ids: tuple[str, ...]
    offsets: NDArray[np.int64]
    doc_ids: StringArray
    codes: NDArray[np.int64]
    grades: NDArray[np.int64]

    @classmethod
    def from_dict(cls, qrels: Mapping[str, Mapping[str, int]]) -> Self:
        """Code ``{query_id: {doc_id: grade}}``.

        A query without any judgement is left out: no qrels file could hold it, and trec_eval would not know of it.

        Raises
        ------
        InputError
            When nothing is judged.
        """
        judged = {query_id: documents for query_id, documents in qrels.items() if documents}
        if not judged:
            raise InputError("the qrels hold no judgement: there is nothing to score against")
        counts = [len(documents) for documents in judged.values()]
        names = [doc_id for documents in judged.values() for doc_id in documents]
        grades = np.fromiter((g for documents in judged.values() for g in documents.values()), np.int64, len(names))
        rows = np.repeat(np.arange(len(counts)), counts)
        doc_ids, codes = encode_strings(names)
        order = np.lexsort((-grades, rows))
        offsets = np.cumsum([0, *counts], dtype=np.int64)
        return cls(tuple(judged), offsets, doc_ids, codes[order], grades[order])

    def __len__(self) -> int:
        return len(self.query_ids)

    @property
    def rows(self) -> NDArray[np.int64]:
        """The number of the query of each judgement."""
        return np.repeat(np.arange(len(self)), np.diff(self.offsets))

    @property
    def ranks(self) -> NDArray[np.int64]:
        """The rank of each judgement within its query's ideal ranking, from 1."""
        return np.arange(len(self.codes)) - np.repeat(self.offsets[:-1], np.diff(self.offsets)) + 1

    def relevant_counts(self, level: int = 1) -> NDArray[np.int64]:
        """Count the documents of grade `level` or more of each query, int64 [queries]."""
        return np.bincount(self.rows[self.grades >= level], minlength=len(self))

    def sums(self, values: NDArray[np.floating]) -> NDArray[np.float64]:
        """Add up one value a judgement over each query, float64 [queries]."""
        return _sums(self.rows, values, len(self))

    def judge(self, hits: Hits, queries: Sequence[str]) -> "Judged":
        """Find the hits that were judged; ``queries[i]`` names row ``i`` of `hits`.

        Rows of queries that are not judged are left out; judged queries that have no row have no hits.

        Raises
        ------
        InputError
            When `queries` does not name each row once.
        """
        if len(queries) != len(hits):
            raise InputError(f"{len(queries)} query ids for the hits of {len(hits)} queries")
        if len(set(queries)) < len(queries):
            twice, _ = Counter(queries).most_common(1)[0]
            raise InputError(f"the query {twice!r} stands twice among the queries")
        numbers = {query_id: number for number, query_id in enumerate(self.query_ids)}
        query_numbers = np.fromiter((numbers.get(query_id, -1) for query_id in queries), np.int64, len(queries))
        counts = np.zeros(len(self), dtype=np.int64)
        counts[query_numbers[query_numbers >= 0]] = hits.counts[query_numbers >= 0]
        positions, judgements = self._find(hits, query_numbers)
        rows = np.searchsorted(hits.offsets, positions, side="right") - 1
        return Judged(self, query_numbers[rows], positions - hits.offsets[rows] + 1, self.grades[judgements], counts)

    def _find(self, hits: Hits, query_numbers: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Give the positions of the judged hits, ascending, and the judgement of each."""
        documents = self._document_numbers(hits)
        keys, order = self._keys
        # The last place stands for all documents that no query judged: -1 finds it.
        wanted = np.zeros(len(self.doc_ids) + 1, dtype=np.bool_)
        found: list[tuple[NDArray[np.int64], NDArray[np.int64]]] = []
        for start, stop in _spans(hits.offsets, HITS_AT_ONCE):
            here = query_numbers[start:stop]
            judged = self.codes[_ranges(self.offsets[here[here >= 0]], self.offsets[here[here >= 0] + 1])]
            first, last = hits.offsets[start], hits.offsets[stop]
            numbers = documents[hits.codes[first:last]]
            wanted[judged] = True
            candidates = np.flatnonzero(wanted[numbers])
            wanted[judged] = False
            rows = here[np.searchsorted(hits.offsets[start : stop + 1] - first, candidates, side="right") - 1]
            sought = rows * len(self.doc_ids) + numbers[candidates]
            at = np.minimum(np.searchsorted(keys, sought), len(keys) - 1)
            hit = keys[at] == sought
            found.append((first + candidates[hit], order[at[hit]]))
        if not found:
            return np.zeros(0, np.int64), np.zeros(0, np.int64)
        return np.concatenate([part for part, _ in found]), np.concatenate([part for _, part in found])

    def _document_numbers(self, hits: Hits) -> NDArray[np.intp]:
        """Give each of the hits' codes its position in `doc_ids`, -1 where it has none."""
        used = np.zeros(len(hits.ids), dtype=np.bool_)
        used[hits.codes] = True
        codes = np.flatnonzero(used)
        documents = np.full(len(hits.ids), -1, dtype=np.intp)
        names = hits.ids[codes].tolist()
        documents[codes] = np.fromiter(map(self._numbers.get, names, repeat(-1)), np.intp, len(names))
        return documents

    @cached_property
    def _numbers(self) -> dict[str, int]:
        """The position of each judged document in `doc_ids`."""
        return {doc_id: number for number, doc_id in enumerate(self.doc_ids.tolist())}

    @cached_property
    def _keys(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """One number for each (query, document) pair, ascending, and the judgement of each."""
        # With the documents' count as the base no two collide.
        keys = self.rows * len(self.doc_ids) + self.codes
        order = np.argsort(keys)
        return keys[order], order


@dataclass(frozen=True, slots=True, eq=False)
class Judged:
    """The judged ones among the hits, with rank and grade: all a measure needs to see.

    Parameters
    ----------
    qrels
        What they were judged by.
    rows, ranks, grades
        int64 [judged hits]: the number of the query in `qrels`, the rank from 1 among all its hits, and the grade.
        A query's hits stand together, by rank.
    counts
        int64 [queries]: how many hits each query has, judged or not.
    """

    qrels: Qrels
    rows: NDArray[np.int64]
    ranks: NDArray[np.int64]
    grades: NDArray[np.int64]
    counts: NDArray[np.int64]

    def sums(self, values: NDArray[np.floating]) -> NDArray[np.float64]:
        """Add up one value a judged hit over each query, float64 [queries]."""
        return _sums(self.rows, values, len(self.qrels))

    def so_far(self, marked: NDArray[np.bool_]) -> NDArray[np.int64]:
        """Count the marked ones at each hit's rank or above, within its query."""
        counted = np.cumsum(marked)
        starts = np.ones(len(marked), dtype=np.bool_)
        starts[1:] = self.rows[1:] != self.rows[:-1]
        # What came before the query's first hit; the counts only grow, so the latest start is the highest.
        return counted - np.maximum.accumulate(np.where(starts, counted - marked, 0))

    def condensed(self) -> "Judged":
        """Leave out the hits that were not judged, as if they had not been found (trec_eval's option ``-J``).

        As there, a negative grade counts as no judgement.
        """
        kept = self.grades >= 0
        rows = self.rows[kept]
        return replace(
            self,
            rows=rows,
            ranks=self.so_far(kept)[kept],
            grades=self.grades[kept],
            counts=np.bincount(rows, minlength=len(self.qrels)),
        )


def _sums(rows: NDArray[np.int64], values: NDArray[np.floating], queries: int) -> NDArray[np.float64]:
    # Without any value `bincount` forgets that they are floats.
    return np.bincount(rows, values, minlength=queries).astype(np.float64, copy=False)


def _ranges(starts: NDArray[np.int64], stops: NDArray[np.int64]) -> NDArray[np.int64]:
    """Count from each start to its stop (not included), one range after another."""
    counts = stops - starts
    return np.arange(counts.sum()) + np.repeat(starts - np.cumsum(counts) + counts, counts)


def _spans(offsets: NDArray[np.int64], most: int) -> Iterator[tuple[int, int]]:
    """Cut the rows into spans of at most `most` hits; a row that has more is a span of its own."""
    start, rows = 0, len(offsets) - 1
    while start < rows:
        stop = max(start + 1, int(np.searchsorted(offsets, offsets[start] + most, side="right")) - 1)
        yield start, stop
        start = stop
