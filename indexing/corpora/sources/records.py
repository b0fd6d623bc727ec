"""Records: lines of a text file or rows of a table, each with its file and number, readable or not.

A source yields malformed records too, and the reader decides what to do with them (`indexing.corpora.corpus`). It
raises an error only when the source as a whole is unreadable.
"""

import hashlib
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from indexing.errors import InputError

_SETTLED_NS = 2_000_000_000
_digests: dict[tuple[tuple[str, int, int, int], ...], str] = {}


class Record(NamedTuple):
    """One line or row: its `values` by field name, or the `problem` that made it unreadable."""

    file: str
    place: int
    values: Mapping[str, Any]
    problem: str
    raw: Any


class Source(Protocol):
    """Interface of a source of records; every call of `records` starts at the first one."""

    @property
    def description(self) -> str:
        """Name of the source, for messages and progress bars."""
        ...

    @property
    def unit(self) -> str:
        """Unit of a record's `place`: ``line`` or ``row``, counted from 1."""
        ...

    @property
    def typed(self) -> bool:
        """Whether values have types; otherwise each is a string (CSV, TSV)."""
        ...

    def records(self) -> Iterator[Record]:
        """Read all records in order, skipping blank lines."""
        ...

    def count(self) -> int | None:
        """Return the number of records, or slightly more; None when counting would be slow."""
        ...

    def fingerprint(self) -> str:
        """Return a digest of the whole source."""
        ...


def error_at(source: Source, record: Record, problem: object) -> InputError:
    """Return an error that names the file and line or row of `problem`."""
    return InputError(f"{record.file}, {source.unit} {record.place}: {problem}")


def take_id(values: dict[str, Any], fields: Sequence[str], *, option: str = "") -> str:
    """Pop the id from `values`: the first of `fields` that is present; an integer becomes its digits.

    Raises
    ------
    InputError
        When none is present, or the id is empty or of another type; `option` names the parameter to set then.
    """
    field = _first_present(values, fields, option)
    value = values.pop(field)
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, str):
        raise InputError(f"the field {field!r} must be a string or an integer, not {value!r}")
    if not value.strip():
        raise InputError(f"the field {field!r} is empty: an id is needed")
    return value


def take_text(values: dict[str, Any], fields: Sequence[str], *, option: str = "") -> str:
    """Pop a text from `values`: the first of `fields` that is present.

    Raises
    ------
    InputError
        When none is present, or the value is not a string.
    """
    field = _first_present(values, fields, option)
    value = values.pop(field)
    if not isinstance(value, str):
        raise InputError(f"the field {field!r} must be a string, not {value!r}")
    return value


def sha256(paths: Sequence[Path]) -> str:
    """Return the SHA-256 of the files' bytes, one file after another.

    Unchanged files are read once per process: a benchmark asks for the digest of its corpus several times a leg.
    """
    states = [path.stat() for path in paths]
    key = tuple(
        (str(path.absolute()), s.st_ino, s.st_size, s.st_mtime_ns) for path, s in zip(paths, states, strict=True)
    )
    if key in _digests:
        return _digests[key]
    digest = hashlib.sha256()
    for path in paths:
        with path.open("rb") as stream:
            while block := stream.read(1 << 20):
                digest.update(block)
    # A file written just now may change again without a new time of modification.
    if time.time_ns() - max((state.st_mtime_ns for state in states), default=0) > _SETTLED_NS:
        _digests[key] = digest.hexdigest()
    return digest.hexdigest()


def _first_present(values: Mapping[str, Any], fields: Sequence[str], option: str) -> str:
    for field in fields:
        if field in values:
            return field
    wanted = " or ".join(map(repr, fields))
    advice = f"; {option} (--{option.replace('_', '-')}) can name another" if option else ""
    present = f"there are {', '.join(map(repr, values))}" if values else "the record has no fields"
    raise InputError(f"the field {wanted} is missing ({present}){advice}")
