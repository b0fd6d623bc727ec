"""EdgeEngine: Qdrant Edge, Qdrant's engine embedded in this process; one process per directory."""

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from indexing.errors import SetupError, StorageError
from indexing.filters.fields import Fields
from indexing.indexes.qdrant.engine import Point, PointBatch, PointQuery, ScoredIds, Sparse, with_texts, without_texts
from indexing.indexes.qdrant.filters import PAYLOAD, Conditions
from indexing.indexes.qdrant.settings import DOC_ID, Schema, Vector
from indexing.indexes.qdrant.text_index import EngineText, Text, payload_field

POINTS_AT_ONCE = 1000
KEPT_DELETED = 1e-9
"""Share of deleted points that `optimize` leaves in place where scores depend on document frequencies: none."""

LEAST_FREE = 64 << 20
"""Bytes that must be free on the disk for a write: Edge maps sparse files, and a full disk kills its process."""

_UNUSED = "unused"
"""Name of the vector that Edge demands of points that have none."""


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

    def __init__(self, path: Path, shard: Any, edge: Any, schema: Schema) -> None:
        self._path = path
        self._shard, self._edge, self._schema = shard, edge, schema
        self.conditions: Conditions = _EdgeConditions(edge)

    @classmethod
    def create(cls, path: Path, schema: Schema, fields: Fields) -> "EdgeEngine":
        """Create an empty shard in this folder."""
        edge = _library()
        path.mkdir(parents=True, exist_ok=True)
        _check_space(path)
        try:
            shard = edge.EdgeShard.create(str(path), _config(edge, schema))
        except Exception as error:
            raise _storage_error(path, error) from error
        for name, kind in fields.items():
            is_text = kind in ("keyword", "boolean")
            payload: Any = edge.PayloadSchemaType.Keyword if is_text else edge.PayloadSchemaType.Float
            if name == schema.tenant:
                payload = edge.KeywordIndexParams(is_tenant=True)
            shard.update(edge.UpdateOperation.create_field_index(f"{PAYLOAD}.{name}", payload))
        for name, text in schema.texts.items():
            index = _text_index(edge, text, on_disk=schema.vectors[name].on_disk)
            shard.update(edge.UpdateOperation.create_field_index(payload_field(name), index))
        return cls(path, shard, edge, schema)

    @classmethod
    def open(cls, path: Path, schema: Schema) -> "EdgeEngine":
        """Load the shard in this folder."""
        edge = _library()
        try:
            return cls(path, edge.EdgeShard.load(str(path)), edge, schema)
        except Exception as error:
            raise _storage_error(path, error) from error

    def upsert(self, batch: PointBatch) -> None:
        """Store documents as points, replacing those with the same ids."""
        for part in batch.parts(POINTS_AT_ONCE):
            self.store(list(part.points()))

    def store(self, points: Sequence[Point]) -> None:
        """Store points, replacing those with the same ids; raise `StorageError` where the disk is nearly full."""
        made = [
            self._edge.Point(
                id=point.id,
                vector={name: self._vector(vector) for name, vector in point.vectors.items()},
                payload=point.payload,
            )
            for point in map(with_texts, points)
        ]
        with _writing(self._path):
            self._shard.update(self._edge.UpdateOperation.upsert_points(made))

    def delete(self, points: Sequence[str]) -> None:
        """Delete points by UUID."""
        with _writing(self._path):
            self._shard.update(self._edge.UpdateOperation.delete_points(list(points)))

    def count(self, filter: Any = None) -> int:
        """Return the exact number of points that match a filter."""
        return int(self._shard.count(self._edge.CountRequest(exact=True, filter=filter)))

    def shards(self) -> int:
        """Return 1."""
        return 1

    def query(self, queries: Sequence[PointQuery]) -> ScoredIds:
        """Run a batch of queries in one call."""
        batch = self._edge.QueryBatchRequest([self._request(query) for query in queries])
        return [[(point.payload[DOC_ID], point.score) for point in points] for points in self._shard.query_batch(batch)]

    def retrieve(self, points: Sequence[str], names: Sequence[str]) -> list[Point]:
        """Return those of these points that exist, with the vectors of these names that they have."""
        found = self._shard.retrieve(list(points), with_payload=True, with_vector=self._vectors(names))
        return [self._point(record) for record in found]

    def scroll(
        self, after: Any, limit: int, names: Sequence[str], filter: Any = None, fields: Sequence[str] | None = None
    ) -> tuple[list[Point], Any]:
        """Return some points in the order of their UUIDs, and where to go on; None after the last."""
        payload: Any = True if fields is None else list(fields)
        request = self._edge.ScrollRequest(
            offset=after, limit=limit, filter=filter, with_payload=payload, with_vector=self._vectors(names)
        )
        found, following = self._shard.scroll(request)
        return [self._point(record) for record in found], following

    def optimize(self) -> None:
        """Build the graphs. Edge never does so by itself, and searches points outside of a graph one by one."""
        with _writing(self._path):
            self._shard.optimize()

    def flush(self) -> None:
        """Make all changes durable."""
        with _writing(self._path):
            self._shard.flush()

    def close(self) -> None:
        """Release the directory."""
        self._shard.close()

    def _vectors(self, names: Sequence[str]) -> list[str] | bool:
        """Return the names of vectors among these: texts come with the payload."""
        return [name for name in names if name not in self._schema.texts] or False

    def _point(self, record: Any) -> Point:
        vectors = record.vector or {}
        named = {name: self._as_stored(one) for name, one in vectors.items()}
        return without_texts(Point(str(record.id), named, record.payload))

    def _as_stored(self, vector: Any) -> Any:
        return Sparse(vector.indices, vector.values) if isinstance(vector, self._edge.SparseVector) else vector

    def _vector(self, vector: Any) -> Any:
        return self._edge.SparseVector(vector.indices, vector.values) if isinstance(vector, Sparse) else vector

    def _request(self, query: PointQuery) -> Any:
        edge = self._edge
        legs = []
        for name, vector in query.vectors.items():
            depth = query.limit if len(query.vectors) == 1 else query.depth_of(name)
            params = edge.SearchParams(
                hnsw_ef=max(self._schema.vectors[name].ef_search, depth),
                exact=query.exact,
                quantization=edge.QuantizationSearchParams(ignore=query.exact, rescore=True),
            )
            legs.append((depth, self._scored(name, vector), params))
        if len(legs) == 1:
            _, scored, params = legs[0]
            return edge.QueryRequest(
                limit=query.limit, query=scored, filter=query.filter, params=params, with_payload=[DOC_ID]
            )
        fetched = [edge.Prefetch(limit=d, query=leg, filter=query.filter, params=params) for d, leg, params in legs]
        weights = None if query.weights is None else list(query.weights)
        # Qdrant counts ranks from 0, so its k is the paper's plus one.
        rrf = query.fusion == "rrf"
        fusion = edge.Fusion.Rrf(k=query.rank_constant + 1, weights=weights) if rrf else edge.Fusion.Dbsf()
        return edge.QueryRequest(limit=query.limit, prefetches=fetched, query=fusion, with_payload=[DOC_ID])

    def _scored(self, name: str, vector: Any) -> Any:
        if isinstance(vector, Text):
            text = self._schema.texts[name]
            return self._edge.TextQuery(payload_field(name), vector.text, self._edge.Bm25Params(k=text.k1, b=text.b))
        return self._edge.Query.Nearest(self._vector(vector), using=name)


