"""Questions to a Qdrant engine: of vectors, of term weights, of both fused; what a filter keeps is counted once."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix, issparse

from indexing.errors import InputError
from indexing.filters import Fields, Filter, FilterLike, parse_filter
from indexing.hits import Hits, encode_strings
from indexing.indexes.qdrant.engine import PointQuery, QdrantEngine, ScoredIds, Sparse, point_id, sparse_rows
from indexing.indexes.qdrant.filters import qdrant_filter
from indexing.indexes.qdrant.settings import QdrantSettings
from indexing.indexes.vectors import check_vectors, check_weights

SCAN_BELOW = 0.1
"""When a filter keeps at most this share of the points, they are compared with the query one by one: exact."""
QUERIES_AT_ONCE = 64
COUNTS_KEPT = 1024

Queries: TypeAlias = "NDArray[np.floating] | csr_matrix"


class QdrantSearch:
    """Asks an engine, for `QdrantIndex`.

    Parameters
    ----------
    path
        The index, to name in errors.
    engine, settings, fields
        Of the index.
    alone
        Whether nobody else changes what the engine holds: then what a filter keeps need not be counted again.
    """

    def __init__(
        self, path: Path, engine: QdrantEngine, settings: QdrantSettings, fields: Fields, *, alone: bool
    ) -> None:
        self._path, self._engine, self._settings, self._fields = path, engine, settings, fields
        self._alone = alone
        self._counts: dict[Filter | None, int] = {}

    def search(self, queries: Queries, k: int, filter: FilterLike | None) -> Hits:
        """As `QdrantIndex.search`."""
        dense, sparse = self._questions(queries)
        count = len(dense) if dense is not None else len(sparse or ())
        return self._ask(count, dense, sparse, k, filter)

    def fused_search(
        self, vectors: NDArray[np.floating], weights: csr_matrix, k: int, filter: FilterLike | None, **more: Any
    ) -> Hits:
        """As `QdrantIndex.fused_search`."""
        dense, sparse = self._questions(vectors)[0], self._questions(weights)[1]
        if dense is None or sparse is None or len(dense) != len(sparse):
            raise InputError("a fused search takes dense vectors and a CSR matrix of as many rows")
        return self._ask(len(dense), dense, sparse, k, filter, **more)

    def score(self, queries: Queries, doc_ids: Sequence[Sequence[str]]) -> NDArray[np.float32]:
        """As `QdrantIndex.score`."""
        dense, sparse = self._questions(queries)
        count = len(dense) if dense is not None else len(sparse or ())
        if count != len(doc_ids):
            raise InputError(f"{len(doc_ids)} lists of candidates for {count} queries")
        self._check_known(list(dict.fromkeys(chain.from_iterable(doc_ids))))
        scores: list[float] = []
        for start in range(0, count, QUERIES_AT_ONCE):
            rows = [row for row in range(start, min(start + QUERIES_AT_ONCE, count)) if len(doc_ids[row])]
            questions = [
                PointQuery(
                    dense=None if dense is None else dense[row],
                    sparse=None if sparse is None else sparse[row],
                    limit=len(doc_ids[row]),
                    filter=self._among(doc_ids[row]),
                    exact=True,
                )
                for row in rows
            ]
            answers = self._engine.query(questions) if questions else []
            for row, found in zip(rows, answers, strict=True):
                by_id = dict(found)
                # A document that shares no term with a sparse query is not found, and scores 0.
                scores.extend(by_id.get(doc_id, 0.0) for doc_id in doc_ids[row])
        return np.array(scores, np.float32)

    def count(self, parsed: Filter | None = None) -> int:
        """Count what a filter keeps; kept until the next change here (a server's may change elsewhere)."""
        if parsed not in self._counts or not self._alone:
            narrow = None if parsed is None else qdrant_filter(parsed, self._fields, self._engine.conditions)
            if len(self._counts) >= COUNTS_KEPT:
                self._counts.clear()
            self._counts[parsed] = self._engine.count(narrow)
        return self._counts[parsed]

    def count_ids(self, doc_ids: Sequence[str]) -> int:
        """Count those of these ids, no two alike, that are there."""
        return self._engine.count(self._among(doc_ids))

    def clear_counts(self) -> None:
        """Count anew from now on: something was changed."""
        self._counts.clear()

    @property
    def parts(self) -> str:
        """What a point has, in words."""
        dense = f"dense vectors of dimension {self._settings.dimension}" if self._settings.dimension else ""
        sparse = f"weights over {self._settings.vocabulary} terms" if self._settings.vocabulary else ""
        return " and ".join(part for part in (dense, sparse) if part)

    def _ask(
        self,
        count: int,
        dense: list[list[float]] | None,
        sparse: list[Sparse] | None,
        k: int,
        filter: FilterLike | None,
        **more: Any,
    ) -> Hits:
        if k < 1:
            raise InputError(f"k must be at least 1, not {k}")
        parsed = None if filter is None else parse_filter(filter, self._fields)
        most = self.count(parsed)
        if not most:
            return Hits.empty(count)
        narrow = None if parsed is None else qdrant_filter(parsed, self._fields, self._engine.conditions)
        question = PointQuery(
            dense=None,
            sparse=None,
            limit=min(k, most),
            filter=narrow,
            exact=parsed is not None and most <= SCAN_BELOW * self.count(None),
            **more,
        )
        found: ScoredIds = []
        for start in range(0, count, QUERIES_AT_ONCE):
            found += self._engine.query(
                [
                    replace(
                        question,
                        dense=None if dense is None else dense[row],
                        sparse=None if sparse is None else sparse[row],
                    )
                    for row in range(start, min(start + QUERIES_AT_ONCE, count))
                ]
            )
        return _hits(found)

    def _questions(self, queries: Queries) -> tuple[list[list[float]] | None, list[Sparse] | None]:
        if issparse(queries):
            if not self._settings.vocabulary:
                raise InputError(f"points of the index {self._path} have {self.parts}, no sparse vectors")
            return None, list(sparse_rows(check_weights(queries, self._settings.vocabulary, self._path)))
        if not self._settings.dimension:
            raise InputError(f"points of the index {self._path} have {self.parts}, no dense vectors")
        rows = check_vectors(np.atleast_2d(np.asarray(queries)), self._settings.dimension, self._path)
        return rows.tolist(), None

    def _check_known(self, ids: list[str]) -> None:
        if not ids or self.count_ids(ids) == len(ids):
            return
        missing = next(doc_id for doc_id in ids if not self.count_ids([doc_id]))
        raise InputError(f"the id {missing!r} is not in the index {self._path}")

    def _among(self, doc_ids: Sequence[str]) -> Any:
        conditions = self._engine.conditions
        return conditions.group(must=[conditions.points([point_id(doc_id) for doc_id in doc_ids])])


def _hits(found: ScoredIds) -> Hits:
    ids, codes = encode_strings([doc_id for hits in found for doc_id, _ in hits])
    scores = np.fromiter((score for hits in found for _, score in hits), np.float32, count=len(codes))
    rows = np.repeat(np.arange(len(found)), [len(hits) for hits in found])
    return Hits.ranked(len(found), rows, codes, scores, ids)
