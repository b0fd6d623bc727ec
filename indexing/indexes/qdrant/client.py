"""qdrant-client: a Qdrant server or cluster, or the client's own local mode (brute force in NumPy, for tests)."""

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
from indexing.indexes.qdrant.settings import DENSE, DOC_ID, SPARSE, QdrantServer, QdrantSettings

POINTS_AT_ONCE = 256
TRIES = 7
"""Of each request; the waits between them double from half a second."""
LOCAL_COLLECTION = "documents"
WAITING_FOR_GREEN = 3600.0

Answer = TypeVar("Answer")


class ClientConditions:
    """Conditions as qdrant-client spells them."""

    def any_of(self, key: str, values: list[Any]) -> Any:
        """Ask for one of these strings."""
        from qdrant_client import models

        return models.FieldCondition(key=key, match=models.MatchAny(any=values))

    def between(self, key: str, **bounds: float | None) -> Any:
        """Ask for a number within gt, gte, lt, lte."""
        from qdrant_client import models

        return models.FieldCondition(key=key, range=models.Range(**bounds))

    def empty(self, key: str) -> Any:
        """Ask for no value."""
        from qdrant_client import models

        return models.IsEmptyCondition(is_empty=models.PayloadField(key=key))

    def group(self, **conditions: Any) -> Any:
        """Join conditions to a filter."""
        from qdrant_client import models

        return models.Filter(**conditions)

    def points(self, points: Sequence[str]) -> Any:
        """Ask for these points."""
        from qdrant_client import models

        return models.HasIdCondition(has_id=list(points))

    def nothing(self) -> Any:
        """Give a condition that is true of no point."""
        return self.points(())


