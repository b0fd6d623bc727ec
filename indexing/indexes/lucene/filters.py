"""A filter as a Lucene query, and a document's declared fields as Lucene fields. Use within `java_calls`."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from indexing.filters.fields import Fields
from indexing.filters.tree import And, AnyOf, Exists, Filter, Not, Or, Range, Value
from indexing.indexes.lucene.jvm import java_class

PREFIX = "metadata."
"""Before the names of declared fields, so that none is taken for a field of the index's own."""

_DOCUMENT = "org.apache.lucene.document."
_SEARCH = "org.apache.lucene.search."
_LONGEST, _SHORTEST = 2**63 - 1, -(2**63)


def lucene_filter(filter: Filter, fields: Fields) -> Any:
    """Make the Lucene ``Query`` of the documents that the filter keeps."""
    if isinstance(filter, And | Or):
        if not filter.parts:
            return java_class(_SEARCH + ("MatchAllDocsQuery" if isinstance(filter, And) else "MatchNoDocsQuery"))()
        occur = "FILTER" if isinstance(filter, And) else "SHOULD"
        return _boolean([(lucene_filter(part, fields), occur) for part in filter.parts])
    if isinstance(filter, Not):
        everything = java_class(_SEARCH + "MatchAllDocsQuery")()
        return _boolean([(everything, "FILTER"), (lucene_filter(filter.part, fields), "MUST_NOT")])
    name = PREFIX + filter.field
    if isinstance(filter, Exists):
        return java_class(_SEARCH + "FieldExistsQuery")(name)
    if isinstance(filter, AnyOf):
        return _any_of(name, fields[filter.field], filter.values)
    return _range(name, fields[filter.field], filter)


class LuceneFields:
    """The Lucene fields of one document's declared fields, made once and filled again for each document."""

    def __init__(self, fields: Fields) -> None:
        self._fields = fields
        self._made: dict[str, list[Any]] = {name: [] for name in fields}
        self._no = java_class(_DOCUMENT + "Field$Store").NO

    def of(self, values: Mapping[str, Sequence[Value]]) -> list[Any]:
        """Give the fields that hold these canonical values, until the next call."""
        chosen = []
        for name, several in values.items():
            made = self._made[name]
            while len(made) < len(several):
                made.append(self._make(name))
            for field, value in zip(made, several, strict=False):
                self._fill(field, value)
            chosen += made[: len(several)]
        return chosen

    def _make(self, name: str) -> Any:
        kind = self._fields[name]
        if kind == "number":
            return java_class(_DOCUMENT + "DoubleField")(PREFIX + name, 0.0, self._no)
        if kind == "date":
            return java_class(_DOCUMENT + "LongField")(PREFIX + name, 0, self._no)
        return java_class(_DOCUMENT + "KeywordField")(PREFIX + name, "", self._no)

    def _fill(self, field: Any, value: Value) -> None:
        if isinstance(value, bool):
            field.setStringValue(_flag(value))
        elif isinstance(value, str):
            field.setStringValue(value)
        elif isinstance(value, float):
            field.setDoubleValue(value)
        else:
            field.setLongValue(value)


def _any_of(name: str, kind: str, values: Sequence[Any]) -> Any:
    if not values:
        return java_class(_SEARCH + "MatchNoDocsQuery")()
    if kind in ("number", "date"):
        return _boolean([(_between(name, kind, value, value), "SHOULD") for value in values])
    words = [_flag(value) if kind == "boolean" else value for value in values]
    term, query = java_class("org.apache.lucene.index.Term"), java_class(_SEARCH + "TermQuery")
    return _boolean([(query(term(name, word)), "SHOULD") for word in words])


def _range(name: str, kind: str, bounds: Range) -> Any:
    """Give the query between inclusive ends, as Lucene wants them."""
    if kind == "number":
        low = max(-math.inf if bounds.gte is None else bounds.gte, _above(bounds.gt))
        high = min(math.inf if bounds.lte is None else bounds.lte, _below(bounds.lt))
        return _between(name, kind, low, high)
    low = max(_SHORTEST if bounds.gte is None else bounds.gte, _SHORTEST if bounds.gt is None else bounds.gt + 1)
    high = min(_LONGEST if bounds.lte is None else bounds.lte, _LONGEST if bounds.lt is None else bounds.lt - 1)
    return _between(name, kind, low, high)


def _above(bound: float | None) -> float:
    return -math.inf if bound is None else math.nextafter(bound, math.inf)


def _below(bound: float | None) -> float:
    return math.inf if bound is None else math.nextafter(bound, -math.inf)


def _between(name: str, kind: str, low: float, high: float) -> Any:
    if low > high:
        return java_class(_SEARCH + "MatchNoDocsQuery")()
    if kind == "number":
        return java_class(_DOCUMENT + "DoubleField").newRangeQuery(name, float(low), float(high))
    return java_class(_DOCUMENT + "LongField").newRangeQuery(name, int(low), int(high))


def _boolean(clauses: Sequence[tuple[Any, str]]) -> Any:
    import jnius

    builder = java_class(_SEARCH + "BooleanQuery$Builder")()
    occurs = java_class(_SEARCH + "BooleanClause$Occur")
    for query, occur in clauses:
        builder.add(jnius.cast(_SEARCH + "Query", query), getattr(occurs, occur))
    return builder.build()


def _flag(value: bool) -> str:
    return "true" if value else "false"
