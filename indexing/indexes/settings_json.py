"""``settings.json`` of an index: its backend and format, what its engine needs to open it, and the files in use.

A commit replaces it last, so a crash at any time leaves the old state or the new one.
"""

import re
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any, TypeVar

from indexing.disk import write_json
from indexing.errors import StorageError
from indexing.json_text import parse_json

SETTINGS = "settings.json"
FORMAT = 1

Stored = TypeVar("Stored")
Read = TypeVar("Read")


def read_settings_json(
    path: Path, engine: str, build: Callable[[Mapping[str, Any]], Stored], formats: Collection[int] = (FORMAT,)
) -> Stored:
    """Read ``settings.json`` of the index in this folder and pass its content to `build`.

    Raises
    ------
    StorageError
        When there is no index of this engine and format, or its settings are damaged.
    """
    try:
        content = parse_json((path / SETTINGS).read_text("utf-8"))
        if content.get("backend") != engine.lower():
            raise StorageError(f"{path} holds an index of backend {content.get('backend')!r}, not {engine.lower()!r}")
        if content["format"] not in formats:
            known = ", ".join(map(str, formats))
            raise StorageError(f"{path} has format {content['format']}, this version reads {known}: build it again")
        return build(content)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise StorageError(f"{path} is not a {engine} index: {error.filename} is missing") from None
    except (ValueError, KeyError, TypeError, AttributeError, OSError) as error:
        raise StorageError(f"{path / SETTINGS} cannot be read ({error!r}): build the index again") from error


def write_settings_json(path: Path, engine: str, content: Mapping[str, Any]) -> None:
    """Replace ``settings.json`` of the index in this folder, atomically; `content` may have a format of its own."""
    write_json(path / SETTINGS, {"backend": engine.lower(), "format": FORMAT, **content})


def read_newest(
    path: Path, engine: str, settings: Callable[[Path], Stored], read: Callable[[Path, Stored], Read]
) -> tuple[Stored, Read]:
    """Return the settings of the index in this folder and what `read` makes of its files.

    A writer may replace files meanwhile: where one is missing, the settings are read again.

    Raises
    ------
    StorageError
        When there is no index, or a file is missing although the settings name it.
    """
    stored = settings(path)
    while True:
        try:
            return stored, read(path, stored)
        except FileNotFoundError as error:
            newer = settings(path)
            if newer == stored:
                raise StorageError(f"the {engine} index {path} is damaged: {error.filename} is missing") from None
            stored = newer


def remove_unnamed(path: Path, named: Collection[str], pattern: str) -> None:
    """Remove the files of an index, whose names match `pattern`, that its settings do not name."""
    for file in path.iterdir():
        if file.name not in named and file.name != SETTINGS and re.fullmatch(pattern, file.name):
            file.unlink(missing_ok=True)
