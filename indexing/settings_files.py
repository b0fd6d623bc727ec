"""Settings files: YAML or JSON read into dataclasses, with errors that name the file and the key."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, fields, is_dataclass
from functools import cache
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from indexing.disk import write_atomically
from indexing.errors import InputError
from indexing.inputs import local_path, repeated
from indexing.json_text import DEEPEST, parse_json
from indexing.plurals import counted

T = TypeVar("T")

_MOST_BYTES = 8 << 20
_MOST_VALUES = 1_000_000
"""Limits of a settings file. References make many values of a short YAML text."""

_KINDS: dict[Any, tuple[str, str]] = {
    str: ("text", "names"),
    int: ("a whole number", "whole numbers"),
    float: ("a number", "numbers"),
    bool: ("true or false", "values true or false"),
}
"""Words for a type in error messages: one value, and a list of values."""

_WRONG = object()


def read_yaml(path: str | Path) -> Any:
    """Return the content of a YAML file, or of a JSON file (``.json``); None for an empty file.

    Raises
    ------
    InputError
        When the file cannot be read or parsed, is longer than 8 MiB, is nested deeper than `DEEPEST` levels, or has
        more than a million values.
    """
    import yaml

    path = local_path(path, "path").expanduser()
    is_json = path.suffix == ".json"
    try:
        with path.open(encoding="utf-8") as file:
            text = file.read(_MOST_BYTES + 1)
        if len(text) > _MOST_BYTES:
            raise InputError(f"{path} is longer than {_MOST_BYTES >> 20} MiB, which no settings file is")
        content = parse_json(text, object_pairs_hook=_distinct_keys) if is_json else yaml.load(text, _loader())
    except InputError:
        raise
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from error
    except RecursionError:
        raise InputError(f"{path} is nested deeper than {DEEPEST} levels") from None
    except (yaml.YAMLError, ValueError, TypeError, AttributeError) as error:
        raise InputError(f"{path} is not {'JSON' if is_json else 'YAML'}: {' '.join(str(error).split())}") from error
    _check_extent(content, path)
    return content


def _check_extent(content: Any, path: Path) -> None:
    """Raise InputError for content that is nested too deeply or has too many values, references counted each time."""
    level, depth, count = [content], 0, 0
    while level:
        count += len(level)
        if depth > DEEPEST or count > _MOST_VALUES:
            limit = (
                f"is nested deeper than {DEEPEST} levels"
                if depth > DEEPEST
                else f"has over {counted(_MOST_VALUES, 'value')}"
            )
            raise InputError(f"{path} {limit}")
        below: list[Any] = []
        for value in level:
            if isinstance(value, Mapping | list | tuple | set):
                below.extend(value.values() if isinstance(value, Mapping) else value)
                if len(below) > _MOST_VALUES:
                    break
        level, depth = below, depth + 1


@cache
def _loader() -> Any:
    """Return YAML's safe loader, made to refuse a key that occurs twice, of which only the last would count."""
    import yaml

    class DistinctKeys(yaml.SafeLoader):
        def construct_mapping(self, node: Any, deep: bool = False) -> Any:
            written = [key.value for key, _ in node.value if key.tag != "tag:yaml.org,2002:merge"]
            _check_distinct([str(key) for key in written], f" in line {node.start_mark.line + 1} or below")
            return super().construct_mapping(node, deep)

    return DistinctKeys


def _distinct_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    _check_distinct([key for key, _ in pairs], "")
    return dict(pairs)


def _check_distinct(keys: Sequence[str], where: str) -> None:
    if (twice := repeated(keys)) is not None:
        raise ValueError(f"the key {twice!r} occurs twice{where}: keep one of them")


def write_yaml(path: str | Path, content: Mapping[str, Any]) -> None:
    """Write a mapping to a YAML file, atomically, keeping the order of its keys."""
    import yaml

    text = yaml.safe_dump(dict(content), sort_keys=False, allow_unicode=True)
    write_atomically(local_path(path, "path"), lambda file: file.write(text.encode()))