def _text_index(edge: Any, text: EngineText, *, on_disk: bool) -> Any:
    """Return the parameters of a text index that Qdrant scores."""
    language = text.language.capitalize()
    return edge.TextIndexParams(
        tokenizer=edge.TokenizerType.Word,
        lowercase=True,
        stopwords=getattr(edge.Language, language) if language else None,
        stemmer=edge.SnowballParams(getattr(edge.SnowballLanguage, language)) if language else None,
        memory=edge.Memory.Cold if on_disk else None,
        scoring=True,
    )


def _config(edge: Any, schema: Schema) -> Any:
    named = schema.vectors.items()
    vectors = {name: _dense(edge, one, schema.tenant) for name, one in named if one.kind in ("dense", "tokens")}
    sparse = {
        name: edge.EdgeSparseVectorParams(
            memory=edge.Memory.Cold if one.on_disk else edge.Memory.Pinned,
            modifier=edge.Modifier.Idf if one.idf else None,
        )
        for name, one in named
        if one.kind == "sparse"
    }
    if not vectors and not sparse:
        sparse = {_UNUSED: edge.EdgeSparseVectorParams()}
    optimizers = None
    if schema.idf and not vectors:
        # Edge counts deleted points in document frequencies until `optimize` drops them.
        optimizers = edge.EdgeOptimizersConfig(deleted_threshold=KEPT_DELETED, vacuum_min_vector_number=1)
    first = next((schema.vectors[name] for name in vectors), Vector("dense"))
    hnsw = _graph(edge, first, schema.tenant)
    return edge.EdgeConfig(
        vectors=vectors or None, sparse_vectors=sparse or None, hnsw_config=hnsw, optimizers=optimizers
    )


def _graph(edge: Any, vector: Vector, tenant: str | None) -> Any:
    return edge.HnswIndexConfig(
        m=0 if tenant else vector.m,
        ef_construct=vector.ef_construction,
        full_scan_threshold=10_000,
        memory=edge.Memory.Cold if vector.on_disk else edge.Memory.Cached,
        payload_m=vector.m if tenant else None,
    )


def _dense(edge: Any, vector: Vector, tenant: str | None) -> Any:
    memory = edge.Memory.Cold if vector.on_disk else edge.Memory.Pinned
    quantization = {
        None: lambda: None,
        "scalar": lambda: edge.ScalarQuantizationConfig(edge.ScalarType.Int8, memory=memory),
        "product": lambda: edge.ProductQuantizationConfig(edge.CompressionRatio.X16, memory=memory),
        "binary": lambda: edge.BinaryQuantizationConfig(memory=memory),
    }[vector.quantization]()
    comparator = edge.MultiVectorConfig(edge.MultiVectorComparator.MaxSim) if vector.kind == "tokens" else None
    return edge.EdgeVectorParams(
        max(1, vector.dimension),
        edge.Distance.Cosine if vector.cosine else edge.Distance.Dot,
        multivector_config=comparator,
        memory=edge.Memory.Cold if vector.on_disk else edge.Memory.Cached,
        quantization_config=quantization,
        hnsw_config=_graph(edge, vector, tenant),
    )


def _check_space(path: Path) -> None:
    free = shutil.disk_usage(path).free
    if free < LEAST_FREE:
        raise StorageError(
            f"{path}: {free >> 20} MB are free on its disk, and Qdrant Edge needs {LEAST_FREE >> 20} to write: free "
            "some space and run it again"
        )


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    """Raise a `StorageError` where the disk is nearly full, or if the block cannot write the shard."""
    _check_space(path)
    try:
        yield
    except Exception as error:
        raise StorageError(
            f"the Qdrant Edge shard {path} cannot be written ({error}): if its disk is full, free some space and run "
            "it again"
        ) from error


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
