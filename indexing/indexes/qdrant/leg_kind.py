"""Qdrant as a kind of leg."""

import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from indexing.indexes.base import NO_LOOKUPS, Kind, Lookups, Making
from indexing.indexes.qdrant.index import QdrantIndex
from indexing.indexes.qdrant.settings import QdrantServer
from indexing.indexes.qdrant.tokens import check_sizes
from indexing.indexes.registry import Rows, chosen, rows_of
from indexing.indexes.vectors import check_token_rows, check_vector_rows, check_weight_rows

_PLACE = frozenset({"on_disk", "engine", "server"})
_GRAPH = frozenset({"m", "ef_construction", "ef_search", "quantization"})


class QdrantKind(Kind):
    """Dense vectors, token vectors or term weights in Qdrant.

    Parameters are those of `QdrantSettings`, with ``engine`` and ``server``. The metric of a leg of token vectors is
    "maxsim" or "meanmaxsim", which tells it from a leg of dense vectors.
    """

    backend = "qdrant"
    folders = ("shard", "local")

    def choices(self, rows: Rows, parameters: Mapping[str, Any]) -> frozenset[str]:
        """Return where the points are, and of dense and token vectors what their graph is like."""
        return _PLACE if rows == "weights" else _PLACE | _GRAPH

    def is_exact(self, rows: Rows, parameters: Mapping[str, Any]) -> bool:
        """Return whether all rows are compared: term weights, and token vectors without graph and quantisation."""
        return rows == "weights" or (
            rows == "tokens" and not parameters.get("m") and not parameters.get("quantization")
        )

    def check(self, ids: Sequence[str], rows: Any, parameters: Mapping[str, Any]) -> None:
        """Raise `InputError` for rows of another shape, a NaN, an infinity, or weights that no index could hold."""
        if rows_of(self.backend, parameters) == "tokens":
            check_token_rows(ids, rows, int(parameters["dimension"]))
            check_sizes(rows, ids)
        elif "dimension" in parameters:
            check_vector_rows(ids, rows, int(parameters["dimension"]))
        else:
            check_weight_rows(ids, rows, int(parameters["columns"]), 100)

    def create(self, path: Path, parameters: Mapping[str, Any], making: Making) -> QdrantIndex:
        """Make an empty index."""
        settings = chosen(parameters)
        server = settings.pop("server", None)
        return QdrantIndex.create(
            path,
            int(parameters.get("dimension", 0)),
            vocabulary=int(parameters.get("columns", 0)),
            fields=making.fields,
            server=QdrantServer(**server) if server else None,
            **settings,
        )

    def open(self, path: Path, *, read_only: bool, lookups: Lookups = NO_LOOKUPS) -> QdrantIndex:
        """Open the index; see `QdrantIndex.open`."""
        return QdrantIndex.open(path, read_only=read_only)

    def place(self, parameters: Mapping[str, Any], leg: str, collection: Path) -> Mapping[str, Any]:
        """Name the collection on a server where nobody has; a fresh name, since a killed job may have left one."""
        server = parameters.get("server")
        if not server or server.get("collection"):
            return parameters
        home = collection.absolute().name.removeprefix(".").removesuffix(".building")
        return {**parameters, "server": {**server, "collection": f"{home}-{leg}-{uuid.uuid4().hex[:8]}"}}

    def left_elsewhere(self, parameters: Mapping[str, Any]) -> str | None:
        """Name the collection that stays on the server."""
        server = parameters.get("server")
        return f"the collection {server['collection']!r} of {server['url']}" if server else None
