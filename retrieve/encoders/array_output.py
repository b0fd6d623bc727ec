"""Arrays of vectors, filled block by block as texts are encoded."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from indexing.errors import InputError
from indexing.plurals import counted


def check_out(out: NDArray[Any], count: int | None, width: int, dtype: np.dtype[Any]) -> None:
    """Raise `InputError` unless an array takes `count` rows (any number for None) of this width and type."""
    if out.ndim != 2 or out.shape[1] != width or (count is not None and len(out) != count):
        expected = f"[{'texts' if count is None else count}, {width}]"
        raise InputError(f"out must have the shape {expected}, not {list(out.shape)}")
    if dtype == np.float32 and not np.issubdtype(out.dtype, np.floating):
        raise InputError(f"out must hold floating-point numbers, not {out.dtype}")
    if dtype != np.float32 and out.dtype != dtype:
        raise InputError(f"out must hold {dtype} for this precision, not {out.dtype}")


def fill(out: NDArray[Any], blocks: Iterator[NDArray[Any]]) -> NDArray[Any]:
    """Write blocks into an array, and return the rows that were written."""
    filled = 0
    for block in blocks:
        if filled + len(block) > len(out):
            raise InputError(f"out has {counted(len(out), 'row')}, but there are more texts")
        out[filled : filled + len(block)] = block
        filled += len(block)
    return out[:filled]


def gather(blocks: Iterator[NDArray[Any]], width: int, dtype: np.dtype[Any], count: int | None) -> NDArray[Any]:
    """Join blocks into an array of `count` rows, or one that grows in place, so that the vectors never exist twice."""
    if count is not None:
        return fill(np.empty((count, width), dtype), blocks)
    gathered = np.empty((0, width), dtype)
    for block in blocks:
        filled = len(gathered)
        gathered.resize((filled + len(block), width), refcheck=False)
        gathered[filled:] = block
    return gathered
