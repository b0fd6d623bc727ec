"""ClientEngine: qdrant-client on a Qdrant server or cluster, or in its local mode (brute force in NumPy, for tests)."""

import math
import os
import re
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from indexing.errors import SetupError, StorageError
from indexing.filters.fields import Fields
from indexing.indexes.qdrant.back_off import BackOff, Result
from indexing.indexes.qdrant.client_models import dense_parameters, from_model, text_parameters, to_model
from indexing.indexes.qdrant.engine import Point, PointBatch, PointQuery, ScoredIds, with_texts, without_texts
from indexing.indexes.qdrant.filters import PAYLOAD, Conditions
from indexing.indexes.qdrant.settings import DOC_ID, QdrantServer, Schema
from indexing.indexes.qdrant.shard_keys import SHARED, ShardKey, ShardKeys
from indexing.indexes.qdrant.text_index import PLAIN, EngineText, Text, payload_field
from indexing.plurals import counted

POINTS_AT_ONCE = 256
SCORES_TEXTS = (1, 20)
"""First version of servers with `TextQuery`."""
LOCAL_COLLECTION = "documents"
OPTIMIZE_TIMEOUT = 3600.0
"""Seconds to wait for the server to build its graphs."""


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
        if schema.texts and not hasattr(models, "TextQuery"):
            raise SetupError("qdrant-client scores texts (TextQuery) from version 1.20: pip install -U qdrant-client")
        self._back_off = BackOff()
        self._shards: ShardKeys | None = None
        if schema.sharded:
            assert schema.tenant is not None
            self._shards = ShardKeys(client, collection, schema.tenant, self._retry)
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
        if self._shards is None:
            self._send(points, consequence)
            return
        grouped = self._shards.grouped(points)
        self._shards.ensure(list(grouped))
        self._leave_other_shards(grouped)
        for key, of_key in grouped.items():
            self._send(of_key, consequence, shard_key_selector=key)

    def _leave_other_shards(self, grouped: Mapping[ShardKey, Sequence[Point]]) -> None:
        """Delete those of these points that are stored in another shard than the one that they belong to."""
        assert self._shards is not None
        wanted = {point.id: key for key, points in grouped.items() for point in points}
        moved: dict[ShardKey, list[str]] = {}
        tenant = f"{PAYLOAD}.{self._schema.tenant}"
        for point in self._retry(
            lambda: self._client.retrieve(self._collection, list(wanted), with_payload=[tenant], with_vectors=False)
        ):
            key = self._shards.key_of(point.payload or {})
            if key != wanted[str(point.id)]:
                moved.setdefault(key, []).append(str(point.id))
        for key, ids in moved.items():
            self._delete(ids, shard_key_selector=key)

    def _send(self, points: Sequence[Point], consequence: str, **shard: Any) -> None:
        made = [
            self._models.PointStruct(
                id=point.id, vector={name: to_model(one) for name, one in point.vectors.items()}, payload=point.payload
            )
            for point in map(with_texts, points)
        ]
        self._retry(partial(self._client.upsert, self._collection, made, wait=True, **shard), consequence)

    def delete(self, points: Sequence[str]) -> None:
        """Delete points by UUID."""
        if self._shards is not None:
            # A server refuses a deletion that names no shards of such a collection.
            self._delete(points, shard_key_selector=self._shards.known())
            return
        self._delete(points)

    def _delete(self, points: Sequence[str], **shard: Any) -> None:
        selector = self._models.PointIdsList(points=list(points))
        self._retry(lambda: self._client.delete(self._collection, selector, wait=True, **shard))

    def count(self, filter: Any = None) -> int:
        """Return the exact number of points that match a filter."""
        result = self._retry(lambda: self._client.count(self._collection, count_filter=filter, exact=True))
        return int(result.count)

    def shards(self) -> int:
        """Return the number of shards of all shard keys; 1 in local mode."""
        described = self._retry(lambda: self._client.get_collection(self._collection))
        keys = 1 if self._shards is None else len(self._shards.known())
        return keys * int(described.config.params.shard_number or 1)

    def query(self, queries: Sequence[PointQuery]) -> ScoredIds:
        """Run a batch of queries in one call."""
        try:
            results = self._answers(queries)
        except StorageError:
            # An alias may have moved to a collection with other shards.
            if self._shards is None or not self._shards.forget():
                raise
            results = self._answers(queries)
        return [[(point.payload[DOC_ID], point.score) for point in result.points] for result in results]

    def _answers(self, queries: Sequence[PointQuery]) -> Any:
        requests = [self._request(query) for query in queries]
        for request, query in zip(requests, queries, strict=True):
            if self._shards is not None:
                request.shard_key = self._shards.of_search(query.tenant)
        return self._retry(lambda: self._client.query_batch_points(self._collection, requests))

    def retrieve(self, points: Sequence[str], names: Sequence[str]) -> list[Point]:
        """Return those of these points that exist, with the vectors of these names that they have."""
        found = self._retry(
            lambda: self._client.retrieve(
                self._collection, list(points), with_payload=True, with_vectors=self._vectors(names)
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
                with_vectors=self._vectors(names),
            )
        )
        return [self._point(record) for record in found], following

    def _vectors(self, names: Sequence[str]) -> list[str] | bool:
        """Return the names of vectors among these: texts come with the payload."""
        return [name for name in names if name not in self._schema.texts] or False

    def _point(self, record: Any) -> Point:
        vectors = {name: from_model(one) for name, one in (record.vector or {}).items()}
        if self._local:
            # The local mode normalises vectors when they are written, and reads them from its files as they were.
            for name in vectors.keys() & {name for name, one in self._schema.vectors.items() if one.cosine}:
                norm = math.sqrt(math.fsum(value * value for value in vectors[name]))
                vectors[name] = [value / norm for value in vectors[name]] if norm else vectors[name]
        return without_texts(Point(str(record.id), vectors, record.payload or {}))

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
        for text in self._schema.texts.values():
            self._check_scoring(text)
        dense = {
            name: dense_parameters(models, one, self._schema.tenant)
            for name, one in named.items()
            if one.kind in ("dense", "tokens")
        }
        sparse = {
            name: models.SparseVectorParams(
                index=models.SparseIndexParams(on_disk=one.on_disk), modifier=models.Modifier.IDF if one.idf else None
            )
            for name, one in named.items()
            if one.kind == "sparse"
        }
        more: dict[str, Any] = {} if server is None else dict(server.cluster_options)
        if self._shards is not None:
            self._shards.check(self._where)
            more["sharding_method"] = models.ShardingMethod.CUSTOM
        if metadata is not None:
            more = {**more, "metadata": metadata}
        self._retry(
            lambda: self._client.create_collection(
                self._collection, vectors_config=dense, sparse_vectors_config=sparse or None, **more
            )
        )
        if self._shards is not None:
            self._shards.ensure([SHARED])
        for name, text in self._schema.texts.items():
            index = text_parameters(models, text, on_disk=named[name].on_disk)
            self._retry(
                partial(self._client.create_payload_index, self._collection, payload_field(name), index, wait=True)
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

    def _check_scoring(self, text: EngineText) -> None:
        """Raise `StorageError` if this engine cannot score texts so."""
        if self._local:
            if text.language:
                raise StorageError(
                    f"the local mode of qdrant-client has no stopwords and stems, which {text.analyzer!r} needs: "
                    f"choose the analyzer {PLAIN!r}, or Edge or a server"
                )
            return
        version = str(self._retry(self._client.info).version)
        if _numbers(version) < SCORES_TEXTS:
            needed = ".".join(map(str, SCORES_TEXTS))
            raise StorageError(
                f"{self._where}: the server has version {version}, and scores texts (TextQuery) from {needed} only: "
                "raise it, or choose one of Lucene's analyzers, such as 'en'"
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
            scored, using = self._scored(name, vector)
            legs.append(models.Prefetch(query=scored, using=using, filter=query.filter, params=params, limit=depth))
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

    def _scored(self, name: str, vector: Any) -> tuple[Any, str]:
        """Return a query, and what it reads: a vector or, of a text, a payload field."""
        if not isinstance(vector, Text):
            return to_model(vector), name
        models, text = self._models, self._schema.texts[name]
        scoring = models.Bm25Scoring(bm25=models.Bm25Params(k=text.k1, b=text.b))
        return models.TextQuery(text=models.TextQueryInput(query=vector.text, scoring=scoring)), payload_field(name)

    def _retry(self, call: Callable[[], Result], consequence: str = "nothing was changed") -> Result:
        try:
            return self._back_off(call)
        except StorageError:
            raise
        except Exception as error:
            raise StorageError(f"Qdrant, {self._where}: {type(error).__name__}: {error}; {consequence}") from error


def _numbers(version: str) -> tuple[int, ...]:
    """Return the first two numbers of a version; very high ones of a development version without any."""
    numbers = re.match(r"(\d+)\.(\d+)", version)
    return tuple(map(int, numbers.groups())) if numbers else SCORES_TEXTS


def _where(path: Path, server: QdrantServer | None) -> str:
    return str(path) if server is None else f"the collection {server.collection!r} of {server.url}"
