"""Qrels and judged hits as coded columns: the one place where document ids meet relevance grades."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from indexing.errors import InputError
from indexing.hits import Hits, StringArray, encode_strings


@dataclass(frozen=True, slots=True, eq=False)
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
        int64 [judgements]: positions in `doc_ids`, and grades, within a query the highest first. A grade of 1 or
        more is relevant, 0 or less is not (trec_eval's default level).
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

    @property
    def relevant_counts(self) -> NDArray[np.int64]:
        """How many relevant documents each query has, int64 [queries]."""
        return np.bincount(self.rows[self.grades > 0], minlength=len(self))

    def sums(self, values: NDArray[np.floating]) -> NDArray[np.float64]:
        """Add up one value a judgement over each query, float64 [queries]."""
        return _sums(self.rows, values, len(self))

    def judge(self, hits: Hits, queries: Sequence[str]) -> "Judged":
        """Look up the grade of every hit; ``queries[i]`` names row ``i`` of `hits`.

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
        row_numbers = np.fromiter((numbers.get(query_id, -1) for query_id in queries), np.int64, len(queries))
        rows = row_numbers[hits.rows]
        known = rows >= 0
        rows, ranks, codes = rows[known], hits.ranks[known], hits.codes[known]
        return Judged(self, rows, ranks, self._grades(rows, hits.ids, codes))

    def _grades(self, rows: NDArray[np.int64], ids: StringArray, codes: NDArray[np.int64]) -> NDArray[np.int64]:
        numbers = {doc_id: number for number, doc_id in enumerate(self.doc_ids)}
        used, local = np.unique(codes, return_inverse=True)
        known = np.fromiter((numbers.get(doc_id, -1) for doc_id in ids[used]), np.int64, len(used))[local]
        # One number for each (query, document): with the documents' count as the base no two collide.
        keys = self.rows * len(self.doc_ids) + self.codes
        order = np.argsort(keys)
        wanted = rows * len(self.doc_ids) + known
        found = np.minimum(np.searchsorted(keys, wanted, sorter=order), len(keys) - 1)
        hit = (keys[order[found]] == wanted) & (known >= 0)
        return np.where(hit, self.grades[order[found]], 0)


@dataclass(frozen=True, slots=True, eq=False)
class Judged:
    """Hits with their grades: all a measure needs to see.

    Parameters
    ----------
    qrels
        What they were judged by.
    rows, ranks, grades
        int64 [hits]: the number of the query in `qrels`, the rank from 1, and the grade, 0 for a document that was
        not judged. A query's hits stand together, by rank.
    """

    qrels: Qrels
    rows: NDArray[np.int64]
    ranks: NDArray[np.int64]
    grades: NDArray[np.int64]

    def sums(self, values: NDArray[np.floating]) -> NDArray[np.float64]:
        """Add up one value a hit over each query, float64 [queries]."""
        return _sums(self.rows, values, len(self.qrels))

    @property
    def relevant(self) -> NDArray[np.bool_]:
        """Which hits are relevant."""
        return self.grades > 0


def _sums(rows: NDArray[np.int64], values: NDArray[np.floating], queries: int) -> NDArray[np.float64]:
    # Without any value `bincount` forgets that they are floats.
    return np.bincount(rows, values, minlength=queries).astype(np.float64, copy=False)
