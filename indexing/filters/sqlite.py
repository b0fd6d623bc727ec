"""Translation of filters to SQL, over a table with a column of each document's metadata as JSON."""

import json
from typing import Any

from indexing.filters.fields import Fields, FieldType
from indexing.filters.tree import And, AnyOf, Exists, Filter, Not, Or, Range

_LONGEST_CHAIN = 20
"""Conditions joined without brackets: SQLite takes expressions of 1,000 levels, and filters nest 32 times."""
_BOUNDS = (("gt", ">"), ("gte", ">="), ("lt", "<"), ("lte", "<="))


def sqlite_where(filter: Filter, fields: Fields, *, column: str = "metadata") -> tuple[str, list[Any]]:
    """Return the condition for a ``WHERE`` clause and its parameters.

    Parameters
    ----------
    filter
        From `parse_filter`.
    fields
        The declared fields; `field_values` must accept their values in the table.
    column
        The column of JSON text.
    """
    if isinstance(filter, And | Or):
        if not filter.parts:
            return ("1" if isinstance(filter, And) else "0"), []
        if isinstance(filter, Or) and len(filter.parts) > _LONGEST_CHAIN:
            return _alternatives(filter, fields, column)
        parts = [sqlite_where(part, fields, column=column) for part in filter.parts]
        word = " AND " if isinstance(filter, And) else " OR "
        return f"({_join(word, [sql for sql, _ in parts])})", [value for _, values in parts for value in values]
    if isinstance(filter, Not):
        sql, values = sqlite_where(filter.part, fields, column=column)
        # For a document without the field the condition is NULL, and NOT NULL is NULL again.
        return f"({sql} IS NOT TRUE)", values
    condition, values = _condition(filter)
    single, json_type = _single(filter.field, fields[filter.field], column), _json_type(filter.field, column)
    item = _comparable("item.value", fields[filter.field])
    listed = f"SELECT 1 FROM json_each({column}, {_path(filter.field)}) AS item WHERE {condition.format(item)}"
    return f"({condition.format(single)} OR ({json_type} = 'array' AND EXISTS ({listed})))", [*values, *values]


def _alternatives(filter: Or, fields: Fields, column: str) -> tuple[str, list[Any]]:
    """Translate an `Or` of many parts: the conditions of a field read it once, not through its index."""
    by_field: dict[str, list[AnyOf | Range | Exists]] = {}
    for part in filter.parts:
        if isinstance(part, AnyOf | Range | Exists):
            by_field.setdefault(part.field, []).append(part)
    parts = [sqlite_where(part, fields, column=column) for part in filter.parts if isinstance(part, And | Or | Not)]
    for field, leaves in by_field.items():
        conditions = [_condition(leaf) for leaf in leaves]
        item = _comparable("item.value", fields[field])
        any_of = _join(" OR ", [sql.format(item) for sql, _ in conditions])
        # A single value counts as a list of one.
        sql = f"EXISTS (SELECT 1 FROM json_each({column}, {_path(field)}) AS item WHERE {any_of})"
        parts.append((sql, [value for _, values in conditions for value in values]))
    return f"({_join(' OR ', [sql for sql, _ in parts])})", [value for _, values in parts for value in values]


def sqlite_indexes(fields: Fields, *, table: str = "documents", column: str = "metadata") -> list[str]:
    """Return the statements that create the indexes which `sqlite_where` relies on, unless they exist.

    Each field gets two: an index of its value, and a partial index of the documents whose value is a list.
    """
    statements = []
    for name, kind in fields.items():
        json_type = _json_type(name, column)
        title = f"{table}_{name}"
        statements.append(f'CREATE INDEX IF NOT EXISTS "{title}" ON {table} ({_single(name, kind, column)})')
        statements.append(
            f"CREATE INDEX IF NOT EXISTS \"{title}_lists\" ON {table} ({json_type}) WHERE {json_type} = 'array'"
        )
    return statements


def _join(word: str, parts: list[str]) -> str:
    """Join conditions; many of them in groups, since each one of a chain is a level of SQLite's expression tree.

    The sign hides a group from SQLite's planner, which would look for an index for each of its conditions in a time
    that grows with their square.
    """
    while len(parts) > _LONGEST_CHAIN:
        groups = (parts[start : start + _LONGEST_CHAIN] for start in range(0, len(parts), _LONGEST_CHAIN))
        parts = [f"+({word.join(group)})" for group in groups]
    return word.join(parts)


def _condition(leaf: AnyOf | Range | Exists) -> tuple[str, list[Any]]:
    """Return a condition with a placeholder for the field's value, and its parameters."""
    if isinstance(leaf, Exists):
        return "{} IS NOT NULL", []
    if isinstance(leaf, AnyOf):
        if len(leaf.values) == 1:
            return "{} = ?", [leaf.values[0]]
        # A single JSON parameter holds any number of values: SQLite takes at most 32,766 parameters.
        return "{} IN (SELECT value FROM json_each(?))", [json.dumps(leaf.values)]
    bounds = [(sign, getattr(leaf, name)) for name, sign in _BOUNDS if getattr(leaf, name) is not None]
    return "(" + " AND ".join(f"{{0}} {sign} ?" for sign, _ in bounds) + ")", [value for _, value in bounds]


def _single(field: str, kind: FieldType, column: str) -> str:
    """Return the expression of a value that is not a list. It is the one indexed, so its text must not vary."""
    value = _comparable(f"json_extract({column}, {_path(field)})", kind)
    return f"CASE {_json_type(field, column)} WHEN 'array' THEN NULL ELSE {value} END"


def _json_type(field: str, column: str) -> str:
    return f"json_type({column}, {_path(field)})"


def _comparable(value: str, kind: FieldType) -> str:
    if kind == "date":
        return f"CAST(round((julianday({value}) - 2440587.5) * 86400000) AS INTEGER)"
    return value


def _path(field: str) -> str:
    return f"'$.\"{field}\"'"
