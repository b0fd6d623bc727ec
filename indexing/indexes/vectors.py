"""Checks of the vectors and weights that an index is given; some engines would accept anything."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix, issparse

from indexing.errors import InputError


def check_vectors(vectors: Any, dimension: int, path: Path, ids: Sequence[str] | None = None) -> NDArray[np.float32]:
    """Check dense vectors and return them as contiguous float32 [n, dimension].

    Parameters
    ----------
    vectors
        Any floating array [n, dimension].
    dimension
        Dimension of the index at `path`.
    path
        The index, named in errors.
    ids
        The documents' ids; None for queries.

    Raises
    ------
    InputError
        For a wrong shape, a NaN or an infinity, naming the document or the row.
    """
    rows = np.ascontiguousarray(vectors, dtype=np.float32)
    if rows.ndim != 2 or rows.shape[1] != dimension:
        raise InputError(
            f"the index {path} holds vectors of dimension {dimension}, "
            f"not an array of shape {list(rows.shape)}: was it built with another encoder?"
        )
    finite = np.isfinite(rows)
    if not finite.all():
        raise InputError(f"{_describe('vector', int(np.argmin(finite.all(axis=1))), ids)} holds a NaN or an infinity")
    return rows


def check_weights(weights: Any, vocabulary: int, path: Path, ids: Sequence[str] | None = None) -> csr_matrix:
    """Check sparse vectors as `check_vectors` does, and return a copy as canonical float32 CSR [n, vocabulary]."""
    shape = np.shape(weights)
    if not issparse(weights) or len(shape) != 2 or shape[1] != vocabulary:
        raise InputError(
            f"the index {path} has a vocabulary of {vocabulary} terms: weights must be a scipy.sparse matrix "
            f"[rows, {vocabulary}], not of shape {list(shape)}"
        )
    matrix: Any = csr_matrix(cast("csr_matrix", weights), dtype=np.float32, copy=True)
    matrix.sum_duplicates()
    matrix.eliminate_zeros()
    finite = np.isfinite(matrix.data)
    if not finite.all():
        row = int(np.searchsorted(matrix.indptr, np.argmin(finite), side="right")) - 1
        raise InputError(f"{_describe('weights', row, ids)} hold a NaN or an infinity")
    return matrix


def normalised(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """Divide each row by its L2 norm; rows of zeros stay zeros."""
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.divide(rows, norms, out=np.zeros_like(rows), where=norms > 0)


def _describe(what: str, row: int, ids: Sequence[str] | None) -> str:
    return f"the query {what} of row {row}" if ids is None else f"the {what} of {ids[row]!r}"
