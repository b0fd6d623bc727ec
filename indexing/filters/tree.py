"""Tree of a parsed filter: nodes are hashable, values canonical (see `indexing.filters.fields`).

A field may hold one value, several (a list in the metadata), or none. A leaf matches a document if a single value of
the field satisfies the whole condition; no leaf matches a document without the field.
"""

from dataclasses import dataclass
from typing import TypeAlias

Value: TypeAlias = str | float | int | bool


@dataclass(frozen=True, slots=True)
class AnyOf:
    """Match documents where the field has one of these values; without values, match none."""

    field: str
    values: tuple[Value, ...]


@dataclass(frozen=True, slots=True)
class Range:
    """Match documents where a number or date lies within all the given bounds."""

    field: str
    gt: float | int | None = None
    gte: float | int | None = None
    lt: float | int | None = None
    lte: float | int | None = None


@dataclass(frozen=True, slots=True)
class Exists:
    """Match documents that have a value in this field."""

    field: str


@dataclass(frozen=True, slots=True)
class And:
    """Match documents that all parts match; without parts, match every document."""

    parts: tuple["Filter", ...]


@dataclass(frozen=True, slots=True)
class Or:
    """Match documents that at least one part matches."""

    parts: tuple["Filter", ...]


@dataclass(frozen=True, slots=True)
class Not:
    """Match documents that the part does not match, among them those that lack its field."""

    part: "Filter"


Filter: TypeAlias = AnyOf | Range | Exists | And | Or | Not
