"""A server that answers qdrant-client's HTTP requests with its memory mode, one memory collection a shard.

It keeps the rules of a cluster with shard keys that the memory mode lacks: writes and deletions must name their shards,
reads ask all unless they do, and an id is unique within a shard only.
"""

import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from qdrant_client import QdrantClient, models


class RefusedError(Exception):
    """A request that a server answers with 400."""


def memory_name(collection: str, key: Any) -> str:
    """Return the name of the memory collection of one shard."""
    return f"{collection}={'text' if isinstance(key, str) else 'number'}={key}"


class StandIn:
    """The state of the server, and what was asked of it."""

    def __init__(self, *, cluster: bool, version: str = "1.20.0") -> None:
        self.memory, self.cluster, self.version, self.url = QdrantClient(":memory:"), cluster, version, ""
        self.shards: dict[str, list[Any]] = {}
        """Keys of each collection with shard keys."""
        self.indexes: dict[str, list[models.CreateFieldIndex]] = {}
        self.requests: list[tuple[str, Any]] = []
        self.fail_after: int | None = None
        self.lock = threading.Lock()

    def names(self, collection: str, keys: Any) -> list[str]:
        """Return the memory collections of some keys of a collection; of all for None."""
        collection = self.target(collection)
        if collection not in self.shards:
            return [collection]
        wanted = self.shards[collection] if keys is None else keys if isinstance(keys, list) else [keys]
        for key in wanted:
            if key not in self.shards[collection]:
                raise RefusedError(f"Shard key {key} not found")
        return [memory_name(collection, key) for key in wanted]

    def target(self, name: str) -> str:
        aliases = {one.alias_name: one.collection_name for one in self.memory.get_aliases().aliases}
        return aliases.get(name, name)

    def written(self, collection: str, keys: Any) -> list[str]:
        if self.target(collection) in self.shards and keys is None:
            raise RefusedError("Shard key not specified")
        return self.names(collection, keys)

    def answer(self, method: str, path: str, body: Any) -> Any:
        """Return the result of one request."""
        if (found := re.fullmatch(r"/collections/([^/]+)(/.*)?", path)) is None or path == "/collections/aliases":
            return self.of_server(method, path, body)
        name, rest = found[1], found[2] or ""
        made = {one.name for one in self.memory.get_collections().collections}
        if (method, rest) == ("GET", "/exists"):
            return {"exists": self.target(name) in made}
        if (method, rest) == ("PUT", ""):
            return self.create(name, models.CreateCollection(**body))
        if self.target(name) not in made:
            raise RefusedError(f"Collection {name} does not exist")
        handler = getattr(self, f"{method}{rest.replace('/', '_')}".lower())
        return handler(name, body)

    def of_server(self, method: str, path: str, body: Any) -> Any:
        if path == "/cluster":
            if not self.cluster:
                return {"status": "disabled"}
            raft = {"term": 1, "commit": 1, "pending_operations": 0, "is_voter": True}
            status = {"consensus_thread_status": "working", "last_update": "2026-01-01T00:00:00Z"}
            peers = {"status": "enabled", "peer_id": 1, "peers": {}, "raft_info": raft, "message_send_failures": {}}
            return {**peers, "consensus_thread_status": status}
        if path == "/aliases":
            return self.memory.get_aliases()
        if path == "/collections":
            names = [one.name for one in self.memory.get_collections().collections if "=" not in one.name]
            return {"collections": [{"name": name} for name in names]}
        return self.memory.update_collection_aliases(models.ChangeAliasesOperation(**body).actions)

    def create(self, name: str, made: models.CreateCollection) -> bool:
        self.describe = getattr(self, "describe", {}) | {name: made}
        if made.sharding_method == models.ShardingMethod.CUSTOM:
            self.shards[name] = []
        return self.create_memory(name, name)

    def create_memory(self, name: str, described: str) -> bool:
        made = self.describe[described]
        return self.memory.create_collection(
            name, vectors_config=made.vectors, sparse_vectors_config=made.sparse_vectors, metadata=made.metadata
        )

    def get(self, name: str, body: Any) -> Any:
        described = self.memory.get_collection(self.target(name))
        described.config.params.shard_number = self.describe[self.target(name)].shard_number or 1
        return described

    def patch(self, name: str, body: Any) -> Any:
        return self.memory.update_collection(self.target(name), metadata=body["metadata"])

    def delete(self, name: str, body: Any) -> Any:
        for one in [*self.names(name, None), name]:
            self.memory.delete_collection(one)
        return bool(self.shards.pop(name, True))

    def get_shards(self, name: str, body: Any) -> Any:
        return {"shard_keys": [{"key": key} for key in self.shards.get(self.target(name), [])]}

    def put_shards(self, name: str, body: Any) -> Any:
        if body["shard_key"] in self.shards[name]:
            raise RefusedError("Shard key already exists")
        made = memory_name(name, body["shard_key"])
        self.create_memory(made, name)
        for given in self.indexes.get(name, []):
            self.memory.create_payload_index(made, given.field_name, given.field_schema)
        self.shards[name].append(body["shard_key"])
        return True

    def put_index(self, name: str, body: Any) -> Any:
        given = models.CreateFieldIndex(**body)
        self.indexes.setdefault(self.target(name), []).append(given)
        for one in self.names(name, None):
            self.memory.create_payload_index(one, given.field_name, given.field_schema)
        return {"operation_id": 0, "status": "completed"}

    def put_points(self, name: str, body: Any) -> Any:
        given = models.PointsList(**body)
        for one in self.written(name, given.shard_key):
            self.memory.upsert(one, given.points)
        return {"operation_id": 0, "status": "completed"}

    def post_points_delete(self, name: str, body: Any) -> Any:
        for one in self.written(name, body.get("shard_key")):
            self.memory.delete(one, models.PointIdsList(points=body["points"]))
        return {"operation_id": 0, "status": "completed"}

    def post_points(self, name: str, body: Any) -> Any:
        given = models.PointRequest(**body)
        shards = self.names(name, given.shard_key)
        return [
            record
            for one in shards
            for record in self.memory.retrieve(
                one, given.ids, with_payload=given.with_payload, with_vectors=given.with_vector or False
            )
        ]

    def post_points_count(self, name: str, body: Any) -> Any:
        given = models.CountRequest(**body)
        counts = [self.memory.count(one, given.filter).count for one in self.names(name, given.shard_key)]
        return {"count": sum(counts)}

    def post_points_scroll(self, name: str, body: Any) -> Any:
        given = models.ScrollRequest(**body)
        found = []
        for one in self.names(name, given.shard_key):
            found += self.memory.scroll(
                one, given.filter, 10_000, with_payload=given.with_payload, with_vectors=given.with_vector or False
            )[0]
        found = sorted((one for one in found if given.offset is None or one.id >= given.offset), key=lambda one: one.id)
        limit = given.limit or 10
        return {"points": found[:limit], "next_page_offset": found[limit].id if len(found) > limit else None}

    def post_points_query_batch(self, name: str, body: Any) -> Any:
        answers = []
        for asked in models.QueryRequestBatch(**body).searches:
            hits = []
            for one in self.names(name, asked.shard_key):
                hits += self.memory.query_points(
                    one,
                    asked.query,
                    asked.using,
                    asked.prefetch,
                    asked.filter,
                    limit=asked.limit,
                    with_payload=asked.with_payload,
                ).points
            answers.append({"points": sorted(hits, key=lambda hit: -hit.score)[: asked.limit]})
        return answers


@contextmanager
def stand_in(**options: Any) -> Iterator[StandIn]:
    """Run the server while the block runs."""
    state = StandIn(**options)

    class Handler(BaseHTTPRequestHandler):
        def reply(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)) or "null")
            path = self.path.partition("?")[0]
            with state.lock:
                code, content = self.result(path, body)
            self.send_response(code)
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            self.wfile.write(json.dumps(content, default=lambda one: one.model_dump(mode="json")).encode())

        def result(self, path: str, body: Any) -> tuple[int, Any]:
            if path == "/":
                return 200, {"title": "qdrant", "version": state.version}
            state.requests.append((f"{self.command} {path}", body))
            writes = self.command == "PUT" or path.endswith("/delete")
            if writes and state.fail_after is not None:
                state.fail_after -= 1
                if state.fail_after < 0:
                    return 400, {"status": {"error": "killed"}, "time": 0}
            try:
                return 200, {"result": state.answer(self.command, path, body), "status": "ok", "time": 0}
            except (RefusedError, ValueError, AttributeError) as error:
                return 400, {"status": {"error": f"Wrong input: {error}"}, "time": 0}

        do_GET = do_PUT = do_POST = do_PATCH = do_DELETE = reply  # noqa: N815

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    state.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()
