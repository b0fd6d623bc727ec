"""Points as Qdrant's engines take them and give them: the one interface that Edge and the client are put behind."""

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
from indexing.indexes.qdrant.settings import DENSE, DOC_ID, SPARSE

NAMESPACE = UUID("5f0a3c52-8d0c-5f53-9f3e-2b8f6f0c6f11")
"""Of the UUIDs that ids are mapped to: changing it would lose every collection."""

ScoredIds = list[list[tuple[str, float]]]
"""For each query its hits, ids and scores, best first."""


def point_id(doc_id: str) -> str:
    """Give the UUIDv5 under which Qdrant, which takes integers and UUIDs only, keeps a document."""
    return str(uuid5(NAMESPACE, doc_id))


@dataclass(frozen=True, slots=True)
class Sparse:
    """One sparse vector: the columns and values of a CSR row."""

    indices: list[int]
    values: list[float]


@dataclass(frozen=True, slots=True)
class PointBatch:
    """Documents to be stored.

    Parameters
    ----------
    ids
        Their doc_ids.
    vectors
        float32 [documents, dimension], or None.
    weights
        CSR [documents, vocabulary], or None.
    values
        The declared fields' canonical values.
    """

    ids: Sequence[str]
    vectors: NDArray[np.float32] | None
    weights: csr_matrix | None
    values: Sequence[Mapping[str, Sequence[Value]]]

    def __len__(self) -> int:
        return len(self.ids)

    def parts(self, size: int) -> Iterator["PointBatch"]:
        """Cut into batches of at most `size`."""
        for start in range(0, len(self.ids), size):
            part = slice(start, start + size)
            yield PointBatch(
                self.ids[part],
                None if self.vectors is None else self.vectors[part],
                None if self.weights is None else self.weights[part],
                self.values[part],
            )

    def rows(self) -> Iterator[tuple[str, dict[str, Any], dict[str, Any]]]:
        """Give each point's id, vectors by name (lists and `Sparse`), and payload."""
        dense = None if self.vectors is None else self.vectors.tolist()
        sparse = None if self.weights is None else list(sparse_rows(self.weights))
        for row, (doc_id, values) in enumerate(zip(self.ids, self.values, strict=True)):
            vectors: dict[str, Any] = {}
            if dense is not None:
                vectors[DENSE] = dense[row]
            if sparse is not None:
                vectors[SPARSE] = sparse[row]
            payload: dict[str, Any] = {DOC_ID: doc_id}
            if values:
                payload[PAYLOAD] = {
                    name: [payload_value(value) for value in several] for name, several in values.items()
                }
            yield point_id(doc_id), vectors, payload


@dataclass(frozen=True, slots=True)
class PointQuery:
    """One query to an engine: a dense or a sparse vector, or both to be fused."""

    dense: list[float] | None
    sparse: Sparse | None
    limit: int
    filter: Any = None
    exact: bool = False
    fusion: str = "rrf"
    rank_constant: int = 60
    depth: int = 100


class QdrantEngine(Protocol):
    """What `QdrantIndex` asks of Edge, of the client's local mode and of a server."""

    conditions: Conditions

    def upsert(self, batch: PointBatch) -> None:
        """Store points, whole, instead of those of the same ids."""

    def delete(self, points: Sequence[str]) -> None:
        """Remove points by UUID."""

    def count(self, filter: Any = None) -> int:
        """Count the points that a filter keeps, exactly."""

    def query(self, questions: Sequence[PointQuery]) -> ScoredIds:
        """Answer several questions in one call."""

    def optimize(self) -> None:
        """Build the graphs of what has been added, and wait for it."""

    def flush(self) -> None:
        """Make everything durable."""

    def close(self) -> None:
        """Let go."""


def sparse_rows(weights: csr_matrix) -> Iterator[Sparse]:
    """Give each row of a CSR matrix, without stored zeros."""
    indptr, indices, values = weights.indptr.tolist(), weights.indices.tolist(), weights.data.tolist()
    for start, stop in pairwise(indptr):
        yield Sparse(indices[start:stop], values[start:stop])
