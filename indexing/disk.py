"""Atomic file writes: write to a temporary name, fsync, rename."""

import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import IO, Any

import numpy as np

from indexing.errors import StorageError
from indexing.hits import StringArray, string_array


def write_atomically(path: Path, write: Callable[[IO[bytes]], object]) -> None:
    """Replace the file `path` with what `write` produces; the old file stays until the new one is safe on disk."""
    partial = path.with_name(f".{path.name}.partial")
    try:
        with partial.open("wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    sync(path.parent)


def write_json(path: Path, value: Any) -> None:
    """Write a value to a JSON file, atomically."""
    text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    write_atomically(path, lambda file: file.write(text.encode()))


def save_strings(path: Path, strings: Sequence[str]) -> None:
    """Save strings as one UTF-8 buffer with offsets (``.npz``, no pickle), atomically."""
    encoded = [string.encode() for string in strings]
    offsets = np.cumsum([0, *map(len, encoded)], dtype=np.int64)
    utf8 = np.frombuffer(b"".join(encoded), dtype=np.uint8)
    write_atomically(path, lambda file: np.savez(file, utf8=utf8, offsets=offsets))


def load_strings(path: Path) -> StringArray:
    """Load the strings that `save_strings` wrote."""
    with np.load(path, allow_pickle=False) as stored:
        utf8, offsets = stored["utf8"].tobytes(), stored["offsets"].tolist()
    if utf8.isascii():  # a character is a byte: decoding at once takes half the time
        text = utf8.decode()
        return string_array([text[start:stop] for start, stop in pairwise(offsets)])
    return string_array([utf8[start:stop].decode() for start, stop in pairwise(offsets)])


@contextmanager
def writing(what: str) -> Iterator[None]:
    """Raise a `StorageError` that names `what` if the block cannot write its files."""
    try:
        yield
    except OSError as error:
        raise StorageError(
            f"{what} cannot be written ({error.strerror or error}): free some disk space and run it again"
        ) from error


def file_stamp(path: Path) -> tuple[int, ...] | None:
    """Return attributes of a file that change whenever it is replaced or written; None when it is missing."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_mtime_ns, found.st_size


def folder_bytes(path: Path) -> int:
    """Return the disk space that the files below `path` take; sparse files (Qdrant Edge's) count as allocated."""
    files = (file.stat() for file in path.rglob("*") if file.is_file())
    return sum(min(file.st_size, 512 * getattr(file, "st_blocks", file.st_size)) for file in files)


def sync(path: Path) -> None:
    """Flush a file, or the entries of a folder, to disk, so that writes and renames survive a power cut."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
