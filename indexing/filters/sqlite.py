"""A filter as SQL over a table whose column holds each document's metadata as JSON."""

import json
from typing import Any

from indexing.filters.fields import Fields, FieldType
from indexing.filters.tree import And, AnyOf, Exists, Filter, Not, Or, Range

_BOUNDS = (("gt", ">"), ("gte", ">="), ("lt", "<"), ("lte", "<="))


def sqlite_where(filter: Filter, fields: Fields, *, column: str = "metadata") -> tuple[str, list[Any]]:
    """Give the condition behind ``WHERE`` and its parameters.

    Parameters
    ----------
    filter
        From `parse_filter`.
    fields
        The declared fields; their values in the table must be such as `field_values` accepts.
    column
        The column of JSON text.
    """
    if isinstance(filter, And | Or):
        if not filter.parts:
            return ("1" if isinstance(filter, And) else "0"), []
        parts = [sqlite_where(part, fields, column=column) for part in filter.parts]
        word = " AND " if isinstance(filter, And) else " OR "
        return f"({word.join(sql for sql, _ in parts)})", [value for _, values in parts for value in values]
    if isinstance(filter, Not):
        sql, values = sqlite_where(filter.part, fields, column=column)
        # Of a document without the field the condition is NULL, and NOT NULL would be NULL again.
        return f"({sql} IS NOT TRUE)", values
    condition, values = _condition(filter)
    single, several = _single(filter.field, fields[filter.field], column), _kind_of(filter.field, column)
    each = _comparable("one.value", fields[filter.field])
    listed = f"SELECT 1 FROM json_each({column}, {_path(filter.field)}) AS one WHERE {condition.format(each)}"
    return f"({condition.format(single)} OR ({several} = 'array' AND EXISTS ({listed})))", [*values, *values]


def sqlite_indexes(fields: Fields, *, table: str = "documents", column: str = "metadata") -> list[str]:
    """Give the statements that create the indexes which `sqlite_where` makes use of, if they are not there.

    Two for each field: one of its value, and one (empty unless some document has a list there) of the documents whose
    value is a list.
    """
    statements = []
    for name, kind in fields.items():
        several = _kind_of(name, column)
        title = f"{table}_{name}"
        statements.append(f'CREATE INDEX IF NOT EXISTS "{title}" ON {table} ({_single(name, kind, column)})')
        statements.append(
            f"CREATE INDEX IF NOT EXISTS \"{title}_lists\" ON {table} ({several}) WHERE {several} = 'array'"
        )
    return statements


def _condition(leaf: AnyOf | Range | Exists) -> tuple[str, list[Any]]:
    """Give a condition with a place for the value, and its parameters."""
    if isinstance(leaf, Exists):
        return "{} IS NOT NULL", []
    if isinstance(leaf, AnyOf):
        if len(leaf.values) == 1:
            return "{} = ?", [leaf.values[0]]
        # One parameter however many values there are: SQLite takes 32,766.
        return "{} IN (SELECT value FROM json_each(?))", [json.dumps(leaf.values)]
    bounds = [(sign, getattr(leaf, name)) for name, sign in _BOUNDS if getattr(leaf, name) is not None]
    return "(" + " AND ".join(f"{{0}} {sign} ?" for sign, _ in bounds) + ")", [value for _, value in bounds]


def _single(field: str, kind: FieldType, column: str) -> str:
    """Give the expression of the field's value where it is no list; it is what is indexed, so it must not vary."""
    value = _comparable(f"json_extract({column}, {_path(field)})", kind)
    return f"CASE {_kind_of(field, column)} WHEN 'array' THEN NULL ELSE {value} END"


def _kind_of(field: str, column: str) -> str:
    return f"json_type({column}, {_path(field)})"


def _comparable(value: str, kind: FieldType) -> str:
    if kind == "date":
        return f"CAST(round((julianday({value}) - 2440587.5) * 86400000) AS INTEGER)"
    return value


def _path(field: str) -> str:
    return f"'$.\"{field}\"'"
