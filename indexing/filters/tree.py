"""The tree that a filter is parsed into; values are canonical (see `indexing.filters.fields`), nodes hashable.

A field may hold one value, several (a list in the metadata), or none. A leaf is true of a document when one of the
field's values satisfies all of it; of a document without the field no leaf is true.
"""

from dataclasses import dataclass
from typing import TypeAlias

Value: TypeAlias = str | float | int | bool


@dataclass(frozen=True, slots=True)
class AnyOf:
    """One of the field's values is one of these; with no values it is true of nothing."""

    field: str
    values: tuple[Value, ...]


@dataclass(frozen=True, slots=True)
class Range:
    """One of the field's values lies within all the bounds that are given; for numbers and dates."""

    field: str
    gt: float | int | None = None
    gte: float | int | None = None
    lt: float | int | None = None
    lte: float | int | None = None


@dataclass(frozen=True, slots=True)
class Exists:
    """The document has a value in this field."""

    field: str


@dataclass(frozen=True, slots=True)
class And:
    """All of the parts; with no parts it is true of every document."""

    parts: tuple["Filter", ...]


@dataclass(frozen=True, slots=True)
class Or:
    """At least one of the parts."""

    parts: tuple["Filter", ...]


@dataclass(frozen=True, slots=True)
class Not:
    """The part is not true: so of a document that lacks the field, ``Not`` of any leaf is true."""

    part: "Filter"


Filter: TypeAlias = AnyOf | Range | Exists | And | Or | Not
