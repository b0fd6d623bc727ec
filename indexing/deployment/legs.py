"""DeployedLegs: the legs of a deployed collection, each as an index, and all of them searched in one request."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from indexing.deployment.layout import Layout, leg_settings
from indexing.filters import Filter, FilterLike, parse_filter
from indexing.hits import Hits
from indexing.indexes.qdrant.bm25 import QdrantBm25Index, WordSettings
from indexing.indexes.qdrant.engine import PointQuery, QdrantEngine
from indexing.indexes.qdrant.filters import one_value, qdrant_filter
from indexing.indexes.qdrant.index import QdrantIndex
from indexing.indexes.qdrant.search import QdrantSearch, hits_of
from indexing.indexes.qdrant.text_query import QdrantTextIndex
from indexing.indexes.registry import analysis_of

POINT_QUERIES_AT_ONCE = 256


class DeployedLegs:
    """The legs of one deployed collection; a `LegGroup`.

    Parameters
    ----------
    path
        Where it is, named in errors.
    layout
        Its description.
    engine
        The engine with the points.
    """

    def __init__(self, path: Path, layout: Layout, engine: QdrantEngine) -> None:
        self._path, self._layout, self._engine = path, layout, engine
        self._indexes: dict[str, QdrantIndex] = {}

    def index(self, name: str) -> QdrantIndex:
        """Return one leg as an index; closing it leaves the engine open."""
        if name not in self._indexes:
            self._indexes[name] = self._made(name)
        return self._indexes[name]

    def search(
        self, queries: Mapping[str, Any], depths: Mapping[str, int], filter: FilterLike | None
    ) -> dict[str, Hits]:
        """Return each leg's hits for its encoded queries, all searched in one request."""
        parsed, condition = self._parsed(filter)
        tenant = self._tenant_of(parsed)
        asked: list[PointQuery] = []
        places: list[tuple[str, int]] = []
        counts: dict[str, int] = {}
        for name, of_leg in queries.items():
            points = self._points(name, of_leg)
            counts[name] = len(points)
            for row, point in enumerate(points):
                if point.vectors:
                    exact = self._search(name).scans(parsed)
                    asked.append(replace(point, limit=depths[name], filter=condition, exact=exact, tenant=tenant))
                    places.append((name, row))
        found: dict[str, list[list[tuple[str, float]]]] = {name: [[] for _ in range(n)] for name, n in counts.items()}
        for start in range(0, len(asked), POINT_QUERIES_AT_ONCE):
            part = slice(start, start + POINT_QUERIES_AT_ONCE)
            results = self._engine.query(asked[part])
            for (name, row), query, hits in zip(places[part], asked[part], results, strict=True):
                found[name][row] = self._search(name).scaled(query, hits)
        return {name: hits_of(rows) for name, rows in found.items()}

    def fused(
        self,
        queries: Mapping[str, Any],
        depths: Mapping[str, int],
        k: int,
        filter: FilterLike | None,
        *,
        fusion: str,
        rank_constant: int,
        weights: tuple[float, ...] | None,
    ) -> Hits:
        """Return the hits of all legs as Qdrant fuses them, in one request; parameters as in `PointQuery`."""
        parsed, condition = self._parsed(filter)
        tenant = self._tenant_of(parsed)
        exact = self._layout.tenant is not None and tenant is None
        columns = {name: self._points(name, of_leg) for name, of_leg in queries.items()}
        count = len(next(iter(columns.values())))
        asked, rows = [], []
        for row in range(count):
            vectors = {name: vector for points in columns.values() for name, vector in points[row].vectors.items()}
            if not vectors:
                continue
            if len(vectors) < len(columns):
                return Hits.empty(0)  # Qdrant's formula has no place for a leg without a query
            rows.append(row)
            asked.append(
                PointQuery(
                    vectors,
                    k,
                    condition,
                    exact=exact,
                    fusion=fusion,
                    rank_constant=rank_constant,
                    weights=weights,
                    depth=depths,
                    tenant=tenant,
                )
            )
        found: list[list[tuple[str, float]]] = [[] for _ in range(count)]
        for start in range(0, len(asked), POINT_QUERIES_AT_ONCE):
            part = slice(start, start + POINT_QUERIES_AT_ONCE)
            for row, hits in zip(rows[part], self._engine.query(asked[part]), strict=True):
                found[row] = hits
        return hits_of(found)

    def _made(self, name: str) -> QdrantIndex:
        leg, settings = self._layout.legs[name], leg_settings(self._layout.legs[name])
        given: dict[str, Any] = {
            "engine_name": "server",
            "server": None,
            "sequence": self._layout.sequence,
            "read_only": True,
        }
        arguments: Any = self._path, settings, self._layout.fields, self._engine
        made: QdrantIndex
        if settings.text is not None:
            made = DeployedText(*arguments, name=name, **given)
        elif leg.rows == "text":
            kept = {
                key: value for key, value in leg.parameters.items() if key in ("k1", "b", "analyzer", "mean_length")
            }
            analysis = analysis_of(leg.parameters["analyzer"], self._path)
            made = DeployedBm25(*arguments, words=WordSettings(**kept), analysis=analysis, name=name, **given)
        else:
            made = DeployedIndex(*arguments, name=name, **given)
        made.group = self
        made.opens_once = True
        search = self._search_of(made)
        search.counted, search.tenant = False, self._layout.tenant
        return made

    @staticmethod
    def _search_of(index: QdrantIndex) -> QdrantSearch:
        return index._search

    def _search(self, name: str) -> QdrantSearch:
        return self._search_of(self.index(name))

    def _points(self, name: str, queries: Any) -> list[PointQuery]:
        return self._search(name).point_queries(self.index(name).engine_queries(queries))

    def _tenant_of(self, parsed: Filter | None) -> str | None:
        """Return the only tenant whose documents a filter keeps."""
        value = one_value(parsed, self._layout.tenant)
        return None if value is None else str(value)

    def _parsed(self, filter: FilterLike | None) -> tuple[Filter | None, Any]:
        """Return a filter as a tree, and as a condition of the engine."""
        if filter is None:
            return None, None
        fields = self._layout.fields
        parsed = parse_filter(filter, fields)
        return parsed, qdrant_filter(parsed, fields, self._engine.conditions)


class _Deployed(QdrantIndex):
    """One leg of a deployed collection."""

    def close(self) -> None:
        """Leave the engine open: the collection closes it."""
        self._lifetime.closed = True

    def refresh(self) -> bool:
        """Do nothing: searches see the present points."""
        return False


class DeployedIndex(_Deployed):
    """A leg of vectors, token vectors or weights of a deployed collection."""


class DeployedBm25(_Deployed, QdrantBm25Index):
    """A leg of texts of a deployed collection."""


class DeployedText(_Deployed, QdrantTextIndex):
    """A leg of texts of a deployed collection that Qdrant scores."""
