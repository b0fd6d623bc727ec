"""Arrays of an index in numbered files that never change, mapped into memory."""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib.format import dtype_to_descr, write_array_header_1_0
from numpy.typing import DTypeLike, NDArray

from indexing.disk import sync
from indexing.errors import StorageError

MERGE_FACTOR = 4
"""A segment is merged into the one before it unless that one is more than this many times as large."""


def array_file(folder: Path, number: int, part: str) -> Path:
    """Return the path of one array of a segment."""
    return folder / f"segment-{number}.{part}.npy"


def save_array(folder: Path, number: int, part: str, array: NDArray[Any]) -> None:
    """Write an array durably."""
    path = array_file(folder, number, part)
    np.save(path, array)
    sync(path)


@contextmanager
def saving_blocks(
    folder: Path, number: int, part: str, dtype: DTypeLike, shape: tuple[int, ...]
) -> Iterator[Callable[[NDArray[Any]], object]]:
    """Write an array of a known shape durably; the block passes its rows, in order, to the yielded function.

    A full disk is an `OSError` here. A file that is mapped for writing would end the process by SIGBUS.
    """
    kind = np.dtype(dtype)
    header = {"descr": dtype_to_descr(kind), "fortran_order": False, "shape": shape}
    with array_file(folder, number, part).open("wb") as file:
        write_array_header_1_0(file, header)
        yield lambda rows: file.write(np.asarray(rows, kind).tobytes())
        file.flush()
        os.fsync(file.fileno())


def load_array(path: Path) -> NDArray[Any]:
    """Map an array into memory; raise `StorageError` for a damaged file.

    It is a plain array over the mapped file: each slice of a memmap costs microseconds.
    """
    try:
        return np.asarray(np.load(path, mmap_mode="r", allow_pickle=False))
    except FileNotFoundError:
        raise
    except Exception as error:  # numpy raises ValueError, EOFError and others for a damaged file
        raise StorageError(f"{path} is damaged ({type(error).__name__}: {error}): build the index again") from error


def first_small(sizes: Sequence[int]) -> int:
    """Return the position of the first of the small segments at the end, which are merged into one."""
    first = max(0, len(sizes) - 1)
    total = sum(sizes[first:])
    while first > 0 and sizes[first - 1] <= MERGE_FACTOR * total:
        first -= 1
        total += sizes[first]
    return first
