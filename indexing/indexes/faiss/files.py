"""A FaissIndex on disk: ``settings.json`` names the generation of files that belong together and is replaced last.

A crash at any instant leaves either the old generation or the new one, never half of each.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from indexing.disk import load_strings, save_strings, sync_file, write_json
from indexing.errors import StorageError
from indexing.hits import StringArray
from indexing.indexes.faiss import storage as faiss_storage
from indexing.indexes.faiss.kinds import FaissSettings

if TYPE_CHECKING:
    import faiss

FORMAT = 1
SETTINGS = "settings.json"


@dataclass(frozen=True, slots=True)
class Stored:
    """What ``settings.json`` says: `learning` means that the kind has not yet seen its training sample."""

    settings: FaissSettings
    generation: int = 0
    sequence: int = 0
    learning: bool = False


def read_settings(path: Path) -> Stored:
    """Read ``settings.json`` of the index in this folder.

    Raises
    ------
    StorageError
        When there is no index of this backend and format.
    """
    try:
        stored = json.loads((path / SETTINGS).read_text("utf-8"))
        if stored.get("backend") != "faiss":
            raise StorageError(f"{path} holds an index of backend {stored.get('backend')!r}, not 'faiss'")
        if stored["format"] != FORMAT:
            raise StorageError(f"{path} has format {stored['format']}, this version reads {FORMAT}: build it again")
        return Stored(
            settings=FaissSettings(**stored["settings"]),
            generation=int(stored["generation"]),
            sequence=int(stored.get("sequence", 0)),
            learning=bool(stored.get("learning", False)),
        )
    except (FileNotFoundError, NotADirectoryError) as error:
        raise StorageError(f"{path} is not a FAISS index: {error.filename} is missing") from None
    except (ValueError, KeyError, TypeError, AttributeError, OSError) as error:
        raise StorageError(f"the FAISS index {path} cannot be read ({error}): build it again") from error


def read_newest(path: Path, *, mapped: bool) -> "tuple[Stored, faiss.Index, StringArray]":
    """Read the index and its ids; a writer that replaces the generation meanwhile does no harm.

    Raises
    ------
    StorageError
        When there is no index, or it cannot be read.
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
    """Write the files of one generation; they count once `write_settings` names it."""
    import faiss

    vectors = _vectors(path, generation)
    faiss.write_index(index, str(vectors))
    sync_file(vectors)
    save_strings(_ids(path, generation), ids.tolist())


def write_settings(path: Path, stored: Stored, count: int) -> None:
    """Replace ``settings.json``, atomically."""
    write_json(path / SETTINGS, {"backend": "faiss", "format": FORMAT, "count": count} | asdict(stored))


def remove_generation(path: Path, generation: int) -> None:
    """Remove the files of a generation that no settings name any more."""
    for stale in (_vectors(path, generation), _ids(path, generation)):
        stale.unlink(missing_ok=True)


def _read_generation(path: Path, stored: Stored, mapped: bool) -> "tuple[faiss.Index, StringArray]":
    file = _vectors(path, stored.generation)
    if not file.exists():
        raise FileNotFoundError(2, "missing", str(file))
    try:
        ids = load_strings(_ids(path, stored.generation))
        index = faiss_storage.load(file, mapped=mapped)
    except FileNotFoundError:
        raise
    except (ValueError, KeyError, RuntimeError, OSError) as error:
        raise StorageError(f"the FAISS index {path} cannot be read ({error}): build it again") from error
    dimension = stored.settings.dimension
    if index.ntotal != len(ids) or index.d != dimension:
        raise StorageError(
            f"the FAISS index {path} is damaged: {index.ntotal} vectors of dimension {index.d} "
            f"for {len(ids)} ids of dimension {dimension}; build it again"
        )
    return index, ids


def _vectors(path: Path, generation: int) -> Path:
    return path / f"vectors-{generation}.faiss"


def _ids(path: Path, generation: int) -> Path:
    return path / f"ids-{generation}.npz"
