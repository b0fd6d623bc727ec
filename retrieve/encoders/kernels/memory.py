"""Memory that libraries below keep: freed memory is given back, what a file has too is dropped, kernels are bounded."""

import ctypes
import mmap
import os
import sys
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

_PAGE_OUT = 21  # MADV_PAGEOUT, in no module of Python's.

KERNEL_CACHE_CAPACITY = 96
"""Enough for some twenty lengths of single queries."""


def release_freed_memory() -> None:
    """Give freed memory back, where the C library can (glibc).

    Batches of ever new shapes leave its heap in pieces, which glibc keeps. Giving it back takes milliseconds.
    """
    trim = _trim()
    if trim is not None:
        trim(0)


def page_out(tensor: "Tensor") -> None:
    """Let go of the memory of weights that are read straight from their file (Linux): they are read again when needed.

    Safetensors of the type that a model computes in are not copied, but mapped. Weights that were made or changed in
    memory stay there.
    """
    first, size = tensor.data_ptr(), tensor.nbytes
    if _advise() is not None and tensor.device.type == "cpu" and _is_mapped(first, size):
        start = -(-first // mmap.PAGESIZE) * mmap.PAGESIZE
        _advise()(ctypes.c_void_p(start), ctypes.c_size_t(max(0, first + size - start)), _PAGE_OUT)


def _is_mapped(first: int, size: int) -> bool:
    """Whether these bytes are a file's."""
    for line in Path("/proc/self/maps").read_text().splitlines():
        if "/" in line and ".so" not in line:
            low, high = (int(end, 16) for end in line.split(maxsplit=1)[0].split("-"))
            if low <= first and first + size <= high:
                return True
    return False


def limit_kernel_cache() -> None:
    """Let oneDNN keep fewer compiled kernels, unless the user has said how many.

    It compiles one for each shape of a bfloat16 product, of about half a megabyte, and keeps 1,024: over a corpus,
    whose batches have ever new shapes, that is half a gigabyte. A batch needs a handful. It reads the number when it
    is first used, so this has no effect in a process that has multiplied in bfloat16 before.
    """
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", str(KERNEL_CACHE_CAPACITY))


@cache
def _trim() -> Any:
    return _c_function("malloc_trim")


@cache
def _advise() -> Any:
    return _c_function("madvise") if sys.platform == "linux" else None


def _c_function(name: str) -> Any:
    try:
        return getattr(ctypes.CDLL(None), name, None)
    except (OSError, TypeError):  # not every system has a C library to be opened so
        return None
