"""JSON from files that others wrote: parsed with bounds, without importing anything heavy."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from indexing.errors import StorageError

DEEPEST = 100
"""Levels of nested lists and keys that files and metadata may have."""


def depth(value: Any) -> int:
    """Return the levels of nested lists and mappings, without recursion; no more than `DEEPEST` + 1 are counted."""
    level, levels = [value], 0
    while level and levels <= DEEPEST:
        containers = [each for each in level if isinstance(each, Mapping | list | tuple)]
        levels += bool(containers)
        level = [part for each in containers for part in (each.values() if isinstance(each, Mapping) else each)]
    return levels


def parse_json(text: str | bytes, **options: Any) -> Any:
    """Parse JSON; raise a `ValueError` for anything else, and for nesting that Python cannot parse.

    `options` are those of `json.loads`.
    """
    try:
        return json.loads(text, **options)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def distinct_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return an object, as ``object_pairs_hook``; a `ValueError` refuses a key that occurs twice.

    JSON does not say which of the two values counts.
    """
    values = dict(pairs)
    if len(values) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the key {twice!r} occurs twice in one object; keep one of them")
    return values


def read_json_object(path: Path, remedy: str) -> dict[str, Any]:
    """Return the JSON object that a file holds.

    Parameters
    ----------
    path
        The file.
    remedy
        What to do when it is damaged, for the message.

    Raises
    ------
    StorageError
        When the file cannot be read, or holds something else; the message names it.
    """
    try:
        content = parse_json(path.read_text("utf-8"))
    except OSError as error:
        raise StorageError(f"{path} cannot be read ({error.strerror}): {remedy}") from error
    except ValueError as error:
        raise StorageError(f"{path} is damaged ({error}): {remedy}") from error
    if not isinstance(content, dict):
        raise StorageError(f"{path} is damaged (it holds no JSON object): {remedy}")
    return content
