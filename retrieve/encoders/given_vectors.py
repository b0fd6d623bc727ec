"""Checks of vectors that a caller passes in memory."""

from typing import Any, cast

import numpy as np
from scipy.sparse import csr_matrix, issparse

from indexing.errors import InputError
from retrieve.encoders.similarity import Vectors


def check_vectors(vectors: Any, name: str) -> Vectors:
    """Return vectors as float32 [rows, width], dense or CSR; a single vector becomes one row.

    Parameters
    ----------
    vectors
        Array, list of arrays, tensor (dense, or sparse in coordinates) or ``scipy.sparse`` matrix.
    name
        Name of the argument, for errors.

    Raises
    ------
    InputError
        For anything else, a wrong shape, a NaN or an infinity.
    """
    rows: Any
    if issparse(vectors):
        rows = csr_matrix(cast("csr_matrix", vectors), dtype=np.float32)
    elif getattr(vectors, "is_sparse", False):
        entries: Any = vectors.detach().cpu().coalesce()
        shape = tuple(entries.shape) if entries.dim() == 2 else (1, *entries.shape)
        places = entries.indices().numpy()
        row = places[0] if entries.dim() == 2 else np.zeros(places.shape[1], np.int64)
        rows = csr_matrix((entries.values().float().numpy(), (row, places[-1])), shape=shape)
    else:
        rows = _dense(vectors, name)
    if not np.isfinite(rows.data if isinstance(rows, csr_matrix) else rows).all():
        raise InputError(f"{name} contains a NaN or an infinity: remove the row, or encode its text again")
    return rows


def _dense(vectors: Any, name: str) -> Any:
    if isinstance(vectors, list | tuple) and len(vectors) and hasattr(vectors[0], "detach"):
        vectors = np.stack([_array(each) for each in vectors])
    try:
        rows = np.ascontiguousarray(_array(vectors), dtype=np.float32)
    except (TypeError, ValueError):
        rows = np.zeros((0, 0, 0), np.float32)
    if rows.ndim == 1 and np.ndim(vectors):
        rows = rows[None, :] if rows.size else rows.reshape(0, 0)
    if rows.ndim != 2:
        raise InputError(f"{name} must be vectors, an array [rows, width], not {type(vectors).__name__}: encode first")
    return rows


def _array(vectors: Any) -> Any:
    """Return a tensor as an array; anything else unchanged."""
    return vectors.detach().cpu().float().numpy() if hasattr(vectors, "detach") else vectors
