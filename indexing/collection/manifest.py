"""Manifest: the description of a collection in a JSON file, which is written atomically."""

import json
import zlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from indexing.disk import write_atomically
from indexing.errors import StorageError
from indexing.filters import Fields, check_fields
from indexing.indexes.registry import KINDS, Backend, Rows, rows_of
from indexing.inputs import LONGEST_NAME
from indexing.json_text import parse_json
from indexing.settings_files import read_dataclass

FORMAT = 2
MINOR = 1
"""Version within the format: from 1 on, the manifest's last line is a checksum of the bytes before it."""
_CHECKSUM = b',\n  "crc32": "'
LONGEST_LEG_NAME = 200
"""Bytes of a leg's name: files and folders that are called after it get an ending."""
_LARGEST_WIDTH = 1 << 24
"""Limit of the dimension or the columns of a leg's rows."""


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

    backend: Backend = field(metadata={"is": "the kind of the index"})
    encoder: Mapping[str, Any] | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)
    folder: str = ""
    count: int = field(default=0, metadata={"min": 0})
    sequence: int = field(default=0, metadata={"min": 0})
    bytes: int = field(default=0, metadata={"min": 0})
    files: Mapping[str, tuple[int, int]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.backend not in KINDS:
            raise ValueError(f"unknown backend {self.backend!r}")
        for name in ("dimension", "columns"):
            width = self.parameters.get(name, 1)
            if isinstance(width, bool) or not isinstance(width, int) or not 1 <= width <= _LARGEST_WIDTH:
                raise ValueError(f"{name} must be a whole number from 1 to {_LARGEST_WIDTH:,}, not {width!s:.80}")
        if self.parameters.get("dtype", "float32") not in ("float32", "float16"):
            raise ValueError(f"unknown dtype {self.parameters['dtype']!s:.80}")
        if any(len(sums) != 2 for sums in self.files.values()):
            raise ValueError("files must have a size and a checksum each")
        if any(Path(file).is_absolute() or ".." in Path(file).parts for file in self.files):
            raise ValueError("a file leads out of the folder of its leg")
        if self.folder:
            name, dot, number = self.folder.partition(".")
            check_name(name)
            if len(self.folder.encode()) > LONGEST_NAME or (dot and not number.isdecimal()):
                raise ValueError(f"invalid folder {self.folder!r:.80} of a leg")

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

    documents: int = field(metadata={"min": 0})
    corpus: Mapping[str, Any] = field(metadata={"is": "the description of the corpus"})
    legs: Mapping[str, Leg] = field(default_factory=dict)
    fields: Fields = field(default_factory=dict)

    def first_leg(self, rows: Rows) -> str | None:
        """Return the name of the first leg with rows of this kind; None without one."""
        return next((name for name, leg in self.legs.items() if leg.rows == rows), None)


def read_manifest(path: Path) -> Manifest:
    """Read the manifest of the collection in this directory; raises what `Collection.open` raises."""
    file = path / "manifest.json"
    try:
        data = file.read_bytes()
        stored = parse_json(data.decode())
        if not isinstance(stored, dict):
            raise ValueError("the content must be keys with values")
        _check_sum(file, data, stored)
        if stored["format"] != FORMAT:
            raise StorageError(
                f"{path} has format {stored['format']!s:.20}, this version reads {FORMAT}: build it again with "
                f"`retrieve index CORPUS --to {path} --overwrite`"
            )
        content = {name: value for name, value in stored.items() if name not in ("format", "minor", "crc32")}
        manifest = read_dataclass(Manifest, content, file.name)
        for name in manifest.legs:
            check_name(name)
        return replace(manifest, fields=check_fields(manifest.fields))
    except (FileNotFoundError, NotADirectoryError):
        raise StorageError(
            f"{path} is not a collection (no manifest.json): build one with `retrieve index CORPUS --to {path}`"
        ) from None
    except OSError as error:
        raise StorageError(f"{file} cannot be read ({error.strerror})") from error
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise StorageError(f"{file} is damaged ({error!r:.300}): build the collection again") from error


def write_manifest(path: Path, manifest: Manifest) -> None:
    """Write the manifest of the collection in this directory, atomically."""
    legs = {check_name(name): asdict(leg) for name, leg in manifest.legs.items()}
    data = manifest_bytes(
        {
            "format": FORMAT,
            "minor": MINOR,
            "documents": manifest.documents,
            "corpus": dict(manifest.corpus),
            "fields": dict(manifest.fields),
            "legs": legs,
        }
    )
    write_atomically(path / "manifest.json", lambda file: file.write(data))


def manifest_bytes(content: Mapping[str, Any]) -> bytes:
    """Return the bytes of a manifest, of which the last line is the checksum."""
    text = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False)
    return _with_sum(text.removesuffix("\n}").encode())


def _with_sum(body: bytes) -> bytes:
    return body + _CHECKSUM + f'{zlib.crc32(body):08x}"\n}}\n'.encode()


def _check_sum(file: Path, data: bytes, stored: Mapping[str, Any]) -> None:
    """Raise `StorageError` unless a manifest is as it was written; those of older versions have no checksum."""
    body, found, _ = data.rpartition(_CHECKSUM)
    if (found or {"minor", "crc32"} & stored.keys()) and _with_sum(body) != data:
        raise StorageError(
            f"{file} is damaged (its checksum differs): restore it from a copy, or build the collection again; to keep "
            "what was changed on purpose, remove its entries minor and crc32"
        )


def check_name(name: str) -> str:
    """Return the name of a leg; raise a `ValueError` if it could lead out of the collection's folder."""
    if not name.replace("-", "").replace("_", "").isalnum() or len(name.encode()) > LONGEST_LEG_NAME:
        raise ValueError(f"a leg cannot be called {name!r:.80}")
    return name
