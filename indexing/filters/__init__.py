"""One filter language for every index: parsed once into a small tree, which each backend translates.

::

    {"year": {"gte": 2020, "lt": 2024}, "lang": ["en", "de"], "not": {"draft": true}}

Fields are declared with a type (keyword, number, date, boolean); see `parse_filter` for the language.
"""

from indexing.filters.fields import Fields, FieldType, Values, batch_field_values, check_fields, field_values
from indexing.filters.parse import FilterLike, parse_filter
from indexing.filters.sqlite import sqlite_indexes, sqlite_where
from indexing.filters.tree import And, AnyOf, Exists, Filter, Not, Or, Range

__all__ = [
    "And",
    "AnyOf",
    "Exists",
    "FieldType",
    "Fields",
    "Filter",
    "FilterLike",
    "Not",
    "Or",
    "Range",
    "Values",
    "batch_field_values",
    "check_fields",
    "field_values",
    "parse_filter",
    "sqlite_indexes",
    "sqlite_where",
]
