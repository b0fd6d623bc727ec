"""Files of a FaissIndex: ``settings.json`` names the current generation of files and is replaced last.

A crash at any time leaves either the old generation or the new one, never parts of both.
"""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from indexing.disk import load_strings, save_strings, sync
from indexing.errors import StorageError
from indexing.hits import StringArray
from indexing.indexes.faiss import storage as faiss_storage
from indexing.indexes.faiss.kinds import FaissSettings
from indexing.indexes.settings_json import read_settings_json, write_settings_json
from indexing.plurals import counted

if TYPE_CHECKING:
    import faiss


@dataclass(frozen=True, slots=True)
class Stored:
    """Contents of ``settings.json``; `learning` means that the index still waits for its training sample."""

    settings: FaissSettings
    generation: int = 0
    sequence: int = 0
    learning: bool = False


def read_settings(path: Path) -> Stored:
    """Read ``settings.json`` of the index in this folder; errors as in `read_settings_json`."""
    return read_settings_json(
        path,
        "FAISS",
        lambda content: Stored(
            settings=FaissSettings(**content["settings"]),
            generation=int(content["generation"]),
            sequence=int(content.get("sequence", 0)),
            learning=bool(content.get("learning", False)),
        ),
    )


def read_newest(path: Path, *, mapped: bool) -> "tuple[Stored, faiss.Index, StringArray]":
    """Read the index and its ids, also while a writer replaces the generation.

    Raises
    ------
    StorageError
        When there is no index, or it is unreadable.
    """
    stored = read_settings(path)
    while True:
        try:
            return stored, *_read_generation(path, stored, mapped)
        except FileNotFoundError as error:
            newer = read_settings(path)
            if newer.generation == stored.generation:
                raise StorageError(f"the FAISS index {path} is damaged: {error.filename} is missing") from None
            stored = newer


def write_generation(path: Path, generation: int, index: "faiss.Index", ids: StringArray) -> None:
    """Write the files of a generation, which `write_settings` then makes the current one."""
    import faiss

    vectors = _vectors(path, generation)
    faiss.write_index(index, str(vectors))
    sync(vectors)
    save_strings(_ids(path, generation), ids.tolist())


def write_settings(path: Path, stored: Stored, count: int) -> None:
    """Replace ``settings.json`` atomically."""
    write_settings_json(path, "FAISS", {"count": count} | asdict(stored))


def remove_generation(path: Path, generation: int) -> None:
    """Remove the files of an outdated generation."""
    for stale in (_vectors(path, generation), _ids(path, generation)):
        stale.unlink(missing_ok=True)


def _read_generation(path: Path, stored: Stored, mapped: bool) -> "tuple[faiss.Index, StringArray]":
    file = _vectors(path, stored.generation)
    if not file.exists():
        raise FileNotFoundError(2, "missing", str(file))
    try:
        reading = _ids(path, stored.generation)
        ids = load_strings(reading)
        reading = file
        index = faiss_storage.load(file, mapped=mapped)
    except FileNotFoundError:
        raise
    except Exception as error:  # zipfile, zlib, numpy and FAISS each have their own
        if not reading.exists():
            raise FileNotFoundError(2, "missing", str(reading)) from error
        raise StorageError(
            f"the FAISS index {path} is damaged: {reading.name} cannot be read ({type(error).__name__}: {error})"
        ) from error
    dimension = stored.settings.dimension
    if index.ntotal != len(ids) or index.d != dimension:
        raise StorageError(
            f"the FAISS index {path} is damaged: {counted(index.ntotal, 'vector')} of dimension {index.d} "
            f"for {counted(len(ids), 'id')} of dimension {dimension}; build it again"
        )
    return index, ids


def _vectors(path: Path, generation: int) -> Path:
    return path / f"vectors-{generation}.faiss"


def _ids(path: Path, generation: int) -> Path:
    return path / f"ids-{generation}.npz"
