"""Declared fields: their types, and the canonical form of values that every backend compares."""

import math
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from typing import Any, Literal, TypeAlias, get_args

from indexing.errors import InputError
from indexing.filters.tree import Value
from indexing.plurals import counted

FieldType: TypeAlias = Literal["keyword", "number", "date", "boolean"]
Fields: TypeAlias = Mapping[str, FieldType]
"""The type of each field that can be filtered by."""
Values: TypeAlias = Mapping[str, Sequence[Value]]
"""A document's declared fields, in canonical form."""

LONGEST_KEYWORD = 32766
"""Lucene's limit on a term, in bytes of UTF-8."""
LARGEST_INTEGER = 2**53
"""Beyond it float64 cannot represent every integer, and backends would round differently."""

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")
_RESERVED = ("and", "or", "not")
_DATE = re.compile(
    r"(?P<day>\d{4}-\d\d-\d\d)([T ](?P<time>\d\d:\d\d(:\d\d(\.\d{1,3})?)?)(?P<zone>Z|[+-](0\d|1[0-4]):[0-5]\d)?)?"
)
_FINE_TIME = re.compile(r"(\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d\.\d{3})\d{1,9}(Z|[+-]\d\d:\d\d)?")
_CELL_NUMBER = re.compile(r"[+-]?([0-9]{1,400}(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?")
_CELL_BOOLEANS = {"true": True, "false": False, "yes": True, "no": False, "1": True, "0": False}
_SURROGATE = re.compile("[\ud800-\udfff]")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def check_fields(fields: Mapping[str, str]) -> dict[str, FieldType]:
    """Check declared fields and return them as a plain dictionary.

    Raises
    ------
    InputError
        For a name that contains other characters than letters, digits, ``_`` and ``-`` or is a keyword of the
        language; for an unknown type.
    """
    checked: dict[str, FieldType] = {}
    for name, kind in fields.items():
        if not isinstance(name, str) or not _NAME.fullmatch(name) or name in _RESERVED:
            raise InputError(
                f"invalid name of a filter field {name!r}: use letters, digits, _ and -, do not begin with a digit, "
                "and avoid the keywords and, or, not"
            )
        known = get_args(FieldType)
        if kind not in known:
            raise InputError(
                f"the filter field {name!r} has the unknown type {kind!r}: choose one of {', '.join(known)}"
            )
        checked[name] = kind  # type: ignore[assignment]  # looked up above
    return checked


def field_values(fields: Fields, metadata: Mapping[str, Any], doc_id: str) -> dict[str, tuple[Value, ...]]:
    """Read the declared fields of one document in canonical form, leaving out missing, null and empty ones.

    Parameters
    ----------
    fields
        The declared fields; other metadata are ignored.
    metadata
        JSON values: for each declared field a value of its type, or a list of such values.
    doc_id
        The document, named in errors.

    Raises
    ------
    InputError
        For a value of another type.
    """
    by_field: dict[str, tuple[Value, ...]] = {}
    for name, kind in fields.items():
        value = metadata.get(name)
        if value is None:
            continue
        where = f"document {doc_id!r}: its field {name!r}"
        if not isinstance(value, list | tuple):
            by_field[name] = (canonical(kind, value, where),)
        elif value:
            by_field[name] = tuple(dict.fromkeys(canonical(kind, one, where) for one in value))
    return by_field


def typed_values(fields: Fields, metadata: Mapping[str, Any], doc_id: str, *, cells: bool) -> dict[str, Any]:
    """Read the declared fields of a record as values of their types.

    Times finer than a millisecond, as programs write them, are cut to milliseconds.

    Parameters
    ----------
    fields
        The declared fields; other metadata are unchanged.
    metadata
        The record's values by field.
    doc_id
        The document, named in errors.
    cells
        The values are strings without a type (CSV, TSV): they are converted, and a blank one is null.

    Raises
    ------
    InputError
        For a cell that is no value of its field's type.
    """
    typed = dict(metadata)
    for name, kind in fields.items():
        value = typed.get(name)
        if cells and isinstance(value, str):
            value = _cell(kind, value, f"document {doc_id!r}: its field {name!r}") if value.strip() else None
            typed[name] = value
        if kind == "date" and isinstance(value, list):
            typed[name] = [_to_milliseconds(one) for one in value]
        elif kind == "date" and isinstance(value, str):
            typed[name] = _to_milliseconds(value)
    return typed


def _to_milliseconds(value: Any) -> Any:
    match = _FINE_TIME.fullmatch(value) if isinstance(value, str) else None
    return value if match is None else f"{match[1]}{match[2] or ''}"


