"""Qdrant Edge: Qdrant's own engine inside this process, one process a directory."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from indexing.errors import SetupError, StorageError
from indexing.filters.fields import Fields
from indexing.indexes.qdrant.engine import PointBatch, PointQuery, ScoredIds, Sparse
from indexing.indexes.qdrant.filters import Conditions
from indexing.indexes.qdrant.settings import DENSE, DOC_ID, SPARSE, QdrantSettings

POINTS_AT_ONCE = 1000


class EdgeConditions:
    """Conditions as Edge spells them."""

    def __init__(self, edge: Any) -> None:
        self._edge = edge

    def any_of(self, key: str, values: list[Any]) -> Any:
        """Ask for one of these strings."""
        return self._edge.FieldCondition(key=key, match=self._edge.MatchAny(values))

    def between(self, key: str, **bounds: float | None) -> Any:
        """Ask for a number within gt, gte, lt, lte."""
        return self._edge.FieldCondition(key=key, range=self._edge.RangeFloat(**bounds))

    def empty(self, key: str) -> Any:
        """Ask for no value."""
        return self._edge.IsEmptyCondition(key)

    def group(self, **conditions: Any) -> Any:
        """Join conditions to a filter."""
        return self._edge.Filter(**conditions)

    def points(self, points: Sequence[str]) -> Any:
        """Ask for these points."""
        return self._edge.HasIdCondition(set(points))

    def nothing(self) -> Any:
        """Give a condition that is true of no point."""
        return self.points(())


class EdgeEngine:
    """One Edge shard; see `indexing.indexes.qdrant.engine.QdrantEngine`."""

    def __init__(self, shard: Any, edge: Any, settings: QdrantSettings) -> None:
        self._shard, self._edge, self._settings = shard, edge, settings
        self.conditions: Conditions = EdgeConditions(edge)

    @classmethod
    def create(cls, path: Path, settings: QdrantSettings, fields: Fields) -> "EdgeEngine":
        """Make an empty shard in this folder."""
        edge = _library()
        path.mkdir(parents=True, exist_ok=True)
        try:
            shard = edge.EdgeShard.create(str(path), _config(edge, settings))
        except Exception as error:
            raise _told(path, error) from error
        for name, kind in fields.items():
            words = kind in ("keyword", "boolean")
            schema = edge.PayloadSchemaType.Keyword if words else edge.PayloadSchemaType.Float
            shard.update(edge.UpdateOperation.create_field_index(f"metadata.{name}", schema))
        return cls(shard, edge, settings)

    @classmethod
    def open(cls, path: Path, settings: QdrantSettings) -> "EdgeEngine":
        """Load the shard in this folder."""
        edge = _library()
        try:
            return cls(edge.EdgeShard.load(str(path)), edge, settings)
        except Exception as error:
            raise _told(path, error) from error

    def upsert(self, batch: PointBatch) -> None:
        """Store points, whole."""
        for part in batch.parts(POINTS_AT_ONCE):
            points = [
                self._edge.Point(id=point, vector=self._vectors(vectors), payload=payload)
                for point, vectors, payload in part.rows()
            ]
            self._shard.update(self._edge.UpdateOperation.upsert_points(points))

    def delete(self, points: Sequence[str]) -> None:
        """Remove points by UUID."""
        self._shard.update(self._edge.UpdateOperation.delete_points(list(points)))

    def count(self, filter: Any = None) -> int:
        """Count the points that a filter keeps."""
        return int(self._shard.count(self._edge.CountRequest(exact=True, filter=filter)))

    def query(self, questions: Sequence[PointQuery]) -> ScoredIds:
        """Answer several questions in one call."""
        batch = self._edge.QueryBatchRequest([self._request(question) for question in questions])
        return [[(point.payload[DOC_ID], point.score) for point in points] for points in self._shard.query_batch(batch)]

    def optimize(self) -> None:
        """Build the graphs now: Edge does so when told only, and searches the rest one by one."""
        self._shard.optimize()

    def flush(self) -> None:
        """Make everything durable."""
        self._shard.flush()

    def close(self) -> None:
        """Let the directory go."""
        self._shard.close()

    def _vectors(self, vectors: dict[str, Any]) -> dict[str, Any]:
        return {name: self._vector(one) for name, one in vectors.items()}

    def _vector(self, one: Any) -> Any:
        return self._edge.SparseVector(one.indices, one.values) if isinstance(one, Sparse) else one

    def _request(self, question: PointQuery) -> Any:
        edge = self._edge
        params = edge.SearchParams(
            hnsw_ef=max(self._settings.ef_search, question.limit),
            exact=question.exact,
            quantization=edge.QuantizationSearchParams(ignore=question.exact, rescore=True),
        )
        asked = {DENSE: question.dense, SPARSE: question.sparse}
        nearest = [edge.Query.Nearest(self._vector(one), using=name) for name, one in asked.items() if one is not None]
        if len(nearest) == 1:
            return edge.QueryRequest(
                limit=question.limit, query=nearest[0], filter=question.filter, params=params, with_payload=[DOC_ID]
            )
        legs = [
            edge.Prefetch(limit=question.depth, query=query, filter=question.filter, params=params) for query in nearest
        ]
        # Qdrant counts ranks from 0, so its k is one more than that of the paper.
        fusion = edge.Fusion.Rrf(k=question.rank_constant + 1) if question.fusion == "rrf" else edge.Fusion.Dbsf()
        return edge.QueryRequest(limit=question.limit, prefetches=legs, query=fusion, with_payload=[DOC_ID])


def _config(edge: Any, settings: QdrantSettings) -> Any:
    memory = edge.Memory.Cold if settings.on_disk else edge.Memory.Cached
    hnsw = edge.HnswIndexConfig(
        m=settings.m, ef_construct=settings.ef_construction, full_scan_threshold=10_000, memory=memory
    )
    codes = {"memory": edge.Memory.Cold if settings.on_disk else edge.Memory.Pinned}
    quantization = {
        None: lambda: None,
        "scalar": lambda: edge.ScalarQuantizationConfig(edge.ScalarType.Int8, **codes),
        "product": lambda: edge.ProductQuantizationConfig(edge.CompressionRatio.X16, **codes),
        "binary": lambda: edge.BinaryQuantizationConfig(**codes),
    }[settings.quantization]()
    vectors, sparse = None, None
    if settings.dimension:
        distance = edge.Distance.Cosine if settings.metric == "cosine" else edge.Distance.Dot
        params = edge.EdgeVectorParams(
            settings.dimension, distance, memory=memory, quantization_config=quantization, hnsw_config=hnsw
        )
        vectors = {DENSE: params}
    if settings.vocabulary:
        placement = edge.Memory.Cold if settings.on_disk else edge.Memory.Pinned
        sparse = {SPARSE: edge.EdgeSparseVectorParams(memory=placement)}
    return edge.EdgeConfig(vectors=vectors, sparse_vectors=sparse, hnsw_config=hnsw)


def _library() -> Any:
    try:
        import qdrant_edge
    except ImportError as error:
        raise SetupError(
            "Qdrant Edge is not installed: pip install 'retrieve-rerank[qdrant]' (qdrant-edge-py 0.9)"
        ) from error
    return qdrant_edge


def _told(path: Path, error: Exception) -> StorageError:
    """Put Edge's plain exceptions into words."""
    if "WAL" in str(error) and "WouldBlock" in str(error):
        return StorageError(
            f"{path} is open already, here or in another process: Qdrant Edge allows one process a directory, readers "
            "included. Close it there first; where several processes must read, run a Qdrant server and give "
            "server=QdrantServer(url=...)"
        )
    return StorageError(f"the Qdrant Edge shard {path} cannot be opened ({error}): build it again")
