"""Translation of filters to Lucene queries, and of declared fields to Lucene fields; use within `java_calls`."""

import math
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from indexing.filters.fields import Fields
from indexing.filters.tree import And, AnyOf, Exists, Filter, Not, Or, Range, Value
from indexing.indexes.lucene.java_functions import SEPARATOR, as_function, bind, compose, constructor, method
from indexing.indexes.lucene.jvm import java_class

PREFIX = "metadata."
"""Prefix of declared fields, so that their names do not collide with the index's own fields."""

_DOCUMENT = "org.apache.lucene.document."
_SEARCH = "org.apache.lucene.search."
_FEW = 64
"""Values of a field up to which each is a query of its own."""
_LARGEST, _SMALLEST = 2**63 - 1, -(2**63)


def lucene_filter(filter: Filter, fields: Fields) -> Any:
    """Return the Lucene ``Query`` for the documents that match the filter."""
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
    """Lucene fields for the declared fields of a document, reused for every document."""

    def __init__(self, fields: Fields) -> None:
        self._fields = fields
        self._pool: dict[str, list[Any]] = {name: [] for name in fields}
        self._not_stored = java_class(_DOCUMENT + "Field$Store").NO

    def of(self, values: Mapping[str, Sequence[Value]]) -> list[Any]:
        """Return fields that hold these canonical values; they are valid until the next call."""
        filled = []
        for name, of_field in values.items():
            pool = self._pool[name]
            while len(pool) < len(of_field):
                pool.append(self._make(name))
            for field, value in zip(pool, of_field, strict=False):
                self._fill(field, value)
            filled += pool[: len(of_field)]
        return filled

    def _make(self, name: str) -> Any:
        kind = self._fields[name]
        if kind == "number":
            return java_class(_DOCUMENT + "DoubleField")(PREFIX + name, 0.0, self._not_stored)
        if kind == "date":
            return java_class(_DOCUMENT + "LongField")(PREFIX + name, 0, self._not_stored)
        return java_class(_DOCUMENT + "KeywordField")(PREFIX + name, "", self._not_stored)

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
    if len(values) > _FEW:
        return _set(name, kind, values)
    if kind in ("number", "date"):
        return _boolean([(_between(name, kind, value, value), "SHOULD") for value in values])
    words = [_flag(value) if kind == "boolean" else value for value in values]
    return _boolean([(_term(name, word), "SHOULD") for word in words])


def _term(name: str, word: str) -> Any:
    return java_class(_SEARCH + "TermQuery")(java_class("org.apache.lucene.index.Term")(name, word))


def _set(name: str, kind: str, values: Sequence[Any]) -> Any:
    """Return the query for documents that have one of many values, with a few calls into Java for all of them."""
    if kind == "number":
        return java_class(_DOCUMENT + "DoubleField").newSetQuery(name, *map(float, values))
    if kind == "date":
        return java_class(_DOCUMENT + "LongField").newSetQuery(name, *map(int, values))
    words = [_flag(value) if kind == "boolean" else value for value in values]
    plain = [word for word in words if word and SEPARATOR not in word]
    in_set = java_class(_SEARCH + "TermInSetQuery")(name, _terms().apply(SEPARATOR.join(plain)))
    rest = [word for word in words if not word or SEPARATOR in word]
    return _boolean([(in_set, "SHOULD"), *((_term(name, word), "SHOULD") for word in rest)]) if rest else in_set


@cache
def _terms() -> Any:
    """Return the Java function from words, separated, to the list of their Lucene terms."""
    stream_class = "java/util/stream/Stream"
    split = method("java.lang.String", "split", "(Ljava/lang/String;)[Ljava/lang/String;")
    stream = method("java.util.Arrays", "stream", f"([Ljava/lang/Object;)L{stream_class};", static=True)
    mapped = method("java.util.stream.Stream", "map", f"(Ljava/util/function/Function;)L{stream_class};")
    collect = method("java.util.stream.Stream", "collect", "(Ljava/util/stream/Collector;)Ljava/lang/Object;")
    term = as_function(constructor("org.apache.lucene.util.BytesRef", "(Ljava/lang/CharSequence;)V"))
    to_list = java_class("java.util.stream.Collectors").toList()
    return as_function(compose(bind(split, 1, SEPARATOR), stream, bind(mapped, 1, term), bind(collect, 1, to_list)))


def _range(name: str, kind: str, bounds: Range) -> Any:
    """Return the query for a range; Lucene's bounds are inclusive."""
    if kind == "number":
        low = max(-math.inf if bounds.gte is None else bounds.gte, _above(bounds.gt))
        high = min(math.inf if bounds.lte is None else bounds.lte, _below(bounds.lt))
        return _between(name, kind, low, high)
    low = max(_SMALLEST if bounds.gte is None else bounds.gte, _SMALLEST if bounds.gt is None else bounds.gt + 1)
    high = min(_LARGEST if bounds.lte is None else bounds.lte, _LARGEST if bounds.lt is None else bounds.lt - 1)
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
