"""A filter as Qdrant conditions. Edge and the client have classes of their own, so both come as `Conditions`."""

from collections.abc import Sequence
from typing import Any, Protocol

from indexing.filters.fields import Fields
from indexing.filters.tree import And, AnyOf, Exists, Filter, Not, Or, Value

PAYLOAD = "metadata"
"""The payload's object of canonical field values."""


class Conditions(Protocol):
    """How one of the two libraries spells conditions."""

    def any_of(self, key: str, values: list[Any]) -> Any:
        """Ask for one of these strings."""

    def between(self, key: str, **bounds: float | None) -> Any:
        """Ask for a number within gt, gte, lt, lte."""

    def empty(self, key: str) -> Any:
        """Ask for no value."""

    def group(self, **conditions: list[Any]) -> Any:
        """Join lists of conditions, must, should and must_not, to a filter."""

    def points(self, points: Sequence[str]) -> Any:
        """Ask for these points, by UUID."""

    def nothing(self) -> Any:
        """Give a condition that is true of no point."""


def payload_value(value: Value) -> str | float | int:
    """Give a canonical value as it stands in the payload.

    Booleans become ``"true"`` and ``"false"``: Edge 0.9 takes Python's True for the number 1 in a condition, which no
    boolean in a payload equals.
    """
    return ("true" if value else "false") if isinstance(value, bool) else value


def qdrant_filter(filter: Filter, fields: Fields, conditions: Conditions) -> Any:
    """Make the Qdrant filter of the points that this filter keeps."""
    if isinstance(filter, And):
        return conditions.group(must=[qdrant_filter(part, fields, conditions) for part in filter.parts])
    if isinstance(filter, Or):
        if not filter.parts:
            return conditions.group(must=[conditions.nothing()])
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
        return conditions.group(must=[conditions.nothing()])
    if fields[filter.field] in ("keyword", "boolean"):
        return conditions.group(must=[conditions.any_of(key, [payload_value(value) for value in filter.values])])
    return conditions.group(should=[conditions.between(key, gte=float(v), lte=float(v)) for v in filter.values])
