"""QdrantEngine: the interface that Edge and qdrant-client implement, with its points and queries."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, NamedTuple, Protocol
from uuid import UUID, uuid5

import numpy as np
from scipy.sparse import csr_matrix

from indexing.filters.tree import Value
from indexing.indexes.qdrant.filters import PAYLOAD, Conditions, payload_value
from indexing.indexes.qdrant.settings import DOC_ID
from indexing.indexes.qdrant.text_index import TEXTS, Text
from indexing.max_sim import token_blocks
from indexing.token_vectors import TokenVectors

NAMESPACE = UUID("5f0a3c52-8d0c-5f53-9f3e-2b8f6f0c6f11")
"""Namespace of the UUIDs that ids map to: a change would make every stored collection unreadable."""

ScoredIds = list[list[tuple[str, float]]]
"""For each query the (doc_id, score) of its hits, best first."""

NUMBERS_AT_ONCE = 500_000
"""Largest number of token vectors' numbers in one request: some 11 MB of JSON, where a server accepts 32."""
_CHARS_OF_A_NUMBER = 10
"""Characters of a text that count as one such number: some 5 MB of texts in one request."""


def point_id(doc_id: str) -> str:
    """Return the UUIDv5 of a document's point; Qdrant accepts only integers and UUIDs as ids."""
    return str(uuid5(NAMESPACE, doc_id))


@dataclass(frozen=True, slots=True)
class Sparse:
    """One sparse vector: the columns and values of a CSR row."""

    indices: list[int]
    values: list[float]

    def __bool__(self) -> bool:
        return bool(self.indices)


class Point(NamedTuple):
    """A point: its UUID, its vectors by name (lists, `Sparse` and `Text`), and its payload."""

    id: str
    vectors: dict[str, Any]
    payload: dict[str, Any]


@dataclass(frozen=True, slots=True)
class PointBatch:
    """Documents to store.

    Parameters
    ----------
    ids
        The doc_ids.
    rows
        Their vectors by name: float32 [documents, dimension], CSR [documents, vocabulary], `TokenVectors`, or a
        list of `Text`.
    values
        The declared fields' canonical values.
    more
        Further entries of each payload, if any.
    """

    ids: Sequence[str]
    rows: Mapping[str, Any]
    values: Sequence[Mapping[str, Sequence[Value]]]
    more: Sequence[Mapping[str, Any]] | None = None

    def __len__(self) -> int:
        return len(self.ids)

    def parts(self, size: int) -> Iterator["PointBatch"]:
        """Split into batches of at most `size` documents, and of `NUMBERS_AT_ONCE` or of one document."""
        chars = np.zeros(len(self) + 1, np.int64)
        for rows in self.rows.values():
            if isinstance(rows, TokenVectors):
                chars += np.asarray(rows.offsets, np.int64) * rows.dimension * _CHARS_OF_A_NUMBER
            elif isinstance(rows, list):
                chars += np.cumsum([0, *(len(one.text) for one in rows)])
        for start, stop in token_blocks(chars, NUMBERS_AT_ONCE * _CHARS_OF_A_NUMBER, size):
            part = slice(start, stop)
            yield PointBatch(
                self.ids[part],
                {name: _sliced(rows, start, stop) for name, rows in self.rows.items()},
                self.values[part],
                None if self.more is None else self.more[part],
            )

    def points(self) -> Iterator[Point]:
        """Yield each point."""
        columns = {name: _as_lists(rows) for name, rows in self.rows.items()}
        for row, (doc_id, values) in enumerate(zip(self.ids, self.values, strict=True)):
            # Qdrant refuses empty vectors, but a point may lack them.
            vectors = {name: column[row] for name, column in columns.items() if column[row]}
            payload: dict[str, Any] = {DOC_ID: doc_id, **(self.more[row] if self.more is not None else {})}
            if values:
                payload[PAYLOAD] = {name: list(map(payload_value, of_field)) for name, of_field in values.items()}
            yield Point(point_id(doc_id), vectors, payload)


