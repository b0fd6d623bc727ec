"""Qdrant as a kind of leg."""

import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from indexing.indexes.base import NO_LOOKUPS, Kind, Lookups, Making, Precision
from indexing.indexes.bm25_weights import DEFAULT_ANALYZER
from indexing.indexes.qdrant.bm25 import QdrantBm25Index, WordSettings
from indexing.indexes.qdrant.files import read_settings
from indexing.indexes.qdrant.index import QdrantIndex
from indexing.indexes.qdrant.settings import QdrantServer
from indexing.indexes.qdrant.text_index import EngineText, is_engine_analyzer
from indexing.indexes.qdrant.text_query import QdrantTextIndex
from indexing.indexes.qdrant.tokens import check_sizes
from indexing.indexes.registry import Rows, chosen, rows_of
from indexing.indexes.vectors import check_token_rows, check_vector_rows, check_weight_rows

_PLACE = frozenset({"on_disk", "engine", "server"})
_GRAPH = frozenset({"m", "ef_construction", "ef_search", "quantization"})
_WORDS = frozenset({"k1", "b", "analyzer"})


class QdrantKind(Kind):
    """Dense vectors, token vectors, term weights, or the words of documents in Qdrant.

    Parameters are those of `QdrantSettings`, with ``engine`` and ``server``. The metric of a leg of token vectors is
    "maxsim" or "meanmaxsim", which tells it from a leg of dense vectors. A leg of words has ``k1``, ``b`` and
    ``analyzer``, of which the last is always recorded; an analyzer of Qdrant's (`ENGINE_ANALYZERS`) lets Qdrant score.
    """

    backend = "qdrant"
    folders = ("shard", "local")
    placing = _PLACE

    def choices(self, rows: Rows, parameters: Mapping[str, Any]) -> frozenset[str]:
        """Return where the points are, what the graph of vectors is like, and how words are weighted."""
        return _PLACE | {"weights": frozenset(), "text": _WORDS}.get(rows, _GRAPH)

    def recorded(self, rows: Rows) -> Mapping[str, Any]:
        """Return the analyzer of words, which tells the leg from others."""
        return {"analyzer": DEFAULT_ANALYZER} if rows == "text" else {}

    def is_exact(self, rows: Rows, parameters: Mapping[str, Any]) -> bool:
        """Return whether all rows are compared: weights, words, and token vectors without graph and quantisation."""
        return rows in ("weights", "text") or (
            rows == "tokens" and not parameters.get("m") and not parameters.get("quantization")
        )

    def precision(self, rows: Rows, parameters: Mapping[str, Any]) -> Precision:
        """Return ``quantised`` where a quantisation finds the hits, although whole vectors score them again."""
        return "quantised" if parameters.get("quantization") else "exact"

    def scoring(self, rows: Rows) -> frozenset[str]:
        """Return the analyzer of words, and BM25's parameters."""
        return _WORDS if rows == "text" else frozenset()

    def check(self, ids: Sequence[str], rows: Any, parameters: Mapping[str, Any]) -> None:
        """Raise `InputError` for rows of another shape, a NaN, an infinity, or weights that no index could hold."""
        rows_are = rows_of(self.backend, parameters)
        if rows_are == "text":
            return
        if rows_are == "tokens":
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
        if rows_of(self.backend, parameters) == "text":
            of_texts = QdrantTextIndex if is_engine_analyzer(settings.get("analyzer")) else QdrantBm25Index
            return of_texts.create_of_texts(
                path, fields=making.fields, server=QdrantServer(**server) if server else None, **settings
            )
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
        stored = read_settings(path)
        kind = QdrantIndex if stored.words is None else QdrantBm25Index
        if stored.settings.text is not None:
            kind = QdrantTextIndex
        return kind.open(path, read_only=read_only)

    def notes(self, path: Path) -> list[str]:
        """Return what in the statistics of a leg of words has drifted."""
        words = read_settings(path).words
        return [] if words is None else WordSettings.of(words).notes

    def remarks(self, rows: Rows, parameters: Mapping[str, Any]) -> list[str]:
        """Return how Qdrant's own analysis and scores differ, where they are chosen."""
        of_engine = rows == "text" and is_engine_analyzer(parameters.get("analyzer"))
        return [EngineText(str(parameters["analyzer"])).remark] if of_engine else []

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
