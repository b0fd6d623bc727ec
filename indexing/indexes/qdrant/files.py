"""What a QdrantIndex keeps beside its engine: ``settings.json``, replaced after each flush of the engine."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from indexing.disk import write_json
from indexing.errors import InputError, StorageError
from indexing.filters import Fields, check_fields
from indexing.indexes.qdrant.settings import Engine, QdrantServer, QdrantSettings

FORMAT = 1
SETTINGS = "settings.json"


@dataclass(frozen=True, slots=True)
class Stored:
    """What the index is, where it lives, and the last journal sequence that it holds for sure."""

    engine: Engine
    settings: QdrantSettings
    fields: Fields
    server: QdrantServer | None
    sequence: int


def read_settings(path: Path, api_key: str | None = None) -> Stored:
    """Read ``settings.json`` of the index in this folder.

    Raises
    ------
    StorageError
        When there is no index of this backend and format.
    """
    file = path / SETTINGS
    try:
        stored = json.loads(file.read_text("utf-8"))
        if stored.get("backend") != "qdrant":
            raise StorageError(f"{path} holds an index of backend {stored.get('backend')!r}, not 'qdrant'")
        if stored["format"] != FORMAT:
            raise StorageError(f"{path} has format {stored['format']}, this version reads {FORMAT}: build it again")
        return Stored(
            engine=stored["engine"],
            settings=QdrantSettings(**stored["settings"]),
            fields=check_fields(stored["fields"]),
            server=QdrantServer(**stored["server"], api_key=api_key) if stored["server"] else None,
            sequence=int(stored["sequence"]),
        )
    except (FileNotFoundError, NotADirectoryError) as error:
        raise StorageError(f"{path} is not a Qdrant index: {error.filename} is missing") from None
    except (InputError, ValueError, KeyError, TypeError, AttributeError, OSError) as error:
        raise StorageError(f"{file} is damaged ({error!r}): build the index again") from error


def write_settings(path: Path, stored: Stored) -> None:
    """Replace ``settings.json``, atomically; the API key stays out of it."""
    kept: dict[str, Any] = {"backend": "qdrant", "format": FORMAT} | asdict(stored)
    if kept["server"] is not None:
        del kept["server"]["api_key"]
    write_json(path / SETTINGS, kept)
