"""ClientEngine: qdrant-client on a Qdrant server or cluster, or in its local mode (brute force in NumPy, for tests)."""

import math
import os
import random
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from indexing.errors import StorageError
from indexing.filters.fields import Fields
from indexing.indexes.qdrant.engine import Point, PointBatch, PointQuery, ScoredIds, Sparse
from indexing.indexes.qdrant.filters import PAYLOAD, Conditions
from indexing.indexes.qdrant.settings import DOC_ID, QdrantServer, Schema, Vector
from indexing.plurals import counted

POINTS_AT_ONCE = 256
TRIES = 7
"""Maximum number of attempts of a request; the waits between them double from half a second."""
LOCAL_COLLECTION = "documents"
OPTIMIZE_TIMEOUT = 3600.0
"""Seconds to wait for the server to build its graphs."""

Result = TypeVar("Result")


class _ClientConditions:
    def __init__(self, models: Any) -> None:
        self._models = models

    def any_of(self, key: str, values: list[Any]) -> Any:
        return self._models.FieldCondition(key=key, match=self._models.MatchAny(any=values))

    def between(self, key: str, **bounds: float | None) -> Any:
        return self._models.FieldCondition(key=key, range=self._models.Range(**bounds))

    def empty(self, key: str) -> Any:
        return self._models.IsEmptyCondition(is_empty=self._models.PayloadField(key=key))

    def group(self, **conditions: Any) -> Any:
        return self._models.Filter(**conditions)

    def points(self, points: Sequence[str]) -> Any:
        return self._models.HasIdCondition(has_id=list(points))


