"""Memory held by libraries: release freed memory, page out mapped weights, limit oneDNN's kernel cache."""

import ctypes
import mmap
import os
import sys
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

_MADV_PAGEOUT = 21  # Not in Python's mmap module.

KERNEL_CACHE_CAPACITY = 96
"""Enough for about twenty lengths of single queries."""


def release_freed_memory() -> None:
    """Return freed heap memory to the operating system, if the C library can (glibc).

    Batches of varying shapes fragment the heap, and glibc keeps the fragments. Releasing them takes milliseconds.
    """
    malloc_trim = _malloc_trim()
    if malloc_trim is not None:
        malloc_trim(0)


def page_out(tensor: "Tensor") -> None:
    """Release the memory of weights that are mapped from a file (Linux); they are read again when needed.

    Safetensors whose type equals the model's are mapped, not copied. Weights created or changed in memory are kept.
    """
    first, size = tensor.data_ptr(), tensor.nbytes
    madvise = _madvise()
    if madvise is not None and tensor.device.type == "cpu" and _is_mapped(first, size):
        start = -(-first // mmap.PAGESIZE) * mmap.PAGESIZE
        madvise(ctypes.c_void_p(start), ctypes.c_size_t(max(0, first + size - start)), _MADV_PAGEOUT)


def _is_mapped(first: int, size: int) -> bool:
    """Return whether these bytes of memory are mapped from a file."""
    for line in Path("/proc/self/maps").read_text().splitlines():
        if "/" in line and ".so" not in line:
            low, high = (int(end, 16) for end in line.split(maxsplit=1)[0].split("-"))
            if low <= first and first + size <= high:
                return True
    return False


def limit_kernel_cache() -> None:
    """Lower the capacity of oneDNN's kernel cache, unless the user has set it.

    oneDNN compiles a kernel of about half a megabyte for each shape of a bfloat16 product and caches 1,024 of them. A
    corpus has batches of many shapes, which adds up to half a gigabyte; a batch needs a handful. oneDNN reads the
    capacity on first use, so this has no effect in a process that has already multiplied in bfloat16.
    """
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", str(KERNEL_CACHE_CAPACITY))


@cache
def _malloc_trim() -> Any:
    return _c_function("malloc_trim")


@cache
def _madvise() -> Any:
    return _c_function("madvise") if sys.platform == "linux" else None


def _c_function(name: str) -> Any:
    try:
        return getattr(ctypes.CDLL(None), name, None)
    except (OSError, TypeError):  # Windows cannot open its C library this way.
        return None
