"""Vectors on their way into an index: one check for every backend, some of which would take anything."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix, issparse

from indexing.errors import InputError


def check_vectors(vectors: Any, dimension: int, path: Path, ids: Sequence[str] | None = None) -> NDArray[np.float32]:
    """Give dense vectors as contiguous float32 [n, dimension].

    Parameters
    ----------
    vectors
        Any floating array [n, dimension].
    dimension
        What the index at `path` holds.
    path
        To name in errors.
    ids
        Of the documents; None for queries.

    Raises
    ------
    InputError
        For another shape, a NaN or an infinity, naming the document or the row.
    """
    rows = np.ascontiguousarray(vectors, dtype=np.float32)
    if rows.ndim != 2 or rows.shape[1] != dimension:
        raise InputError(
            f"the index {path} holds vectors of dimension {dimension}, "
            f"not an array of shape {list(rows.shape)}: was another encoder used?"
        )
    fine = np.isfinite(rows)
    if not fine.all():
        raise InputError(f"{_whose('vector', int(np.argmin(fine.all(axis=1))), ids)} holds a NaN or an infinity")
    return rows


def check_weights(weights: Any, vocabulary: int, path: Path, ids: Sequence[str] | None = None) -> csr_matrix:
    """Give sparse vectors as canonical float32 CSR [n, vocabulary], a copy; else as `check_vectors`."""
    shape = np.shape(weights)
    if not issparse(weights) or len(shape) != 2 or shape[1] != vocabulary:
        raise InputError(
            f"the index {path} has a vocabulary of {vocabulary} terms: weights must be a scipy.sparse matrix "
            f"[rows, {vocabulary}], not of shape {list(shape)}"
        )
    matrix: Any = csr_matrix(cast("csr_matrix", weights), dtype=np.float32, copy=True)
    matrix.sum_duplicates()
    matrix.eliminate_zeros()
    fine = np.isfinite(matrix.data)
    if not fine.all():
        row = int(np.searchsorted(matrix.indptr, np.argmin(fine), side="right")) - 1
        raise InputError(f"{_whose('weights', row, ids)} hold a NaN or an infinity")
    return matrix


def normalised(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """Divide each row by its length; a row of zeros stays."""
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.divide(rows, norms, out=np.zeros_like(rows), where=norms > 0)


def _whose(what: str, row: int, ids: Sequence[str] | None) -> str:
    return f"the query {what} of row {row}" if ids is None else f"the {what} of {ids[row]!r}"
