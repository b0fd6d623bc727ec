"""ClientEngine: qdrant-client on a Qdrant server or cluster, or in its local mode (brute force in NumPy, for tests)."""

import os
import random
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from indexing.errors import StorageError
from indexing.filters.fields import Fields
from indexing.indexes.qdrant.engine import PointBatch, PointQuery, ScoredIds, Sparse
from indexing.indexes.qdrant.filters import Conditions
from indexing.indexes.qdrant.settings import DENSE, DOC_ID, SPARSE, TOKENS, QdrantServer, QdrantSettings
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

    def __init__(self, client: Any, collection: str, settings: QdrantSettings, *, local: bool, where: str) -> None:
        from qdrant_client import models

        self._client, self._collection, self._settings, self._local = client, collection, settings, local
        self._where, self._models = where, models
        self.conditions: Conditions = _ClientConditions(models)

    @classmethod
    def create(
        cls, path: Path, settings: QdrantSettings, fields: Fields, server: QdrantServer | None
    ) -> "ClientEngine":
        """Create an empty collection, on the server or in this folder."""
        engine = cls._connected(path, settings, server)
        if engine._exists():
            engine.close()
            raise StorageError(f"{_where(path, server)} already exists: open it, or choose another name")
        engine._create_collection(fields, server)
        return engine

    @classmethod
    def open(cls, path: Path, settings: QdrantSettings, server: QdrantServer | None) -> "ClientEngine":
        """Connect to an existing collection."""
        engine = cls._connected(path, settings, server)
        if not engine._exists():
            engine.close()
            raise StorageError(f"{_where(path, server)} does not exist any more: build it again")
        return engine

    def upsert(self, batch: PointBatch) -> None:
        """Store points, replacing those with the same ids; each request waits for the required replicas."""
        stored = 0
        for part in batch.parts(POINTS_AT_ONCE):
            points = [
                self._models.PointStruct(
                    id=point, vector={name: _vector(vector) for name, vector in vectors.items()}, payload=payload
                )
                for point, vectors, payload in part.rows()
            ]
            self._retry(
                partial(self._client.upsert, self._collection, points, wait=True),
                f"{stored} of {counted(len(batch), 'document')} of this call are stored; it is safe to store "
                f"them again",
            )
            stored += len(part)

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

    def vectors(self, name: str, points: Sequence[str]) -> dict[str, Any]:
        """Return the vectors of this name of those of these points that have any, by UUID."""
        found = self._retry(
            lambda: self._client.retrieve(self._collection, list(points), with_payload=False, with_vectors=[name])
        )
        return {str(point.id): point.vector[name] for point in found if point.vector and name in point.vector}

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
    def _connected(cls, path: Path, settings: QdrantSettings, server: QdrantServer | None) -> "ClientEngine":
        from qdrant_client import QdrantClient

        if server is None:
            try:
                return cls(QdrantClient(path=str(path)), LOCAL_COLLECTION, settings, local=True, where=str(path))
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
        return cls(client, server.collection, settings, local=False, where=_where(path, server))

    def _exists(self) -> bool:
        return bool(self._retry(lambda: self._client.collection_exists(self._collection)))

    def _create_collection(self, fields: Fields, server: QdrantServer | None) -> None:
        models = self._models
        settings, on_disk = self._settings, self._settings.on_disk
        quantization: dict[str | None, Callable[[], Any]] = {
            None: lambda: None,
            "scalar": lambda: models.ScalarQuantization(
                scalar=models.ScalarQuantizationConfig(type=models.ScalarType.INT8, always_ram=not on_disk)
            ),
            "product": lambda: models.ProductQuantization(
                product=models.ProductQuantizationConfig(
                    compression=models.CompressionRatio.X16, always_ram=not on_disk
                )
            ),
            "binary": lambda: models.BinaryQuantization(binary=models.BinaryQuantizationConfig(always_ram=not on_disk)),
        }
        dense = models.VectorParams(
            size=max(1, settings.dimension),
            distance=models.Distance.COSINE if settings.metric == "cosine" else models.Distance.DOT,
            multivector_config=models.MultiVectorConfig(comparator=models.MultiVectorComparator.MAX_SIM)
            if settings.of_tokens
            else None,
            hnsw_config=models.HnswConfigDiff(m=settings.m, ef_construct=settings.ef_construction, on_disk=on_disk),
            quantization_config=quantization[settings.quantization](),
            on_disk=on_disk,
        )
        sparse = models.SparseVectorParams(index=models.SparseIndexParams(on_disk=on_disk))
        self._retry(
            lambda: self._client.create_collection(
                self._collection,
                vectors_config={TOKENS if settings.of_tokens else DENSE: dense} if settings.dimension else {},
                sparse_vectors_config={SPARSE: sparse} if settings.vocabulary else None,
                **({} if server is None else server.cluster_options),
            )
        )
        if self._local:
            return
        for name, kind in fields.items():
            is_text = kind in ("keyword", "boolean")
            schema = models.PayloadSchemaType.KEYWORD if is_text else models.PayloadSchemaType.FLOAT
            self._retry(
                partial(self._client.create_payload_index, self._collection, f"metadata.{name}", schema, wait=True)
            )

    def _request(self, query: PointQuery) -> Any:
        models = self._models
        params = None
        if not self._local:
            params = models.SearchParams(
                hnsw_ef=max(self._settings.ef_search, query.limit),
                exact=query.exact,
                quantization=models.QuantizationSearchParams(ignore=query.exact, rescore=True),
            )
        legs = [
            models.Prefetch(query=_vector(vector), using=name, filter=query.filter, params=params, limit=query.depth)
            for name, vector in query.vectors.items()
        ]
        if len(legs) == 1:
            return models.QueryRequest(
                query=legs[0].query,
                using=legs[0].using,
                filter=query.filter,
                params=params,
                limit=query.limit,
                with_payload=[DOC_ID],
            )
        # Qdrant counts ranks from 0, so its k is the paper's plus one.
        fusion: Any = models.FusionQuery(fusion=models.Fusion.DBSF)
        if query.fusion == "rrf":
            fusion = models.RrfQuery(rrf=models.Rrf(k=query.rank_constant + 1))
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


def _vector(vector: Any) -> Any:
    from qdrant_client import models

    return models.SparseVector(indices=vector.indices, values=vector.values) if isinstance(vector, Sparse) else vector


def _where(path: Path, server: QdrantServer | None) -> str:
    return str(path) if server is None else f"the collection {server.collection!r} of {server.url}"