class ClientEngine:
    """A `QdrantEngine` on one collection of qdrant-client."""

    def __init__(self, client: Any, collection: str, schema: Schema, *, local: bool, where: str) -> None:
        from qdrant_client import models

        self._client, self._collection, self._schema, self._local = client, collection, schema, local
        self._where, self._models = where, models
        self.conditions: Conditions = _ClientConditions(models)

    @classmethod
    def create(
        cls, path: Path, schema: Schema, fields: Fields, server: QdrantServer | None, metadata: Any = None
    ) -> "ClientEngine":
        """Create an empty collection, on the server or in this folder."""
        engine = cls._connected(path, schema, server)
        if engine._exists():
            engine.close()
            raise StorageError(f"{_where(path, server)} already exists: open it, or choose another name")
        engine.create_collection(fields, server, metadata)
        return engine

    @classmethod
    def open(cls, path: Path, schema: Schema, server: QdrantServer | None) -> "ClientEngine":
        """Connect to an existing collection."""
        engine = cls._connected(path, schema, server)
        if not engine._exists():
            engine.close()
            raise StorageError(f"{_where(path, server)} does not exist any more: build it again")
        return engine

    def upsert(self, batch: PointBatch) -> None:
        """Store documents as points, replacing those with the same ids."""
        stored = 0
        for part in batch.parts(POINTS_AT_ONCE):
            self._store(
                list(part.points()),
                f"{stored} of {counted(len(batch), 'document')} of this call are stored; it is safe to store "
                f"them again",
            )
            stored += len(part)

    def store(self, points: Sequence[Point]) -> None:
        """Store points, replacing those with the same ids; the request waits for the required replicas."""
        self._store(points, "it is safe to store the same points again")

    def _store(self, points: Sequence[Point], consequence: str) -> None:
        made = [
            self._models.PointStruct(
                id=point.id, vector={name: _vector(one) for name, one in point.vectors.items()}, payload=point.payload
            )
            for point in points
        ]
        self._retry(partial(self._client.upsert, self._collection, made, wait=True), consequence)

    def delete(self, points: Sequence[str]) -> None:
        """Delete points by UUID."""
        selector = self._models.PointIdsList(points=list(points))
        self._retry(lambda: self._client.delete(self._collection, selector, wait=True))

    def count(self, filter: Any = None) -> int:
        """Return the exact number of points that match a filter."""
        result = self._retry(lambda: self._client.count(self._collection, count_filter=filter, exact=True))
        return int(result.count)

    def query(self, queries: Sequence[PointQuery]) -> ScoredIds:
        """Run a batch of queries in one call."""
        requests = [self._request(query) for query in queries]
        results = self._retry(lambda: self._client.query_batch_points(self._collection, requests))
        return [[(point.payload[DOC_ID], point.score) for point in result.points] for result in results]

    def retrieve(self, points: Sequence[str], names: Sequence[str]) -> list[Point]:
        """Return those of these points that exist, with the vectors of these names that they have."""
        found = self._retry(
            lambda: self._client.retrieve(
                self._collection, list(points), with_payload=True, with_vectors=list(names) or False
            )
        )
        return [self._point(record) for record in found]

    def scroll(
        self, after: Any, limit: int, names: Sequence[str], filter: Any = None, fields: Sequence[str] | None = None
    ) -> tuple[list[Point], Any]:
        """Return some points in the order of their UUIDs, and where to go on; None after the last."""
        payload: Any = True if fields is None else list(fields)
        found, following = self._retry(
            lambda: self._client.scroll(
                self._collection,
                scroll_filter=filter,
                limit=limit,
                offset=after,
                with_payload=payload,
                with_vectors=list(names) or False,
            )
        )
        return [self._point(record) for record in found], following

    def _point(self, record: Any) -> Point:
        vectors = {name: _as_stored(one) for name, one in (record.vector or {}).items()}
        if self._local:
            # The local mode normalises vectors when they are written, and reads them from its files as they were.
            for name in vectors.keys() & {name for name, one in self._schema.vectors.items() if one.cosine}:
                norm = math.sqrt(math.fsum(value * value for value in vectors[name]))
                vectors[name] = [value / norm for value in vectors[name]] if norm else vectors[name]
        return Point(str(record.id), vectors, record.payload or {})

    def optimize(self) -> None:
        """Wait until the server has built its graphs, which it does by itself."""
        deadline = time.monotonic() + OPTIMIZE_TIMEOUT
        while not self._local:
            status = self._retry(lambda: self._client.get_collection(self._collection)).status
            if status == self._models.CollectionStatus.GREEN:
                return
            if time.monotonic() > deadline:
                raise StorageError(
                    f"Qdrant's collection {self._collection} is still {status} after an hour: read the server's log"
                )
            time.sleep(0.5)

    def flush(self) -> None:
        """Do nothing: each request waits until its changes are durable."""

    def close(self) -> None:
        """Close the connection."""
        self._client.close()

    @classmethod
    def _connected(cls, path: Path, schema: Schema, server: QdrantServer | None) -> "ClientEngine":
        from qdrant_client import QdrantClient

        if server is None:
            try:
                return cls(QdrantClient(path=str(path)), LOCAL_COLLECTION, schema, local=True, where=str(path))
            except RuntimeError as error:
                raise StorageError(
                    f"{path} is already open, here or in another process ({error}): close it there first, or run a "
                    "Qdrant server and pass server=QdrantServer(url=...)"
                ) from error
        client = QdrantClient(
            url=server.url,
            api_key=server.api_key or os.environ.get("QDRANT_API_KEY"),
            prefer_grpc=server.grpc,
            timeout=server.timeout,
            check_compatibility=False,
        )
        return cls(client, server.collection, schema, local=False, where=_where(path, server))

    def _exists(self) -> bool:
        return bool(self._retry(lambda: self._client.collection_exists(self._collection)))

    def create_collection(self, fields: Fields, server: QdrantServer | None, metadata: Any = None) -> None:
        """Create the collection of the schema, with an index for each declared field."""
        models, named = self._models, self._schema.vectors
        dense = {name: _dense(models, one, self._schema.tenant) for name, one in named.items() if one.kind != "sparse"}
        sparse = {
            name: models.SparseVectorParams(
                index=models.SparseIndexParams(on_disk=one.on_disk), modifier=models.Modifier.IDF if one.idf else None
            )
            for name, one in named.items()
            if one.kind == "sparse"
        }
        more = {} if server is None else server.cluster_options
        if metadata is not None:
            more = {**more, "metadata": metadata}
        self._retry(
            lambda: self._client.create_collection(
                self._collection, vectors_config=dense, sparse_vectors_config=sparse or None, **more
            )
        )
        if self._local:
            return
        for name, kind in fields.items():
            is_text = kind in ("keyword", "boolean")
            schema: Any = models.PayloadSchemaType.KEYWORD if is_text else models.PayloadSchemaType.FLOAT
            if name == self._schema.tenant:
                schema = models.KeywordIndexParams(type=models.KeywordIndexType.KEYWORD, is_tenant=True)
            self._retry(
                partial(self._client.create_payload_index, self._collection, f"{PAYLOAD}.{name}", schema, wait=True)
            )

    def _request(self, query: PointQuery) -> Any:
        models = self._models
        legs = []
        for name, vector in query.vectors.items():
            depth = query.limit if len(query.vectors) == 1 else query.depth_of(name)
            params = None
            if not self._local:
                params = models.SearchParams(
                    hnsw_ef=max(self._schema.vectors[name].ef_search, depth),
                    exact=query.exact,
                    quantization=models.QuantizationSearchParams(ignore=query.exact, rescore=True),
                )
            legs.append(
                models.Prefetch(query=_vector(vector), using=name, filter=query.filter, params=params, limit=depth)
            )
        if len(legs) == 1:
            return models.QueryRequest(
                query=legs[0].query,
                using=legs[0].using,
                filter=query.filter,
                params=legs[0].params,
                limit=query.limit,
                with_payload=[DOC_ID],
            )
        # Qdrant counts ranks from 0, so its k is the paper's plus one.
        fusion: Any = models.FusionQuery(fusion=models.Fusion.DBSF)
        if query.fusion == "rrf":
            weights = None if query.weights is None else list(query.weights)
            fusion = models.RrfQuery(rrf=models.Rrf(k=query.rank_constant + 1, weights=weights))
        return models.QueryRequest(prefetch=legs, query=fusion, limit=query.limit, with_payload=[DOC_ID])

    def _retry(self, call: Callable[[], Result], consequence: str = "nothing was changed") -> Result:
        try:
            return with_back_off(call)
        except StorageError:
            raise
        except Exception as error:
            raise StorageError(f"Qdrant, {self._where}: {type(error).__name__}: {error}; {consequence}") from error


