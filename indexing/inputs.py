"""Checks of arguments: texts, numbers, paths, options. What does not fit is an InputError of one line."""

import math
import numbers
import operator
import os
import unicodedata
from collections.abc import Collection, Iterable, Mapping, Sequence, Set
from pathlib import Path
from typing import Any

from indexing.errors import InputError

LONGEST_NAME, LONGEST_PATH = 255, 4096
"""Bytes of a file's name and of a path with its end, as Linux allows them."""

_SHOWN = 60
"""Number of characters of a wrong value in a message."""


def shown(value: Any) -> str:
    """Return a value as it is shown in a message: on one line, cut if it is long."""
    try:
        written = " ".join(repr(value).split())
    except Exception:
        written = f"an object of {type(value).__name__}"
    return written if len(written) <= _SHOWN else f"{written[: _SHOWN - 1]}…"


def whole_number(value: Any, name: str, *, least: int = 1) -> int:
    """Return a whole number of any type, such as NumPy's, as an int.

    Raises
    ------
    InputError
        For another type, such as 2.0, "2" or True, and for a number below `least`.
    """
    try:
        if isinstance(value, bool):
            raise TypeError
        number = operator.index(value)
    except TypeError:
        raise InputError(f"{name} must be a whole number of at least {least}, not {shown(value)}") from None
    if number < least:
        raise InputError(f"{name} must be at least {least}, not {number}")
    return number


def require_positive(**arguments: Any) -> None:
    """Raise InputError for an argument that is not a whole number of at least 1; None is allowed."""
    for name, value in arguments.items():
        if value is not None:
            whole_number(value, name)


def number(
    value: Any, name: str, *, least: float = -math.inf, most: float = math.inf, above: float | None = None
) -> float:
    """Return a real number of any type, such as NumPy's, as a float.

    Raises
    ------
    InputError
        For another type, for NaN, and for a number outside of ``[least, most]`` or not greater than `above`.
    """
    if isinstance(value, bool) or not isinstance(value, numbers.Real) or math.isnan(value):
        raise InputError(f"{name} must be a number, not {shown(value)}")
    found = float(value)
    if above is not None and not found > above:
        raise InputError(f"{name} must be above {above}, not {value}")
    if not least <= found <= most:
        bounds = f"at least {least}" if math.isinf(most) else f"between {least} and {most}"
        raise InputError(f"{name} must be {bounds}, not {value}")
    return found


def listed(values: Any, name: str, of: str = "strings") -> Iterable[Any]:
    """Return any number of values, as a list or another iterable whose order and items are what they seem.

    Raises
    ------
    InputError
        For a string or bytes (they are iterables of characters), a mapping (of its keys), a set (without an order), and
        for what is not iterable.
    """
    if isinstance(values, str):
        raise InputError(f"{name} must be a list of {of}, not the string {shown(values)}: put it in a list")
    if isinstance(values, bytes | bytearray):
        raise InputError(f"{name} must be a list of {of}, not {shown(values)}: decode it first")
    if isinstance(values, Mapping):
        raise InputError(f"{name} must be a list of {of}, not a mapping: pass list({name}.values())")
    if isinstance(values, Set):
        raise InputError(f"{name} must be a list of {of}, not a set, which has no order: pass sorted({name})")
    if not isinstance(values, Iterable):
        raise InputError(f"{name} must be a list of {of}, not {shown(values)}")
    return values


def texts(values: Any, name: str = "texts") -> list[str]:
    """Return any number of texts as a list.

    Raises
    ------
    InputError
        As `listed`, and for an item that is not a string; the message has its position.
    """
    checked = list(listed(values, name))
    for place, value in enumerate(checked):
        if not isinstance(value, str):
            raise InputError(f"{name}: number {place} (from 0) must be a string, not {shown(value)}")
    return checked


def text(value: Any, name: str) -> str:
    """Return a text; anything else raises an InputError."""
    if not isinstance(value, str):
        raise InputError(f"{name} must be a string, not {shown(value)}")
    return value


def flag(value: Any, name: str) -> bool:
    """Return True or False; anything else raises an InputError, because the string "false" counts as true."""
    if type(value).__name__ in ("bool", "bool_"):  # NumPy's too, without importing it
        return bool(value)
    raise InputError(f"{name} must be True or False, not {shown(value)}")


def local_path(value: Any, name: str) -> Path:
    """Return the path of a file or folder, given as a string or a `pathlib.Path`.

    Raises
    ------
    InputError
        For another type, for "", and for a path that no file can have.
    """
    written = os.fspath(value) if isinstance(value, os.PathLike) else value
    if not isinstance(written, str):
        raise InputError(f"{name} must be a path, as a string or pathlib.Path, not {shown(value)}")
    if not written or "\0" in written:
        raise InputError(f"{name} must be the path of a file or folder, not {shown(written)}")
    if not is_possible_path(written):
        raise InputError(f"{name} must be the path of a file or folder, and no file can be called {written[:80]!r}…")
    return Path(written)


def is_possible_path(path: str) -> bool:
    """Return whether a file may have this path: its characters can be encoded, and no name in it is too long."""
    try:
        names = [os.fsencode(name) for name in path.split("/")]
    except UnicodeEncodeError:  # half of a surrogate pair
        return False
    return "\0" not in path and max(map(len, names)) <= LONGEST_NAME and len(os.fsencode(path)) < LONGEST_PATH


def query(value: Any, name: str = "the query") -> str:
    """Return a query; an InputError refuses what is not a string, or has no visible character."""
    if not is_visible(text(value, name)):
        raise InputError(f"{name} is empty: {shown(value)} has no visible character")
    return str(value)


def is_visible(value: str) -> bool:
    """Return whether a text has a character that is not a space, a control or a format character."""
    return any(unicodedata.category(character)[0] not in "ZC" for character in value)


def known_options(given: Mapping[str, Any], known: Collection[str], where: str) -> None:
    """Raise an InputError for an option that is not among the known ones."""
    if unknown := next((name for name in given if name not in known), None):
        raise InputError(f"{where} has no option {unknown!r}; its options are {', '.join(known)}")


def repeated(values: Iterable[str]) -> str | None:
    """Return the first value that occurred before; None if all differ."""
    seen: set[str] = set()
    for value in values:
        if value in seen:
            return value
        seen.add(value)
    return None


def names(values: Any, name: str) -> Sequence[str]:
    """Return a list of different names; errors as `texts`, and for one that occurs twice."""
    checked = texts(values, name)
    if twice := next((value for value in checked if checked.count(value) > 1), None):
        raise InputError(f"{name} contains {twice!r} twice")
    return checked
