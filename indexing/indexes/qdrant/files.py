"""Settings file of a QdrantIndex, ``settings.json``, which is replaced after each flush of the engine."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from indexing.filters import Fields, check_fields
from indexing.indexes.qdrant.settings import Engine, QdrantServer, QdrantSettings
from indexing.indexes.settings_json import read_settings_json, write_settings_json


@dataclass(frozen=True, slots=True)
class Stored:
    """Settings and location of an index, and the last journal sequence that it durably holds.

    `words` describes an index of texts: how texts become weights, and the statistics that this needs.
    """

    engine: Engine
    settings: QdrantSettings
    fields: Fields
    server: QdrantServer | None
    sequence: int
    words: Mapping[str, Any] | None = None


def read_settings(path: Path, api_key: str | None = None) -> Stored:
    """Read ``settings.json`` of the index in this folder; errors as in `read_settings_json`."""
    return read_settings_json(
        path,
        "Qdrant",
        lambda content: Stored(
            engine=content["engine"],
            settings=QdrantSettings(**content["settings"]),
            fields=check_fields(content["fields"]),
            server=QdrantServer(**content["server"], api_key=api_key) if content["server"] else None,
            sequence=int(content["sequence"]),
            words=content.get("words"),
        ),
    )


def write_settings(path: Path, stored: Stored) -> None:
    """Replace ``settings.json`` atomically, without the API key."""
    content = asdict(stored)
    if content["server"] is not None:
        del content["server"]["api_key"]
    if content["settings"]["text"] is None:
        del content["settings"]["text"]  # earlier versions do not know it
    write_settings_json(path, "Qdrant", content)