def with_back_off(call: Callable[[], Result], *, tries: int = TRIES, first_wait: float = 0.5) -> Result:
    """Call until it succeeds, waiting twice as long, plus up to half at random, after each transient failure.

    Transient failures are a missing or broken response, HTTP 429 and 5xx, and gRPC's UNAVAILABLE, DEADLINE_EXCEEDED
    and RESOURCE_EXHAUSTED. Any other error, and the last one, is raised unchanged.
    """
    for retry in range(tries - 1):
        try:
            return call()
        except Exception as error:
            if not _is_transient(error):
                raise
        time.sleep(first_wait * 2**retry * (1 + random.random() / 2))
    return call()


def _is_transient(error: Exception) -> bool:
    from qdrant_client.common.client_exceptions import ResourceExhaustedResponse
    from qdrant_client.http.exceptions import ResponseHandlingException, UnexpectedResponse

    if isinstance(error, UnexpectedResponse):
        return error.status_code == 429 or (error.status_code or 0) >= 500
    if isinstance(error, ResponseHandlingException | ResourceExhaustedResponse):
        return True
    code = getattr(error, "code", None)
    name = getattr(code(), "name", "") if callable(code) else ""
    return name in ("UNAVAILABLE", "DEADLINE_EXCEEDED", "RESOURCE_EXHAUSTED")


def _dense(models: Any, vector: Vector, tenant: str | None) -> Any:
    """Return the parameters of dense vectors or of token vectors."""
    fast = not vector.on_disk
    quantization: dict[str | None, Callable[[], Any]] = {
        None: lambda: None,
        "scalar": lambda: models.ScalarQuantization(
            scalar=models.ScalarQuantizationConfig(type=models.ScalarType.INT8, always_ram=fast)
        ),
        "product": lambda: models.ProductQuantization(
            product=models.ProductQuantizationConfig(compression=models.CompressionRatio.X16, always_ram=fast)
        ),
        "binary": lambda: models.BinaryQuantization(binary=models.BinaryQuantizationConfig(always_ram=fast)),
    }
    comparator = models.MultiVectorConfig(comparator=models.MultiVectorComparator.MAX_SIM)
    return models.VectorParams(
        size=max(1, vector.dimension),
        distance=models.Distance.COSINE if vector.cosine else models.Distance.DOT,
        multivector_config=comparator if vector.kind == "tokens" else None,
        hnsw_config=models.HnswConfigDiff(
            # Links within each tenant only: every search names one.
            m=0 if tenant else vector.m,
            payload_m=vector.m if tenant else None,
            ef_construct=vector.ef_construction,
            on_disk=vector.on_disk,
        ),
        quantization_config=quantization[vector.quantization](),
        on_disk=vector.on_disk,
    )


def _as_stored(vector: Any) -> Any:
    indices = getattr(vector, "indices", None)
    return vector if indices is None else Sparse(indices, vector.values)


def _vector(vector: Any) -> Any:
    from qdrant_client import models

    return models.SparseVector(indices=vector.indices, values=vector.values) if isinstance(vector, Sparse) else vector


def _where(path: Path, server: QdrantServer | None) -> str:
    return str(path) if server is None else f"the collection {server.collection!r} of {server.url}"
