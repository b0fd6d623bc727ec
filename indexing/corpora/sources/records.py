"""Records: the lines of a text file or the rows of a table, each with its place, whether it could be read or not.

A source never stops at a broken record and never hides one: what to do about it is the reader's decision
(`indexing.corpora.corpus`). Only what makes the whole source unreadable is an error of its own.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from indexing.errors import InputError


class Record(NamedTuple):
    """One line or row: `values` by field name, or the `problem` that kept it from being read."""

    file: str
    place: int
    values: Mapping[str, Any]
    problem: str
    raw: Any


class Source(Protocol):
    """Where records come from; every call of `records` starts again at the first."""

    @property
    def description(self) -> str:
        """What is read, for messages and progress bars."""
        ...

    @property
    def unit(self) -> str:
        """What a record's place counts: ``line`` or ``row``, from 1."""
        ...

    def records(self) -> Iterator[Record]:
        """Read all records in order; blank lines are passed over."""
        ...

    def count(self) -> int | None:
        """Give the number of records, or close above it, when a glance tells; else None."""
        ...

    def fingerprint(self) -> str:
        """Give a digest of everything that is read."""
        ...


def error_at(source: Source, record: Record, problem: object) -> InputError:
    """Make the error that says where `problem` stands."""
    return InputError(f"{record.file}, {source.unit} {record.place}: {problem}")


def take_id(values: dict[str, Any], fields: Sequence[str], *, option: str = "") -> str:
    """Take the id out of `values`: the first of `fields` that is there; a whole number counts as its digits.

    Raises
    ------
    InputError
        When none is there, or it is empty or of another type; `option` names the parameter that would say which.
    """
    field = _first_present(values, fields, option)
    value = values.pop(field)
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, str):
        raise InputError(f"the field {field!r} must be a string or a whole number, not {value!r}")
    if not value.strip():
        raise InputError(f"the field {field!r} is empty: give each an id")
    return value


def take_text(values: dict[str, Any], fields: Sequence[str], *, option: str = "") -> str:
    """Take a text out of `values`: the first of `fields` that is there.

    Raises
    ------
    InputError
        When none is there, or it is not a string.
    """
    field = _first_present(values, fields, option)
    value = values.pop(field)
    if not isinstance(value, str):
        raise InputError(f"the field {field!r} must be a string, not {value!r}")
    return value


def sha256(paths: Sequence[Path]) -> str:
    """Give the SHA-256 of the files' bytes, one file after another."""
    digest = hashlib.sha256()
    for path in paths:
        with path.open("rb") as stream:
            while block := stream.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()


def _first_present(values: Mapping[str, Any], fields: Sequence[str], option: str) -> str:
    field = next((field for field in fields if field in values), None)
    if field is None:
        wanted = " or ".join(map(repr, fields))
        advice = f"; {option} (--{option.replace('_', '-')}) can name another" if option else ""
        there = f"there are {', '.join(map(repr, values))}" if values else "the record has no fields at all"
        raise InputError(f"the field {wanted} is missing ({there}){advice}")
    return field
