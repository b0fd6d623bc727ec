"""Files of a FaissIndex: ``settings.json`` names the parts and tombstones in use, and is replaced last.

No other file is written twice: a commit writes the parts that changed under new numbers. A crash at any time leaves
either the old state or the new one. Files that ``settings.json`` does not name are removed by the next commit.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from indexing.disk import load_strings, save_strings, sync, write_atomically
from indexing.errors import StorageError
from indexing.hits import StringArray
from indexing.indexes import settings_json
from indexing.indexes.faiss import storage as faiss_storage
from indexing.indexes.faiss.kinds import FaissSettings
from indexing.indexes.settings_json import FORMAT, read_settings_json, write_settings_json
from indexing.plurals import counted

if TYPE_CHECKING:
    import faiss

FILE_NAMES = r"settings\.json|vectors-\d+\.faiss|ids-\d+\.npz|deleted-\d+\.npy"
FORMAT_OF_PARTS = 2
"""Format of an index with later parts or tombstones of their own, which earlier versions of the project refuse."""


@dataclass(slots=True, eq=False)
class Part:
    """A FAISS index of consecutive positions.

    Parameters
    ----------
    index
        FAISS's index.
    number
        The number in the names of its files; 0 before it is written.
    growing
        It is held in memory and takes further vectors; otherwise it may be mapped, and never changes.
    """

    index: Any
    number: int = 0
    growing: bool = True

    @property
    def size(self) -> int:
        """Number of positions."""
        return int(self.index.ntotal)


@dataclass(frozen=True, slots=True)
class Stored:
    """Contents of ``settings.json``.

    Parameters
    ----------
    settings
        As the index was created.
    generation, later
        Numbers of the files of the first part and of the later ones.
    deleted
        Number of the file of tombstones; 0 for none.
    sequence
        The last journal sequence that the index contains.
    learning
        The index still waits for its training sample.
    """

    settings: FaissSettings
    generation: int = 0
    sequence: int = 0
    learning: bool = False
    later: Sequence[int] = ()
    deleted: int = 0

    @property
    def largest(self) -> int:
        """The largest number of a file."""
        return max(self.generation, self.deleted, *self.later, 0)


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
            later=tuple(map(int, content.get("later", ()))),
            deleted=int(content.get("deleted", 0)),
        ),
        formats=(FORMAT, FORMAT_OF_PARTS),
    )


def read_newest(path: Path) -> tuple[Stored, list[Part], StringArray]:
    """Map the parts into memory and read their ids, also while a writer replaces files.

    Raises
    ------
    StorageError
        When there is no index, or it is unreadable.
    """
    stored, (parts, ids) = settings_json.read_newest(path, "FAISS", read_settings, _read)
    return stored, parts, ids


def read_vectors(path: Path, number: int, *, mapped: bool) -> "faiss.Index":
    """Read the vectors of the part of this number, or map them into memory."""
    return faiss_storage.load(_vectors(path, number), mapped=mapped)


def write_part(path: Path, number: int, index: "faiss.Index", ids: StringArray) -> None:
    """Write the files of a part, which `write_settings` then makes one of the current ones."""
    import faiss

    vectors = _vectors(path, number)
    try:
        faiss.write_index(index, str(vectors))
    except RuntimeError as error:  # FAISS names its own lines of code first
        reason = str(error).rpartition("failed: ")[2]
        raise StorageError(f"{vectors} cannot be written ({reason}): free some disk space and run it again") from error
    sync(vectors)
    save_strings(_ids(path, number), ids.tolist())


def write_deleted(path: Path, number: int, positions: NDArray[np.int64]) -> None:
    """Write the positions of tombstones."""
    write_atomically(_deleted(path, number), lambda file: np.save(file, positions))


def write_settings(path: Path, stored: Stored, count: int) -> None:
    """Replace ``settings.json`` atomically."""
    content: dict[str, Any] = {"count": count} | asdict(stored)
    if stored.later or stored.deleted:
        content["format"] = FORMAT_OF_PARTS
    write_settings_json(path, "FAISS", content)


def remove_unnamed(path: Path, stored: Stored) -> None:
    """Remove the index's files that `stored` does not name."""
    named = {_deleted(path, stored.deleted).name}
    for number in (stored.generation, *stored.later):
        named |= {_vectors(path, number).name, _ids(path, number).name}
    settings_json.remove_unnamed(path, named, FILE_NAMES)


def _read(path: Path, stored: Stored) -> tuple[list[Part], StringArray]:
    read = [_read_part(path, number, stored.settings.dimension) for number in (stored.generation, *stored.later)]
    parts = [part for part, _ in read]
    ids = np.concatenate([ids for _, ids in read]) if stored.later else read[0][1]
    if stored.deleted:
        file = _deleted(path, stored.deleted)
        with _reading(path, [file]):
            ids[np.load(file, allow_pickle=False)] = ""
    return parts, ids


def _read_part(path: Path, number: int, dimension: int) -> tuple[Part, StringArray]:
    file, names = _vectors(path, number), _ids(path, number)
    if not file.exists():
        raise FileNotFoundError(2, "missing", str(file))
    with _reading(path, reading := [names]):
        ids = load_strings(names)
        reading[0] = file
        index = read_vectors(path, number, mapped=True)
    if index.ntotal != len(ids) or index.d != dimension:
        raise StorageError(
            f"the FAISS index {path} is damaged: {counted(index.ntotal, 'vector')} of dimension {index.d} "
            f"for {counted(len(ids), 'id')} of dimension {dimension}; build it again"
        )
    return Part(index, number, growing=False), ids


@contextmanager
def _reading(path: Path, reading: list[Path]) -> Iterator[None]:
    """Raise `StorageError` for whatever the block raises, `FileNotFoundError` where the file is gone."""
    try:
        yield
    except FileNotFoundError:
        raise
    except Exception as error:  # zipfile, zlib, numpy and FAISS each have their own
        file = reading[0]
        if not file.exists():
            raise FileNotFoundError(2, "missing", str(file)) from error
        raise StorageError(
            f"the FAISS index {path} is damaged: {file.name} cannot be read ({type(error).__name__}: {error})"
        ) from error


def _vectors(path: Path, number: int) -> Path:
    return path / f"vectors-{number}.faiss"


def _ids(path: Path, number: int) -> Path:
    return path / f"ids-{number}.npz"


def _deleted(path: Path, number: int) -> Path:
    return path / f"deleted-{number}.npy"
