"""EdgeEngine: Qdrant Edge, Qdrant's engine embedded in this process; one process per directory."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from indexing.errors import SetupError, StorageError
from indexing.filters.fields import Fields
from indexing.indexes.qdrant.engine import PointBatch, PointQuery, ScoredIds, Sparse
from indexing.indexes.qdrant.filters import Conditions
from indexing.indexes.qdrant.settings import DENSE, DOC_ID, SPARSE, TOKENS, QdrantSettings

POINTS_AT_ONCE = 1000


class _EdgeConditions:
    def __init__(self, edge: Any) -> None:
        self._edge = edge

    def any_of(self, key: str, values: list[Any]) -> Any:
        return self._edge.FieldCondition(key=key, match=self._edge.MatchAny(values))

    def between(self, key: str, **bounds: float | None) -> Any:
        return self._edge.FieldCondition(key=key, range=self._edge.RangeFloat(**bounds))

    def empty(self, key: str) -> Any:
        return self._edge.IsEmptyCondition(key)

    def group(self, **conditions: Any) -> Any:
        return self._edge.Filter(**conditions)

    def points(self, points: Sequence[str]) -> Any:
        return self._edge.HasIdCondition(set(points))


class EdgeEngine:
    """A `QdrantEngine` on one Edge shard."""

    def __init__(self, shard: Any, edge: Any, settings: QdrantSettings) -> None:
        self._shard, self._edge, self._settings = shard, edge, settings
        self.conditions: Conditions = _EdgeConditions(edge)

    @classmethod
    def create(cls, path: Path, settings: QdrantSettings, fields: Fields) -> "EdgeEngine":
        """Create an empty shard in this folder."""
        edge = _library()
        path.mkdir(parents=True, exist_ok=True)
        try:
            shard = edge.EdgeShard.create(str(path), _config(edge, settings))
        except Exception as error:
            raise _storage_error(path, error) from error
        for name, kind in fields.items():
            is_text = kind in ("keyword", "boolean")
            schema = edge.PayloadSchemaType.Keyword if is_text else edge.PayloadSchemaType.Float
            shard.update(edge.UpdateOperation.create_field_index(f"metadata.{name}", schema))
        return cls(shard, edge, settings)

    @classmethod
    def open(cls, path: Path, settings: QdrantSettings) -> "EdgeEngine":
        """Load the shard in this folder."""
        edge = _library()
        try:
            return cls(edge.EdgeShard.load(str(path)), edge, settings)
        except Exception as error:
            raise _storage_error(path, error) from error

    def upsert(self, batch: PointBatch) -> None:
        """Store points, replacing those with the same ids."""
        for part in batch.parts(POINTS_AT_ONCE):
            points = [
                self._edge.Point(id=point, vector=self._vectors(vectors), payload=payload)
                for point, vectors, payload in part.rows()
            ]
            self._shard.update(self._edge.UpdateOperation.upsert_points(points))

    def delete(self, points: Sequence[str]) -> None:
        """Delete points by UUID."""
        self._shard.update(self._edge.UpdateOperation.delete_points(list(points)))

    def count(self, filter: Any = None) -> int:
        """Return the exact number of points that match a filter."""
        return int(self._shard.count(self._edge.CountRequest(exact=True, filter=filter)))

    def query(self, queries: Sequence[PointQuery]) -> ScoredIds:
        """Run a batch of queries in one call."""
        batch = self._edge.QueryBatchRequest([self._request(query) for query in queries])
        return [[(point.payload[DOC_ID], point.score) for point in points] for points in self._shard.query_batch(batch)]

    def vectors(self, name: str, points: Sequence[str]) -> dict[str, Any]:
        """Return the vectors of this name of those of these points that have any, by UUID."""
        found = self._shard.retrieve(list(points), with_payload=False, with_vector=True)
        return {str(point.id): point.vector[name] for point in found if point.vector and name in point.vector}

    def optimize(self) -> None:
        """Build the graphs. Edge never does so by itself, and searches points outside of a graph one by one."""
        self._shard.optimize()

    def flush(self) -> None:
        """Make all changes durable."""
        self._shard.flush()

    def close(self) -> None:
        """Release the directory."""
        self._shard.close()

    def _vectors(self, vectors: dict[str, Any]) -> dict[str, Any]:
        return {name: self._vector(vector) for name, vector in vectors.items()}

    def _vector(self, vector: Any) -> Any:
        return self._edge.SparseVector(vector.indices, vector.values) if isinstance(vector, Sparse) else vector

    def _request(self, query: PointQuery) -> Any:
        edge = self._edge
        params = edge.SearchParams(
            hnsw_ef=max(self._settings.ef_search, query.limit),
            exact=query.exact,
            quantization=edge.QuantizationSearchParams(ignore=query.exact, rescore=True),
        )
        nearest = [edge.Query.Nearest(self._vector(vector), using=name) for name, vector in query.vectors.items()]
        if len(nearest) == 1:
            return edge.QueryRequest(
                limit=query.limit, query=nearest[0], filter=query.filter, params=params, with_payload=[DOC_ID]
            )
        legs = [edge.Prefetch(limit=query.depth, query=leg, filter=query.filter, params=params) for leg in nearest]
        # Qdrant counts ranks from 0, so its k is the paper's plus one.
        fusion = edge.Fusion.Rrf(k=query.rank_constant + 1) if query.fusion == "rrf" else edge.Fusion.Dbsf()
        return edge.QueryRequest(limit=query.limit, prefetches=legs, query=fusion, with_payload=[DOC_ID])


def _config(edge: Any, settings: QdrantSettings) -> Any:
    memory = edge.Memory.Cold if settings.on_disk else edge.Memory.Cached
    hnsw = edge.HnswIndexConfig(
        m=settings.m, ef_construct=settings.ef_construction, full_scan_threshold=10_000, memory=memory
    )
    vector_memory = edge.Memory.Cold if settings.on_disk else edge.Memory.Pinned
    quantization = {
        None: lambda: None,
        "scalar": lambda: edge.ScalarQuantizationConfig(edge.ScalarType.Int8, memory=vector_memory),
        "product": lambda: edge.ProductQuantizationConfig(edge.CompressionRatio.X16, memory=vector_memory),
        "binary": lambda: edge.BinaryQuantizationConfig(memory=vector_memory),
    }[settings.quantization]()
    vectors, sparse = None, None
    if settings.dimension:
        distance = edge.Distance.Cosine if settings.metric == "cosine" else edge.Distance.Dot
        params = edge.EdgeVectorParams(
            settings.dimension,
            distance,
            multivector_config=edge.MultiVectorConfig(edge.MultiVectorComparator.MaxSim)
            if settings.of_tokens
            else None,
            memory=memory,
            quantization_config=quantization,
            hnsw_config=hnsw,
        )
        vectors = {TOKENS if settings.of_tokens else DENSE: params}
    if settings.vocabulary:
        sparse = {SPARSE: edge.EdgeSparseVectorParams(memory=vector_memory)}
    return edge.EdgeConfig(vectors=vectors, sparse_vectors=sparse, hnsw_config=hnsw)


def _library() -> Any:
    try:
        import qdrant_edge
    except ImportError as error:
        raise SetupError(
            "Qdrant Edge is not installed: pip install 'retrieve-rerank[qdrant]' (qdrant-edge-py 0.9)"
        ) from error
    return qdrant_edge


def _storage_error(path: Path, error: Exception) -> StorageError:
    """Describe an exception of Edge."""
    if "WAL" in str(error) and "WouldBlock" in str(error):
        return StorageError(
            f"{path} is already open, here or in another process: Qdrant Edge allows one process per directory, even "
            "for reading. Close it there first; for several processes, run a Qdrant server and pass "
            "server=QdrantServer(url=...)"
        )
    return StorageError(f"the Qdrant Edge shard {path} cannot be opened ({error}): build it again")
