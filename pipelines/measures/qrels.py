"""Relevance judgements and judged hits in columns: the one join of document ids and grades.

Usually only a few of a query's thousand hits are judged, and every measure depends on those and their ranks alone. So
only they are retained: after one pass over the hits, the work grows with the judgements, not with the depth.
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
from pipelines.measures.ids import require_mapping, require_query_count, require_same_type, type_of_ids, whole_grades

HITS_PER_BLOCK = 1 << 16
"""Number of hits looked up together: few enough for the intermediate columns to stay in the processor's cache."""


@dataclass(frozen=True, eq=False)
class Qrels:
    """Relevance judgements in columns, sorted by query, then by grade from high to low; see `from_dict`.

    Query ``i`` owns the judgements ``offsets[i]:offsets[i + 1]``.

    Parameters
    ----------
    query_ids
        The judged queries, in their input order.
    offsets
        int64 [queries + 1].
    doc_ids
        The table of judged documents.
    codes, grades
        int64 [judgements]: positions in `doc_ids`, and grades.
    """

    query_ids: tuple[str, ...]
    offsets: NDArray[np.int64]
    doc_ids: StringArray
    codes: NDArray[np.int64]
    grades: NDArray[np.int64]

    @classmethod
    def from_dict(cls, qrels: Mapping[str, Mapping[str, int]]) -> Self:
        """Convert ``{query_id: {doc_id: grade}}``.

        A query without a judgement is left out: a qrels file cannot hold one, so trec_eval never sees it.

        Raises
        ------
        InputError
            When there is no judgement at all, a grade is not a whole number, or ids are not all texts or all numbers.
        """
        example = '{"q1": {"d1": 1}}'
        require_mapping(qrels, "the judgements", example)
        for query_id, documents in qrels.items():
            require_mapping(documents, f"the judgements of query {query_id!r}", example)
        judged = {query_id: documents for query_id, documents in qrels.items() if documents}
        if not judged:
            raise InputError("the qrels contain no judgement, so nothing can be scored")
        counts = [len(documents) for documents in judged.values()]
        names = [doc_id for documents in judged.values() for doc_id in documents]
        type_of_ids(judged, "the query ids of the judgements")
        type_of_ids(names, "the document ids of the judgements")
        grades = whole_grades(judged, len(names))
        rows = np.repeat(np.arange(len(counts)), counts)
        doc_ids, codes = encode_strings(names)
        order = np.lexsort((-grades, rows))
        offsets = np.cumsum([0, *counts], dtype=np.int64)
        return cls(tuple(judged), offsets, doc_ids, codes[order], grades[order])

    def __len__(self) -> int:
        return len(self.query_ids)

    def require_ids(self, queries: type | None, documents: type | None) -> None:
        """Raise an `InputError` if the ids of an answer have other types than these, so that none could be equal."""
        require_same_type(type_of_ids(self.query_ids[:1], "query ids"), queries, "query ids")
        require_same_type(type_of_ids(self.doc_ids[:1], "document ids"), documents, "document ids")

    @property
    def rows(self) -> NDArray[np.int64]:
        """Position of the query of each judgement, int64 [judgements]."""
        return np.repeat(np.arange(len(self)), np.diff(self.offsets))

    @property
    def ranks(self) -> NDArray[np.int64]:
        """Rank of each judgement in its query's ideal ranking, from 1."""
        return np.arange(len(self.codes)) - np.repeat(self.offsets[:-1], np.diff(self.offsets)) + 1

    def relevant_counts(self, level: int = 1) -> NDArray[np.int64]:
        """Count the documents of grade `level` or more for each query, int64 [queries]."""
        return np.bincount(self.rows[self.grades >= level], minlength=len(self))

    def sums(self, values: NDArray[np.floating]) -> NDArray[np.float64]:
        """Sum values [judgements] for each query, float64 [queries]."""
        return _sums(self.rows, values, len(self))

    def judge(self, hits: Hits, queries: Sequence[str]) -> "Judged":
        """Return the judged hits; ``queries[i]`` is the id of row ``i`` of `hits`.

        Rows of unjudged queries are left out; a judged query without a row has no hits.

        Raises
        ------
        InputError
            When `queries` and the rows of `hits` differ in number, or an id is repeated.
        """
        require_query_count(queries, hits)
        self.require_ids(type_of_ids(queries, "the query ids of the hits"), type_of_ids(hits.ids[:1], "document ids"))
        if len(set(queries)) < len(queries):
            repeated, _ = Counter(queries).most_common(1)[0]
            raise InputError(f"the query id {repeated!r} is given twice")
        numbers = {query_id: number for number, query_id in enumerate(self.query_ids)}
        query_numbers = np.fromiter((numbers.get(query_id, -1) for query_id in queries), np.int64, len(queries))
        counts = np.zeros(len(self), dtype=np.int64)
        counts[query_numbers[query_numbers >= 0]] = hits.counts[query_numbers >= 0]
        positions, judgements = self._find(hits, query_numbers)
        rows = np.searchsorted(hits.offsets, positions, side="right") - 1
        return Judged(self, query_numbers[rows], positions - hits.offsets[rows] + 1, self.grades[judgements], counts)

    def _find(self, hits: Hits, query_numbers: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the positions of the judged hits, ascending, and the position of each one's judgement."""
        documents = self._document_numbers(hits)
        keys, order = self._keys
        # Index -1, the last element, stands for every document without any judgement.
        wanted = np.zeros(len(self.doc_ids) + 1, dtype=np.bool_)
        found: list[tuple[NDArray[np.int64], NDArray[np.int64]]] = []
        for start, stop in _spans(hits.offsets, HITS_PER_BLOCK):
            block = query_numbers[start:stop]
            judged = self.codes[_ranges(self.offsets[block[block >= 0]], self.offsets[block[block >= 0] + 1])]
            first, last = hits.offsets[start], hits.offsets[stop]
            numbers = documents[hits.codes[first:last]]
            wanted[judged] = True
            candidates = np.flatnonzero(wanted[numbers])
            wanted[judged] = False
            rows = block[np.searchsorted(hits.offsets[start : stop + 1] - first, candidates, side="right") - 1]
            sought = rows * len(self.doc_ids) + numbers[candidates]
            at = np.minimum(np.searchsorted(keys, sought), len(keys) - 1)
            hit = keys[at] == sought
            found.append((first + candidates[hit], order[at[hit]]))
        if not found:
            return np.zeros(0, np.int64), np.zeros(0, np.int64)
        return np.concatenate([part for part, _ in found]), np.concatenate([part for _, part in found])

    def _document_numbers(self, hits: Hits) -> NDArray[np.intp]:
        """Map each code of the hits to its position in `doc_ids`, -1 where it has none."""
        used = np.zeros(len(hits.ids), dtype=np.bool_)
        used[hits.codes] = True
        codes = np.flatnonzero(used)
        documents = np.full(len(hits.ids), -1, dtype=np.intp)
        names = hits.ids[codes].tolist()
        documents[codes] = np.fromiter(map(self._numbers.get, names, repeat(-1)), np.intp, len(names))
        return documents

    @cached_property
    def _numbers(self) -> dict[str, int]:
        """Position of each judged document in `doc_ids`."""
        return {doc_id: number for number, doc_id in enumerate(self.doc_ids.tolist())}

    @cached_property
    def _keys(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Unique keys of the judged (query, document) pairs, ascending, and the position of each one's judgement."""
        # With the number of documents as base, keys are unique.
        keys = self.rows * len(self.doc_ids) + self.codes
        order = np.argsort(keys)
        return keys[order], order


@dataclass(frozen=True, slots=True, eq=False)
class Judged:
    """Ranks and grades of the judged hits: all that a measure needs.

    Parameters
    ----------
    qrels
        The judgements.
    rows, ranks, grades
        int64 [judged hits]: position of the query in `qrels`, rank from 1 among all its hits, and grade, sorted by
        query, then rank.
    counts
        int64 [queries]: number of hits of each query, judged or not.
    tie_ends
        int64 [judged hits]: position of the last judged hit of the same query and score; None where ties were broken.
    """

    qrels: Qrels
    rows: NDArray[np.int64]
    ranks: NDArray[np.int64]
    grades: NDArray[np.int64]
    counts: NDArray[np.int64]
    tie_ends: NDArray[np.int64] | None = None

    def sums(self, values: NDArray[np.floating]) -> NDArray[np.float64]:
        """Sum values [judged hits] for each query, float64 [queries]."""
        return _sums(self.rows, values, len(self.qrels))

    def running_counts(self, marked: NDArray[np.bool_]) -> NDArray[np.int64]:
        """Count the marked hits of the same query up to and including each hit."""
        counted = np.cumsum(marked)
        starts = np.ones(len(marked), dtype=np.bool_)
        starts[1:] = self.rows[1:] != self.rows[:-1]
        # Subtract the count before the query's first hit; counts only grow, so the latest start is the maximum.
        return counted - np.maximum.accumulate(np.where(starts, counted - marked, 0))

    def tie_means(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Replace the value of each hit by the mean over the hits of its query that have the same score."""
        if self.tie_ends is None:
            return values
        totals = np.bincount(self.tie_ends, values, minlength=len(values))
        return (totals / np.maximum(np.bincount(self.tie_ends, minlength=len(values)), 1))[self.tie_ends]

    def condensed(self) -> "Judged":
        """Rank the judged hits alone, as if unjudged ones had not been retrieved (trec_eval's option ``-J``).

        As in trec_eval, a negative grade counts as unjudged.
        """
        judged = self.grades >= 0
        rows = self.rows[judged]
        return replace(
            self,
            rows=rows,
            ranks=self.running_counts(judged)[judged],
            grades=self.grades[judged],
            counts=np.bincount(rows, minlength=len(self.qrels)),
            tie_ends=None,
        )


def _sums(rows: NDArray[np.int64], values: NDArray[np.floating], queries: int) -> NDArray[np.float64]:
    # `bincount` of an empty column is int64.
    return np.bincount(rows, values, minlength=queries).astype(np.float64, copy=False)


def _ranges(starts: NDArray[np.int64], stops: NDArray[np.int64]) -> NDArray[np.int64]:
    """Concatenate the ranges from each start to its stop (excluded)."""
    counts = stops - starts
    return np.arange(counts.sum()) + np.repeat(starts - np.cumsum(counts) + counts, counts)


def _spans(offsets: NDArray[np.int64], most: int) -> Iterator[tuple[int, int]]:
    """Split the rows into spans of at most `most` hits; a longer row is a span of its own."""
    start, rows = 0, len(offsets) - 1
    while start < rows:
        stop = max(start + 1, int(np.searchsorted(offsets, offsets[start] + most, side="right")) - 1)
        yield start, stop
        start = stop