@dataclass(frozen=True, slots=True)
class PointQuery:
    """One query to an engine: a vector, or several to fuse.

    Parameters
    ----------
    vectors
        The query's vectors by name: lists, `Sparse` and `Text`.
    limit
        Number of hits.
    filter
        A condition of the engine, for every vector.
    exact
        Compare all points that match the filter.
    fusion, rank_constant, weights
        With several vectors: ``"rrf"`` with the paper's constant and Qdrant's weights, or ``"dbsf"``.
    depth
        Hits of each vector that are fused: one number, or one by name.
    tenant
        The only tenant whose points the filter keeps, if it does.
    """

    vectors: Mapping[str, Any] = field(default_factory=dict)
    limit: int = 1
    filter: Any = None
    exact: bool = False
    fusion: str = "rrf"
    rank_constant: int = 60
    weights: tuple[float, ...] | None = None
    depth: int | Mapping[str, int] = 100
    tenant: str | None = None

    def depth_of(self, name: str) -> int:
        """Return the number of hits of one vector that are fused."""
        return self.depth if isinstance(self.depth, int) else self.depth[name]


class QdrantEngine(Protocol):
    """Interface of Edge, of the client's local mode and of a server."""

    conditions: Conditions

    def upsert(self, batch: PointBatch) -> None:
        """Store documents as points, replacing those with the same ids."""

    def store(self, points: Sequence[Point]) -> None:
        """Store points, replacing those with the same ids."""

    def delete(self, points: Sequence[str]) -> None:
        """Delete points by UUID."""

    def count(self, filter: Any = None) -> int:
        """Return the exact number of points that match a filter."""

    def shards(self) -> int:
        """Return the number of shards; each has document frequencies of its own."""

    def query(self, queries: Sequence[PointQuery]) -> ScoredIds:
        """Run a batch of queries in one call."""

    def retrieve(self, points: Sequence[str], names: Sequence[str]) -> list[Point]:
        """Return those of these points that exist, in any order, with the vectors of these names that they have."""

    def scroll(
        self, after: Any, limit: int, names: Sequence[str], filter: Any = None, fields: Sequence[str] | None = None
    ) -> tuple[list[Point], Any]:
        """Return some points in the order of their UUIDs, and where to go on, None after the last.

        `fields` are the entries of their payloads; None for all.
        """

    def optimize(self) -> None:
        """Build the graphs of added points, drop what was deleted, and wait until this is done."""

    def flush(self) -> None:
        """Make all changes durable."""

    def close(self) -> None:
        """Release the directory or the connection."""


def scroll_all(
    engine: QdrantEngine, limit: int, names: Sequence[str], filter: Any = None, fields: Sequence[str] | None = None
) -> Iterator[list[Point]]:
    """Yield all points in batches of at most `limit`; the arguments are those of `QdrantEngine.scroll`."""
    after: Any = None
    while True:
        points, after = engine.scroll(after, limit, names, filter, fields)
        if points:
            yield points
        if after is None:
            return


def _sliced(rows: Any, start: int, stop: int) -> Any:
    return rows.slice(start, stop) if isinstance(rows, TokenVectors) else rows[start:stop]


def _as_lists(rows: Any) -> Sequence[Any]:
    """Return rows in the form that points and queries have."""
    if isinstance(rows, list):
        return rows
    if isinstance(rows, TokenVectors):
        return [text.tolist() for text in rows.to_list()]
    return rows.tolist() if isinstance(rows, np.ndarray) else list(sparse_rows(rows))


def with_texts(point: Point) -> Point:
    """Return a point as it is stored: its texts in the payload in place of vectors."""
    kept = {name: one.text for name, one in point.vectors.items() if isinstance(one, Text)}
    if not kept:
        return point
    vectors = {name: one for name, one in point.vectors.items() if name not in kept}
    return Point(point.id, vectors, {**point.payload, TEXTS: kept})


def without_texts(point: Point) -> Point:
    """Return a stored point with its texts in place of vectors."""
    if TEXTS not in point.payload:
        return point
    payload = {key: value for key, value in point.payload.items() if key != TEXTS}
    return Point(point.id, {**point.vectors, **{n: Text(t) for n, t in point.payload[TEXTS].items()}}, payload)


def sparse_rows(weights: csr_matrix) -> Iterator[Sparse]:
    """Yield each row of a CSR matrix without explicit zeros."""
    indptr, indices, values = weights.indptr.tolist(), weights.indices.tolist(), weights.data.tolist()
    for start, stop in pairwise(indptr):
        yield Sparse(indices[start:stop], values[start:stop])
