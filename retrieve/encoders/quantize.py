"""Scalar and binary quantization of vectors: one byte or one bit per dimension."""

from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from indexing.errors import InputError

Precision = Literal["float32", "int8", "uint8", "binary", "ubinary"]
PRECISIONS: tuple[Precision, ...] = get_args(Precision)


def value_ranges(vectors: NDArray[Any]) -> NDArray[np.float32]:
    """Return the minimum and maximum of each dimension, float32 [2, dim], for `quantize`.

    Raises
    ------
    InputError
        For fewer than two vectors [vectors, dim].
    """
    if vectors.ndim != 2 or len(vectors) < 2:
        raise InputError(
            f"int8 and uint8 compute their ranges from at least 2 vectors, not from the shape {list(vectors.shape)}: "
            "pass ranges, the value_ranges of a sample"
        )
    return np.stack([vectors.min(axis=0), vectors.max(axis=0)]).astype(np.float32)


def quantize(vectors: NDArray[Any], precision: Precision, *, ranges: NDArray[Any] | None = None) -> NDArray[Any]:
    """Quantize vectors, as ``sentence_transformers.util.quantize_embeddings`` does.

    Parameters
    ----------
    vectors
        Floating-point [..., dim].
    precision
        "uint8": divide the range of each dimension into 256 equal parts and return the part of each value, 0 to 255;
        values outside the range are clipped. "int8": the same, less 128. "ubinary": one bit per dimension, 1 for
        values above 0, eight in a byte with the first dimension in the highest bit. "binary": the same byte, less 128.
        "float32": unchanged.
    ranges
        [2, dim], minimum and maximum of each dimension, for "int8" and "uint8"; by default the `value_ranges` of the
        vectors themselves. Vectors that are compared with each other need the same ranges.

    Returns
    -------
    float32, int8 or uint8 [..., dim], or [..., ceil(dim / 8)] for the binary precisions

    Raises
    ------
    InputError
        For an unknown precision, integer vectors, or ranges that are missing or do not fit.
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
    """Return the number of columns of quantized vectors."""
    return -(-dimension // 8) if precision in ("binary", "ubinary") else dimension


def quantized_type(precision: Precision) -> "np.dtype[Any]":
    """Return the dtype of quantized vectors."""
    return np.dtype({"binary": "int8", "ubinary": "uint8"}.get(precision, precision))


def check_precision(precision: str) -> None:
    """Raise InputError unless `precision` is one of `PRECISIONS`."""
    if precision not in PRECISIONS:
        raise InputError(f"precision must be one of {', '.join(PRECISIONS)}, not {precision!r}")
