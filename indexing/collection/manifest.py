"""Manifest: the description of a collection in a JSON file, which is written atomically."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from indexing.disk import write_json
from indexing.errors import StorageError
from indexing.filters import Fields, check_fields
from indexing.indexes.registry import KINDS, Backend, Rows, rows_of

FORMAT = 2


@dataclass(frozen=True, slots=True)
class Leg:
    """Description of a leg in the manifest.

    Parameters
    ----------
    backend
        Kind of the index.
    encoder
        Identity of the model that encoded its documents.
    parameters
        Other parameters needed to build the index again.
    folder
        Folder of the index below ``legs``: the leg's name, until `Collection.reindex` builds another.
    count, sequence, bytes
        Number of documents, last write of the journal, and size, at the last commit.
    files
        Size and CRC-32 of each file of the index at the last commit.
    """

    backend: Backend
    encoder: Mapping[str, Any] | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)
    folder: str = ""
    count: int = 0
    sequence: int = 0
    bytes: int = 0
    files: Mapping[str, tuple[int, int]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.backend not in KINDS:
            raise ValueError(f"unknown backend {self.backend!r}")
        if self.folder:
            name, dot, number = self.folder.partition(".")
            check_name(name)
            if dot and not number.isdecimal():
                raise ValueError(f"invalid folder {self.folder!r} of a leg")

    @property
    def rows(self) -> Rows:
        """Kind of rows that its index stores: text, vectors or term weights."""
        return rows_of(self.backend, self.parameters)


@dataclass(frozen=True, slots=True)
class Manifest:
    """Description of a collection.

    Parameters
    ----------
    documents
        Number of documents at the last commit.
    corpus
        Description of the corpus that they come from.
    legs
        The legs by name.
    fields
        The metadata fields to filter by, with their types.
    """

    documents: int
    corpus: Mapping[str, Any]
    legs: Mapping[str, Leg] = field(default_factory=dict)
    fields: Fields = field(default_factory=dict)


def read_manifest(path: Path) -> Manifest:
    """Read the manifest of the collection in this directory; raises what `Collection.open` raises."""
    file = path / "manifest.json"
    try:
        stored = json.loads(file.read_text("utf-8"))
        if stored["format"] != FORMAT:
            raise StorageError(
                f"{path} has format {stored['format']}, this version reads {FORMAT}: build it again with "
                f"`retrieve index CORPUS --to {path} --overwrite`"
            )
        legs = {
            check_name(name): Leg(**leg | {"files": {file: tuple(sums) for file, sums in leg["files"].items()}})
            for name, leg in stored["legs"].items()
        }
        return Manifest(int(stored["documents"]), stored["corpus"], legs, check_fields(stored["fields"]))
    except (FileNotFoundError, NotADirectoryError):
        raise StorageError(
            f"{path} is not a collection (no manifest.json): build one with `retrieve index CORPUS --to {path}`"
        ) from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise StorageError(f"{file} is damaged ({error!r}): build the collection again") from error


def write_manifest(path: Path, manifest: Manifest) -> None:
    """Write the manifest of the collection in this directory, atomically."""
    legs = {check_name(name): asdict(leg) for name, leg in manifest.legs.items()}
    write_json(
        path / "manifest.json",
        {
            "format": FORMAT,
            "documents": manifest.documents,
            "corpus": dict(manifest.corpus),
            "fields": dict(manifest.fields),
            "legs": legs,
        },
    )


def check_name(name: str) -> str:
    """Return the name of a leg; raise a `ValueError` if it could lead out of the collection's folder."""
    if not name.replace("-", "").replace("_", "").isalnum():
        raise ValueError(f"a leg cannot be called {name!r}")
    return name
