"""Vectors in fewer bits: a byte for each dimension, or one bit."""

from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from indexing.errors import InputError

Precision = Literal["float32", "int8", "uint8", "binary", "ubinary"]
PRECISIONS: tuple[Precision, ...] = get_args(Precision)


def value_ranges(vectors: NDArray[Any]) -> NDArray[np.float32]:
    """Give the least and the largest value of each dimension, float32 [2, dim], for `quantize`.

    Raises
    ------
    InputError
        When there are not at least two vectors [vectors, dim]: one has no range.
    """
    if vectors.ndim != 2 or len(vectors) < 2:
        raise InputError(
            f"int8 and uint8 take their ranges from at least 2 vectors, not from the shape {list(vectors.shape)}: "
            "pass ranges, the value_ranges of a sample"
        )
    return np.stack([vectors.min(axis=0), vectors.max(axis=0)]).astype(np.float32)


def quantize(vectors: NDArray[Any], precision: Precision, *, ranges: NDArray[Any] | None = None) -> NDArray[Any]:
    """Write vectors in fewer bits, as ``sentence_transformers.util.quantize_embeddings`` does.

    Parameters
    ----------
    vectors
        Floating-point [..., dim].
    precision
        "uint8": which of 256 equal parts of its dimension's range a value falls into, 0 to 255; "int8": 128 less;
        what lies outside the range goes to its end. "ubinary": a bit for each dimension, 1 where it is above 0,
        eight in a byte, the first highest; "binary": the same byte, 128 less. "float32": as they are.
    ranges
        [2, dim], the least and the largest value of each dimension, for "int8" and "uint8"; by default
        `value_ranges` of the vectors themselves. Vectors that are to be compared need the same ranges.

    Returns
    -------
    float32, int8 or uint8 [..., dim], or [..., ceil(dim / 8)] for the binary ones

    Raises
    ------
    InputError
        For an unknown precision, vectors that are integers already, or ranges that are missing or do not fit.
    """
    check_precision(precision)
    if not np.issubdtype(vectors.dtype, np.floating):
        raise InputError(f"vectors to quantize must be floating-point numbers, not {vectors.dtype}")
    if precision == "float32":
        return vectors.astype(np.float32)
    if precision in ("binary", "ubinary"):
        bits = np.packbits(vectors > 0, axis=-1)
        return bits if precision == "ubinary" else (bits - 128).astype(np.int8)
    if not len(vectors):
        return np.zeros(vectors.shape, np.dtype(precision))
    if ranges is None:
        ranges = value_ranges(vectors)
    if ranges.shape != (2, vectors.shape[-1]):
        raise InputError(f"ranges must have the shape [2, {vectors.shape[-1]}], not {list(ranges.shape)}")
    low, high = ranges.astype(np.float32)
    step = (high - low) / 255
    step[step == 0] = 1
    parts = np.clip(np.floor((vectors - low) / step), 0, 255)
    return parts.astype(np.uint8) if precision == "uint8" else (parts - 128).astype(np.int8)


def quantized_width(dimension: int, precision: Precision) -> int:
    """Give the number of columns of quantized vectors."""
    return -(-dimension // 8) if precision in ("binary", "ubinary") else dimension


def quantized_type(precision: Precision) -> "np.dtype[Any]":
    """Give the dtype of quantized vectors."""
    return np.dtype({"binary": "int8", "ubinary": "uint8"}.get(precision, precision))


def check_precision(precision: str) -> None:
    """Refuse what is not one of `PRECISIONS`."""
    if precision not in PRECISIONS:
        raise InputError(f"precision must be one of {', '.join(PRECISIONS)}, not {precision!r}")