def _cell(kind: FieldType, cell: str, where: str) -> Any:
    text = cell.strip()
    if kind == "number":
        if not _CELL_NUMBER.fullmatch(text):
            raise InputError(f"{where} must be a number, as in 2020 or -1.5e3, not {cell!r}")
        return int(text) if text.lstrip("+-").isdigit() else float(text)
    if kind == "boolean":
        if text.lower() not in _CELL_BOOLEANS:
            raise InputError(f"{where} must be true or false, not {cell!r}")
        return _CELL_BOOLEANS[text.lower()]
    return text if kind == "date" else cell


def batch_field_values(
    fields: Fields, ids: Sequence[str], metadata: Sequence[Mapping[str, Any]] | None
) -> list[dict[str, tuple[Value, ...]]]:
    """Read the declared fields of a batch of documents, as `field_values` does; without metadata all are empty."""
    if metadata is None:
        return [{} for _ in ids]
    if len(metadata) != len(ids):
        raise InputError(f"{counted(len(ids), 'id')}, but metadata of {counted(len(metadata), 'document')}")
    return [field_values(fields, values, doc_id) for doc_id, values in zip(ids, metadata, strict=True)]


def canonical(kind: FieldType, value: Any, where: str) -> Value:
    """Convert a value to the form that every backend compares.

    Keywords and booleans are unchanged. Numbers become float64, and dates milliseconds since 1970 in UTC: a time
    without a zone is read as UTC, and a day as its first moment.

    Raises
    ------
    InputError
        For a value of another type; the message begins with `where`.
    """
    if kind == "keyword":
        return _keyword(value, where)
    if kind == "boolean":
        if not isinstance(value, bool):
            raise InputError(f"{where} must be true or false, not {value!r}")
        return value
    if kind == "number":
        return _number(value, where)
    return _milliseconds(value, where)


def are_keywords(values: Sequence[Any]) -> bool:
    """Return True if all values are valid keywords, by a quick look at all at once; False may mean a long one."""
    if set(map(type, values)) != {str} or 4 * max(map(len, values)) > LONGEST_KEYWORD:
        return False
    text = "".join(values)
    # A surrogate pair is one character of a text; halves in two values would join to none.
    return "\0" not in text and not _SURROGATE.search(text)


def _keyword(value: Any, where: str) -> str:
    if not isinstance(value, str):
        raise InputError(f"{where} must be a string (a keyword), not {value!r}")
    try:
        length = len(value.encode())
    except UnicodeEncodeError:
        raise InputError(f"{where} contains half of a surrogate pair, which no index can store: {value!a}") from None
    if length > LONGEST_KEYWORD or "\0" in value:
        raise InputError(f"{where} must be at most {counted(LONGEST_KEYWORD, 'byte')} without U+0000: {value[:40]!r}")
    return value


def _number(value: Any, where: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InputError(f"{where} must be a number, not {value!r}")
    if (isinstance(value, int) and abs(value) > LARGEST_INTEGER) or not math.isfinite(value):
        raise InputError(f"{where} must be a finite number, integers at most 2^53 in size, not {value!r}")
    # Adding 0.0 turns -0.0 into 0.0: they are equal, but Lucene orders them.
    return float(value) + 0.0


def _milliseconds(value: Any, where: str) -> int:
    if isinstance(value, datetime):
        moment = value if value.tzinfo else value.replace(tzinfo=UTC)
    elif isinstance(value, date):
        moment = datetime(value.year, value.month, value.day, tzinfo=UTC)
    else:
        moment = _read_date(value, where)
    since = moment - _EPOCH
    if since.microseconds % 1000:
        raise InputError(f"{where} is more precise than a millisecond: {value!r}; cut it to milliseconds")
    return (since.days * 86400 + since.seconds) * 1000 + since.microseconds // 1000


def _read_date(value: Any, where: str) -> datetime:
    form = "YYYY-MM-DD, or YYYY-MM-DDTHH:MM:SS.mmm with Z or +HH:MM, to the millisecond at most"
    if not isinstance(value, str) or not (match := _DATE.fullmatch(value)):
        raise InputError(f"{where} must be a date ({form}), not {value!r}")
    text = f"{match['day']}T{match['time'] or '00:00'}{(match['zone'] or 'Z').replace('Z', '+00:00')}"
    try:
        return datetime.fromisoformat(_pad_milliseconds(text))
    except ValueError as error:
        raise InputError(f"{where} must be a date ({form}), not {value!r}: {error}") from None


def _pad_milliseconds(text: str) -> str:
    return re.sub(r"\.(\d+)", lambda match: "." + match[1].ljust(3, "0"), text)
