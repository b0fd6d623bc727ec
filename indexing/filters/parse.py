"""Parser of filters: from JSON values to a tree."""

from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias, cast

from indexing.errors import InputError
from indexing.filters.fields import Fields, are_keywords, canonical
from indexing.filters.tree import And, AnyOf, Exists, Filter, Not, Or, Range

FilterLike: TypeAlias = Filter | Mapping[str, Any]

DEEPEST = 32
"""Levels of nested filters: SQLite's parser takes a hundred open brackets, of which a level needs up to two."""
MOST_CONDITIONS = 2000
"""Conditions of a filter: the time that SQLite takes to read them grows with their square."""

_MANY = 100
_SCALARS = frozenset((str, int, float, bool))
_BOUNDS = ("gt", "gte", "lt", "lte")
_OPERATORS = {
    "keyword": ("eq", "ne", "in", "exists"),
    "boolean": ("eq", "ne", "in", "exists"),
    "number": ("eq", "ne", "in", *_BOUNDS, "exists"),
    "date": ("eq", "ne", "in", *_BOUNDS, "exists"),
}


def parse_filter(written: FilterLike, fields: Fields) -> Filter:
    """Parse a filter; one that is already parsed is returned unchanged.

    ::

        {"lang": "en"}                      equals
        {"lang": ["en", "de"]}              is one of
        {"year": {"gte": 2020, "lt": 2024}} operators: eq, ne, in, gt, gte, lt, lte, exists
        {"lang": "en", "year": 2020}        all of them
        {"or": [FILTER, FILTER]}            and, or take a list of filters; not takes one
        {}                                  every document

    Parameters
    ----------
    written
        JSON values.
    fields
        The declared fields and their types.

    Raises
    ------
    InputError
        For an unknown field or operator, listing the known ones; for a value that is not of the field's type; for a
        filter that is nested deeper than `DEEPEST` levels or has more than `MOST_CONDITIONS` conditions. Any number of
        values in a list is one condition, and so are equalities of one field in an ``or``.
    """
    _check_depth(written)
    parsed = _parse(written, fields)
    waiting, conditions = [parsed], 0
    while waiting:
        node = waiting.pop()
        if isinstance(node, And | Or):
            waiting.extend(node.parts)
        elif isinstance(node, Not):
            waiting.append(node.part)
        else:
            conditions += 1
    if conditions > MOST_CONDITIONS:
        raise InputError(
            f"the filter has {conditions:,} conditions, over {MOST_CONDITIONS:,}: write values of a field as a list"
        )
    return parsed


def _check_depth(written: Any) -> None:
    """Raise an `InputError` for too deep a filter, before anything is parsed, without recursion."""
    waiting: list[tuple[Any, int]] = [(written, 0)]
    parts: Iterable[Any]
    while waiting:
        node, level = waiting.pop()
        if isinstance(node, Mapping):
            parts = node.values()
        elif isinstance(node, list | tuple):
            types = set(map(type, node))
            if types <= _SCALARS:
                continue  # the values of a field, of which there may be many thousands
            parts, level = node, level - (not any(issubclass(kind, list | tuple) for kind in types))
            if level + 1 < DEEPEST:
                # Nothing lies below an equality, of which there may be many thousands.
                parts = [part for part in node if type(part) is not dict or not _is_equality(part)]
        elif isinstance(node, And | Or):
            parts = node.parts
        elif isinstance(node, Not):
            parts = [node.part]
        else:
            continue
        if level >= DEEPEST:
            raise InputError(f"the filter is nested deeper than {DEEPEST} levels: write it with fewer and, or, not")
        waiting.extend((part, level + 1) for part in parts if not isinstance(part, str | int | float | None))


def _is_equality(part: dict[Any, Any]) -> bool:
    return len(part) == 1 and type(next(iter(part.values()))) in _SCALARS


def _parse(written: FilterLike, fields: Fields) -> Filter:
    if isinstance(written, AnyOf | Range | Exists | And | Or | Not):
        return written
    if not isinstance(written, Mapping):
        raise InputError(f'a filter must be an object like {{"year": {{"gte": 2020}}}}, not {written!r}')
    return _all_of([_parse_entry(key, value, fields) for key, value in written.items()])


