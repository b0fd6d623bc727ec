"""QdrantEngine: the interface that Edge and qdrant-client implement, with its points and queries."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Protocol
from uuid import UUID, uuid5

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from indexing.filters.tree import Value
from indexing.indexes.qdrant.filters import PAYLOAD, Conditions, payload_value
from indexing.indexes.qdrant.settings import DENSE, DOC_ID, SPARSE, TOKENS
from indexing.max_sim import token_blocks
from indexing.token_vectors import TokenVectors

NAMESPACE = UUID("5f0a3c52-8d0c-5f53-9f3e-2b8f6f0c6f11")
"""Namespace of the UUIDs that ids map to: a change would make every stored collection unreadable."""

ScoredIds = list[list[tuple[str, float]]]
"""For each query the (doc_id, score) of its hits, best first."""

NUMBERS_AT_ONCE = 500_000
"""Largest number of token vectors' numbers in one request: some 11 MB of JSON, where a server accepts 32."""


def point_id(doc_id: str) -> str:
    """Return the UUIDv5 of a document's point; Qdrant accepts only integers and UUIDs as ids."""
    return str(uuid5(NAMESPACE, doc_id))


@dataclass(frozen=True, slots=True)
class Sparse:
    """One sparse vector: the columns and values of a CSR row."""

    indices: list[int]
    values: list[float]


@dataclass(frozen=True, slots=True)
class PointBatch:
    """Documents to store.

    Parameters
    ----------
    ids
        The doc_ids.
    vectors
        float32 [documents, dimension], or None.
    weights
        CSR [documents, vocabulary], or None.
    values
        The declared fields' canonical values.
    tokens
        The documents' token vectors, or None.
    """

    ids: Sequence[str]
    vectors: NDArray[np.float32] | None
    weights: csr_matrix | None
    values: Sequence[Mapping[str, Sequence[Value]]]
    tokens: TokenVectors | None = None

    def __len__(self) -> int:
        return len(self.ids)

    def parts(self, size: int) -> Iterator["PointBatch"]:
        """Split into batches of at most `size` documents, and of `NUMBERS_AT_ONCE` or of one document."""
        bounds: Iterator[tuple[int, int]]
        bounds = ((start, min(start + size, len(self))) for start in range(0, len(self), size))
        if self.tokens is not None:
            bounds = token_blocks(self.tokens.offsets, max(1, NUMBERS_AT_ONCE // self.tokens.dimension), size)
        for start, stop in bounds:
            part = slice(start, stop)
            yield PointBatch(
                self.ids[part],
                None if self.vectors is None else self.vectors[part],
                None if self.weights is None else self.weights[part],
                self.values[part],
                None if self.tokens is None else self.tokens.slice(start, stop),
            )

    def rows(self) -> Iterator[tuple[str, dict[str, Any], dict[str, Any]]]:
        """Yield each point's id, vectors by name (lists and `Sparse`), and payload."""
        dense = None if self.vectors is None else self.vectors.tolist()
        sparse = None if self.weights is None else list(sparse_rows(self.weights))
        for row, (doc_id, values) in enumerate(zip(self.ids, self.values, strict=True)):
            vectors: dict[str, Any] = {}
            if dense is not None:
                vectors[DENSE] = dense[row]
            if sparse is not None:
                vectors[SPARSE] = sparse[row]
            # Qdrant refuses an empty list of vectors, but a point may lack them.
            if self.tokens is not None and self.tokens.lengths[row]:
                vectors[TOKENS] = self.tokens.text(row).tolist()
            payload: dict[str, Any] = {DOC_ID: doc_id}
            if values:
                payload[PAYLOAD] = {name: list(map(payload_value, of_field)) for name, of_field in values.items()}
            yield point_id(doc_id), vectors, payload


@dataclass(frozen=True, slots=True)
class PointQuery:
    """One query to an engine: a dense or a sparse vector, or both to fuse, or token vectors."""

    dense: list[float] | None = None
    sparse: Sparse | None = None
    tokens: list[list[float]] | None = None
    limit: int = 1
    filter: Any = None
    exact: bool = False
    fusion: str = "rrf"
    rank_constant: int = 60
    depth: int = 100

    @property
    def vectors(self) -> dict[str, Any]:
        """The query vectors by name."""
        vectors = {DENSE: self.dense, SPARSE: self.sparse, TOKENS: self.tokens}
        return {name: vector for name, vector in vectors.items() if vector is not None}


class QdrantEngine(Protocol):
    """Interface of Edge, of the client's local mode and of a server."""

    conditions: Conditions

    def upsert(self, batch: PointBatch) -> None:
        """Store points, replacing those with the same ids."""

    def delete(self, points: Sequence[str]) -> None:
        """Delete points by UUID."""

    def count(self, filter: Any = None) -> int:
        """Return the exact number of points that match a filter."""

    def query(self, queries: Sequence[PointQuery]) -> ScoredIds:
        """Run a batch of queries in one call."""

    def vectors(self, name: str, points: Sequence[str]) -> dict[str, Any]:
        """Return the vectors of this name of those of these points that have any, by UUID."""

    def optimize(self) -> None:
        """Build the graphs of added points, and wait until they are ready."""

    def flush(self) -> None:
        """Make all changes durable."""

    def close(self) -> None:
        """Release the directory or the connection."""


def sparse_rows(weights: csr_matrix) -> Iterator[Sparse]:
    """Yield each row of a CSR matrix without explicit zeros."""
    indptr, indices, values = weights.indptr.tolist(), weights.indices.tolist(), weights.data.tolist()
    for start, stop in pairwise(indptr):
        yield Sparse(indices[start:stop], values[start:stop])
