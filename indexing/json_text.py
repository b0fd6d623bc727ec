"""JSON from files that others wrote: parsed with bounds, without importing anything heavy."""

import json
from collections.abc import Mapping
from typing import Any

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