def _parse_entry(key: Any, value: Any, fields: Fields) -> Filter:
    if key in ("and", "or"):
        if not isinstance(value, list | tuple) or not value:
            raise InputError(f"{key!r} in a filter takes a list of at least one filter, not {value!r}")
        values = _equalities(value, fields) if key == "or" and len(value) > _MANY else None
        if values is not None:
            return _one_of([_any_of(field, of_field, fields) for field, of_field in values.items()])
        parts = [_parse(part, fields) for part in value]
        return _all_of(_merge_not(parts)) if key == "and" else _one_of(_merge(parts))
    if key == "not":
        return Not(_parse(value, fields))
    if key not in fields:
        known = ", ".join(fields) or "none"
        raise InputError(
            f"the filter names the unknown field {key!r}: declared are {known}; and, or, not combine filters"
        )
    if isinstance(value, Mapping):
        return _parse_operators(key, value, fields)
    return _any_of(key, value if isinstance(value, list | tuple) else [value], fields)


def _equalities(parts: Iterable[Any], fields: Fields) -> dict[str, list[Any]] | None:
    """Return the values by field if all parts are equalities such as ``{"lang": "en"}``; else None."""
    values: dict[str, list[Any]] = {}
    for part in parts:
        if type(part) is not dict or len(part) != 1:
            return None
        [(field, value)] = part.items()
        if field not in fields or type(value) not in _SCALARS:
            return None
        values.setdefault(field, []).append(value)
    return values


def _parse_operators(field: str, operators: Mapping[str, Any], fields: Fields) -> Filter:
    known = _OPERATORS[fields[field]]
    unknown = next((name for name in operators if name not in known), None)
    if unknown is not None or not operators:
        what = f"the unknown operator {unknown!r}" if operators else "no operator"
        raise InputError(f"the filter has {what} for the field {field!r}: a {fields[field]} takes {', '.join(known)}")
    parts: list[Filter] = []
    bounds = {name: _value(field, operators[name], fields) for name in _BOUNDS if name in operators}
    if bounds:
        parts.append(Range(field, **cast("dict[str, float]", bounds)))
    if "eq" in operators:
        parts.append(_any_of(field, [operators["eq"]], fields))
    if "ne" in operators:
        parts.append(Not(_any_of(field, [operators["ne"]], fields)))
    if "in" in operators:
        values = operators["in"]
        if not isinstance(values, list | tuple):
            raise InputError(f"the operator 'in' for the field {field!r} takes a list, not {values!r}")
        parts.append(_any_of(field, values, fields))
    if "exists" in operators:
        exists = operators["exists"]
        if not isinstance(exists, bool):
            raise InputError(f"the operator 'exists' for the field {field!r} takes true or false, not {exists!r}")
        parts.append(Exists(field) if exists else Not(Exists(field)))
    return _all_of(parts)


def _any_of(field: str, values: Any, fields: Fields) -> AnyOf:
    if len(values) > _MANY and fields[field] == "keyword" and are_keywords(values):
        return AnyOf(field, tuple(dict.fromkeys(values)))
    return AnyOf(field, tuple(dict.fromkeys(_value(field, value, fields) for value in values)))


def _value(field: str, value: Any, fields: Fields) -> Any:
    return canonical(fields[field], value, f"the filter's value for the field {field!r}")


def _merge(parts: list[Filter]) -> list[Filter]:
    """Join the alternatives of each field to one list of values: thousands of them take no longer than one list."""
    by_field: dict[str, list[Any]] = {}
    for part in parts:
        if isinstance(part, AnyOf):
            by_field.setdefault(part.field, []).extend(part.values)
    merged: list[Filter] = [AnyOf(field, tuple(dict.fromkeys(values))) for field, values in by_field.items()]
    return merged + [part for part in parts if not isinstance(part, AnyOf)]


def _merge_not(parts: list[Filter]) -> list[Filter]:
    """Join the negated lists of values of each field, as none of them may match."""
    negated = [part.part for part in parts if isinstance(part, Not) and isinstance(part.part, AnyOf)]
    if len(negated) < 2:
        return parts
    merged: list[Filter] = [Not(part) for part in _merge(list(negated))]
    return merged + [part for part in parts if not (isinstance(part, Not) and isinstance(part.part, AnyOf))]


def _one_of(parts: list[Filter]) -> Filter:
    return parts[0] if len(parts) == 1 else Or(tuple(parts))


def _all_of(parts: list[Filter]) -> Filter:
    return parts[0] if len(parts) == 1 else And(tuple(parts))