class ClientEngine:
    """One collection behind qdrant-client; see `indexing.indexes.qdrant.engine.QdrantEngine`."""

    def __init__(self, client: Any, collection: str, settings: QdrantSettings, *, local: bool, where: str) -> None:
        self._client, self._collection, self._settings, self._local = client, collection, settings, local
        self._where = where
        self.conditions: Conditions = ClientConditions()

    @classmethod
    def create(
        cls, path: Path, settings: QdrantSettings, fields: Fields, server: QdrantServer | None
    ) -> "ClientEngine":
        """Make an empty collection, on the server, or in this folder."""
        engine = cls._connected(path, settings, server)
        if engine._exists():
            engine.close()
            raise StorageError(f"{_where(path, server)} is there already: open it, or choose another name")
        engine._make(fields, server)
        return engine

    @classmethod
    def open(cls, path: Path, settings: QdrantSettings, server: QdrantServer | None) -> "ClientEngine":
        """Connect to a collection that is there."""
        engine = cls._connected(path, settings, server)
        if not engine._exists():
            engine.close()
            raise StorageError(f"{_where(path, server)} is not there any more: build it again")
        return engine

    def upsert(self, batch: PointBatch) -> None:
        """Store points, whole; each request waits until enough replicas have it."""
        from qdrant_client import models

        stored = 0
        for part in batch.parts(POINTS_AT_ONCE):
            points = [
                models.PointStruct(
                    id=point, vector={name: _vector(one) for name, one in vectors.items()}, payload=payload
                )
                for point, vectors, payload in part.rows()
            ]
            self._patiently(
                partial(self._client.upsert, self._collection, points, wait=True),
                f"{stored} of {len(batch)} documents of this call are stored; storing them again does no harm",
            )
            stored += len(part)

    def delete(self, points: Sequence[str]) -> None:
        """Remove points by UUID."""
        from qdrant_client import models

        chosen = models.PointIdsList(points=list(points))
        self._patiently(lambda: self._client.delete(self._collection, chosen, wait=True))

    def count(self, filter: Any = None) -> int:
        """Count the points that a filter keeps."""
        answer = self._patiently(lambda: self._client.count(self._collection, count_filter=filter, exact=True))
        return int(answer.count)

    def query(self, questions: Sequence[PointQuery]) -> ScoredIds:
        """Answer several questions in one call."""
        requests = [self._request(question) for question in questions]
        answers = self._patiently(lambda: self._client.query_batch_points(self._collection, requests))
        return [[(point.payload[DOC_ID], point.score) for point in answer.points] for answer in answers]

    def optimize(self) -> None:
        """Wait until the server has built the graphs of what it was given, which it does by itself."""
        until = time.monotonic() + WAITING_FOR_GREEN
        while not self._local:
            status = self._patiently(lambda: self._client.get_collection(self._collection)).status
            if str(getattr(status, "value", status)) == "green":
                return
            if time.monotonic() > until:
                raise StorageError(
                    f"Qdrant's collection {self._collection} is still {status} after an hour: see its log"
                )
            time.sleep(0.5)

    def flush(self) -> None:
        """Do nothing: every request has waited."""

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
                    f"{path} is open already, here or in another process ({error}): close it there first, or run a "
                    "Qdrant server and give server=QdrantServer(url=...)"
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
        return bool(self._patiently(lambda: self._client.collection_exists(self._collection)))

    def _make(self, fields: Fields, server: QdrantServer | None) -> None:
        from qdrant_client import models

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
            hnsw_config=models.HnswConfigDiff(m=settings.m, ef_construct=settings.ef_construction, on_disk=on_disk),
            quantization_config=quantization[settings.quantization](),
            on_disk=on_disk,
        )
        sparse = models.SparseVectorParams(index=models.SparseIndexParams(on_disk=on_disk))
        cluster = (
            {}
            if server is None
            else {
                name: getattr(server, name)
                for name in ("shard_number", "replication_factor", "write_consistency_factor")
                if getattr(server, name) is not None
            }
        )
        self._patiently(
            lambda: self._client.create_collection(
                self._collection,
                vectors_config={DENSE: dense} if settings.dimension else {},
                sparse_vectors_config={SPARSE: sparse} if settings.vocabulary else None,
                **cluster,
            )
        )
        if self._local:
            return
        for name, kind in fields.items():
            words = kind in ("keyword", "boolean")
            schema = models.PayloadSchemaType.KEYWORD if words else models.PayloadSchemaType.FLOAT
            self._patiently(
                partial(self._client.create_payload_index, self._collection, f"metadata.{name}", schema, wait=True)
            )

    def _request(self, question: PointQuery) -> Any:
        from qdrant_client import models

        params = None
        if not self._local:
            params = models.SearchParams(
                hnsw_ef=max(self._settings.ef_search, question.limit),
                exact=question.exact,
                quantization=models.QuantizationSearchParams(ignore=question.exact, rescore=True),
            )
        asked = {DENSE: question.dense, SPARSE: question.sparse}
        legs = [
            models.Prefetch(query=_vector(one), using=name, filter=question.filter, params=params, limit=question.depth)
            for name, one in asked.items()
            if one is not None
        ]
        if len(legs) == 1:
            return models.QueryRequest(
                query=legs[0].query,
                using=legs[0].using,
                filter=question.filter,
                params=params,
                limit=question.limit,
                with_payload=[DOC_ID],
            )
        # Qdrant counts ranks from 0, so its k is one more than that of the paper.
        fusion = (
            models.RrfQuery(rrf=models.Rrf(k=question.rank_constant + 1))
            if question.fusion == "rrf"
            else models.FusionQuery(fusion=models.Fusion.DBSF)
        )
        return models.QueryRequest(prefetch=legs, query=fusion, limit=question.limit, with_payload=[DOC_ID])

    def _patiently(self, call: Callable[[], Answer], consequence: str = "nothing was changed by it") -> Answer:
        try:
            return with_back_off(call)
        except StorageError:
            raise
        except Exception as error:
            raise StorageError(f"Qdrant, {self._where}: {type(error).__name__}: {error}; {consequence}") from error


def with_back_off(call: Callable[[], Answer], *, tries: int = TRIES, first_wait: float = 0.5) -> Answer:
    """Call until it succeeds, waiting twice as long (and up to half more, by chance) after each transient failure.

    Transient are: no answer or a broken one, HTTP 429 and 5xx, gRPC's UNAVAILABLE, DEADLINE_EXCEEDED and
    RESOURCE_EXHAUSTED. Any other error, and the last one, is raised as it is.
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


def _vector(one: Any) -> Any:
    from qdrant_client import models

    return models.SparseVector(indices=one.indices, values=one.values) if isinstance(one, Sparse) else one


def _where(path: Path, server: QdrantServer | None) -> str:
    return str(path) if server is None else f"the collection {server.collection!r} of {server.url}"
