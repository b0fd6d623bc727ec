"""Memory that libraries below keep: freed memory is given back, compiled kernels are bounded in number."""

import ctypes
import os
from functools import cache
from typing import Any

KERNELS = 96
"""Enough for some twenty lengths of single queries."""


def give_back() -> None:
    """Give freed memory back, where the C library can (glibc).

    Batches of ever new shapes leave its heap in pieces, which glibc keeps. Giving it back takes milliseconds.
    """
    trim = _trim()
    if trim is not None:
        trim(0)


def bound_kernels() -> None:
    """Let oneDNN keep fewer compiled kernels, unless the user has said how many.

    It compiles one for each shape of a bfloat16 product, of about half a megabyte, and keeps 1,024: over a corpus,
    whose batches have ever new shapes, that is half a gigabyte. A batch needs a handful. It reads the number when it
    is first used, so this has no effect in a process that has multiplied in bfloat16 before.
    """
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", str(KERNELS))


@cache
def _trim() -> Any:
    try:
        return getattr(ctypes.CDLL(None), "malloc_trim", None)
    except (OSError, TypeError):  # not every system has a C library to be opened so
        return None
