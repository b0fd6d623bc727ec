"""Translation of filters to Qdrant conditions, through `Conditions`, which hides the classes of Edge and the client."""

from collections.abc import Sequence
from typing import Any, Protocol

from indexing.filters.fields import Fields
from indexing.filters.tree import And, AnyOf, Exists, Filter, Not, Or, Value

PAYLOAD = "metadata"
"""Payload field of the object with canonical field values."""


class Conditions(Protocol):
    """Constructors of the conditions of ``qdrant_edge`` or ``qdrant_client``."""

    def any_of(self, key: str, values: list[Any]) -> Any:
        """Match one of these strings."""

    def between(self, key: str, **bounds: float | None) -> Any:
        """Match a number within gt, gte, lt, lte."""

    def empty(self, key: str) -> Any:
        """Match points without a value."""

    def group(self, **conditions: list[Any]) -> Any:
        """Combine lists of conditions, must, should and must_not, to a filter."""

    def points(self, points: Sequence[str]) -> Any:
        """Match these points, by UUID."""


def payload_value(value: Value) -> str | float | int:
    """Convert a canonical value to its form in the payload.

    Booleans become ``"true"`` and ``"false"``: in a condition, Edge 0.9 converts Python's True to the number 1, which
    equals no boolean in a payload.
    """
    return ("true" if value else "false") if isinstance(value, bool) else value


def qdrant_filter(filter: Filter, fields: Fields, conditions: Conditions) -> Any:
    """Return the Qdrant filter for the points that match this filter."""
    if isinstance(filter, And):
        return conditions.group(must=[qdrant_filter(part, fields, conditions) for part in filter.parts])
    if isinstance(filter, Or):
        if not filter.parts:
            return conditions.group(must=[conditions.points(())])
        return conditions.group(should=[qdrant_filter(part, fields, conditions) for part in filter.parts])
    if isinstance(filter, Not):
        return conditions.group(must_not=[qdrant_filter(filter.part, fields, conditions)])
    key = f"{PAYLOAD}.{filter.field}"
    if isinstance(filter, Exists):
        return conditions.group(must_not=[conditions.empty(key)])
    if not isinstance(filter, AnyOf):
        bounds = {"gt": filter.gt, "gte": filter.gte, "lt": filter.lt, "lte": filter.lte}
        return conditions.group(must=[conditions.between(key, **bounds)])
    if not filter.values:
        return conditions.group(must=[conditions.points(())])
    if fields[filter.field] in ("keyword", "boolean"):
        return conditions.group(must=[conditions.any_of(key, [payload_value(value) for value in filter.values])])
    return conditions.group(should=[conditions.between(key, gte=float(v), lte=float(v)) for v in filter.values])


def one_value(parsed: Filter | None, field: str | None) -> Value | None:
    """Return the value that a field has in all documents that a filter keeps; None if that is no certain one."""
    if isinstance(parsed, And):
        return next((value for part in parsed.parts if (value := one_value(part, field)) is not None), None)
    if isinstance(parsed, AnyOf) and parsed.field == field and len(parsed.values) == 1:
        return next(iter(parsed.values))
    return None