def read_dataclass(kind: type[T], content: Any, where: str, key: str = "") -> T:
    """Build a dataclass from a mapping, checking each value against the annotation of its field.

    Understood are `Any`, `str`, `int`, `float`, `bool`, `Literal`, ``tuple[X, ...]``, ``Sequence[X]``, `Mapping`,
    dataclasses and unions of these with None. Numbers may be written as text, because YAML reads ``2e-5`` as text. A
    field's metadata may hold bounds of its value (``min``, ``above``, ``below``) and, for a missing required key, what
    it is (``is``).

    Parameters
    ----------
    content
        Names and values, as read from a file.
    where
        The file, for error messages.
    key
        The key in the file under which `content` stands; empty for the whole file.

    Raises
    ------
    InputError
        For an unknown key (the message lists the known ones), a missing one, or a value of the wrong type.
    """
    if not isinstance(content, Mapping):
        raise InputError(f"{where}: {key or 'the content'} must be keys with values, not {_short(content)}")
    known: dict[str, Any] = {field.name: field for field in fields(kind)}  # type: ignore[arg-type]
    hints, values = get_type_hints(kind), {}
    prefix = f"{key}." if key else ""
    for name, value in content.items():
        if name not in known:
            raise InputError(f"{where}: unknown key {_short(prefix + str(name))}: known are {', '.join(known)}")
        values[name] = _read(hints[name], value, where, prefix + name, known[name].metadata)
    for name, field in known.items():
        if name not in values and field.default is MISSING and field.default_factory is MISSING:
            meaning = field.metadata.get("is")
            raise InputError(f"{where}: {prefix}{name} is missing" + (f": {meaning}" if meaning else ""))
    return kind(**values)


def _read(hint: Any, value: Any, where: str, key: str, bounds: Mapping[str, Any]) -> Any:
    """Return the value as its annotation asks, or raise an error that describes what is accepted."""
    accepted = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
    if value is None and NoneType in accepted:
        return None
    accepted = tuple(member for member in accepted if member is not NoneType)
    for member in accepted:
        converted = _converted(member, value, where, key)
        if converted is not _WRONG and _within(converted, bounds):
            return converted
    wanted = " or ".join(_description(member) for member in accepted) + _bounds_text(bounds)
    raise InputError(f"{where}: {key} must be {wanted}, not {_short(value)}")


def _converted(hint: Any, value: Any, where: str, key: str) -> Any:
    """Return the value as a single annotation asks, `_WRONG` when its type is another."""
    origin = get_origin(hint) or hint
    if hint is Any or (origin is Literal and value in get_args(hint)):
        return value
    if hint in (int, float):
        return _number(hint, value)
    if hint in (bool, str):
        return value if isinstance(value, hint) else _WRONG
    if origin in (tuple, Sequence) and isinstance(value, list | tuple):
        items = tuple(_converted(get_args(hint)[0], item, where, key) for item in value)
        return _WRONG if _WRONG in items else items
    if is_dataclass(hint) and isinstance(value, hint):  # type: ignore[arg-type]
        return value
    if isinstance(value, Mapping):
        if is_dataclass(hint):
            return read_dataclass(hint, value, where, key)  # type: ignore[arg-type]
        if origin is Mapping:
            item = get_args(hint)[1]
            return {str(name): _read(item, each, where, f"{key}.{name}", {}) for name, each in value.items()}
    return _WRONG


def _short(value: Any) -> str:
    """Return the representation of a value in an error message, without its end if it is long."""
    try:
        text = repr(value)
    except (RecursionError, ValueError):  # Python does not write integers of more than 4,300 digits
        return f"a long {type(value).__name__}"
    return text if len(text) <= 200 else f"{text[:200]}…"


def _number(kind: type, value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return _WRONG
    try:
        number = float(value) if isinstance(value, str) else value
        if kind is float:
            return number if math.isfinite(number) else _WRONG
        return int(number) if number == int(number) else _WRONG
    except (ValueError, OverflowError):
        return _WRONG


def _within(value: Any, bounds: Mapping[str, Any]) -> bool:
    return (
        ("min" not in bounds or value >= bounds["min"])
        and ("above" not in bounds or value > bounds["above"])
        and ("below" not in bounds or value < bounds["below"])
    )


def _bounds_text(bounds: Mapping[str, Any]) -> str:
    words = {"min": "of at least", "above": "above", "below": "below"}
    parts = [f"{words[name]} {bounds[name]}" for name in words if name in bounds]
    return f" {' and '.join(parts)}" if parts else ""


def _description(hint: Any) -> str:
    origin, members = get_origin(hint), get_args(hint)
    if origin is Literal:
        return f"one of {', '.join(map(str, members))}"
    if origin in (tuple, Sequence):
        return f"a list of {_KINDS[members[0]][1]}"
    return _KINDS[hint][0] if hint in _KINDS else "keys with values"
