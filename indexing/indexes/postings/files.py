"""Files of a postings index: ``settings.json`` names the segments and tombstones in use, and is replaced last.

Files that ``settings.json`` does not name are removed by the next commit.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from indexing.disk import load_strings, save_strings, write_atomically
from indexing.errors import StorageError
from indexing.hits import StringArray, string_array
from indexing.indexes import settings_json
from indexing.indexes.array_files import array_file, load_array
from indexing.indexes.postings.segment import PARTS, Segment
from indexing.indexes.settings_json import read_settings_json, write_settings_json
from indexing.plurals import counted

ENGINE = "Postings"
FILE_NAMES = rf"settings\.json|segment-\d+\.({'|'.join(PARTS)})\.npy|ids-\d+\.npz|deleted-\d+\.npy"


@dataclass(frozen=True, slots=True)
class Stored:
    """Contents of ``settings.json``.

    Parameters
    ----------
    columns
        Number of terms.
    segments
        The number and size of each segment.
    deleted
        Number of the file of tombstones; 0 for none.
    sequence
        The last journal sequence that the index contains.
    last
        The largest number that a file has had: a number is never used again.
    """

    columns: int
    segments: Sequence[tuple[int, int]] = ()
    deleted: int = 0
    sequence: int = 0
    last: int = 0

    @property
    def largest(self) -> int:
        """The largest number of a file, now or before; earlier versions did not record `last`."""
        return max([self.last, self.deleted, *(number for number, _ in self.segments)])


def read_settings(path: Path) -> Stored:
    """Read ``settings.json`` of the index in this folder; errors as in `read_settings_json`."""
    return read_settings_json(
        path,
        ENGINE,
        lambda content: Stored(
            int(content["columns"]),
            tuple((int(number), int(size)) for number, size in content["segments"]),
            int(content["deleted"]),
            int(content["sequence"]),
            int(content.get("last", 0)),
        ),
    )


def write_settings(path: Path, stored: Stored, count: int) -> None:
    """Replace ``settings.json`` atomically."""
    write_settings_json(path, ENGINE, {"count": count} | asdict(stored))


def read_newest(path: Path) -> tuple[Stored, list[Segment], StringArray]:
    """Map the segments into memory and read their ids, also while a writer replaces files.

    Raises
    ------
    StorageError
        When there is no index, or it is damaged.
    """
    stored, (segments, ids) = settings_json.read_newest(path, ENGINE, read_settings, _read)
    return stored, segments, ids


def write_ids(path: Path, number: int, ids: StringArray) -> None:
    """Write the ids of the documents of a segment."""
    save_strings(_ids(path, number), ids.tolist())


def write_deleted(path: Path, number: int, positions: NDArray[np.int64]) -> None:
    """Write the positions of tombstones."""
    write_atomically(_deleted(path, number), lambda file: np.save(file, positions))


def remove_unnamed(path: Path, stored: Stored) -> None:
    """Remove the index's files that `stored` does not name."""
    named = {_deleted(path, stored.deleted).name}
    for number, _ in stored.segments:
        named |= {array_file(path, number, part).name for part in PARTS} | {_ids(path, number).name}
    settings_json.remove_unnamed(path, named, FILE_NAMES)


def _read(path: Path, stored: Stored) -> tuple[list[Segment], StringArray]:
    segments = [Segment.load(path, number, size) for number, size in stored.segments]
    for segment in segments:
        if len(segment.starts) != stored.columns + 1:
            raise StorageError(
                f"the postings index {path} is damaged: segment {segment.number} has "
                f"{counted(len(segment.starts) - 1, 'column')} of {stored.columns}"
            )
    names = [_read_ids(path, number, size) for number, size in stored.segments]
    ids = np.concatenate(names) if names else string_array([])
    if stored.deleted:
        file = _deleted(path, stored.deleted)
        positions = load_array(file)
        if positions.dtype != np.int64 or (len(positions) and int(positions.view(np.uint64).max()) >= len(ids)):
            raise StorageError(f"{file} is damaged: it names positions that do not exist; build the index again")
        ids[positions] = ""
    return segments, ids


def _read_ids(path: Path, number: int, size: int) -> StringArray:
    file = _ids(path, number)
    try:
        ids = load_strings(file)
    except FileNotFoundError:
        raise
    except Exception as error:  # zipfile, zlib and numpy each have their own
        raise StorageError(f"{file} is damaged ({type(error).__name__}: {error}): build the index again") from error
    if len(ids) != size:
        raise StorageError(
            f"the postings index {path} is damaged: {counted(len(ids), 'id')} for {counted(size, 'document')}"
        )
    return ids


def _ids(path: Path, number: int) -> Path:
    return path / f"ids-{number}.npz"


def _deleted(path: Path, number: int) -> Path:
    return path / f"deleted-{number}.npy"
