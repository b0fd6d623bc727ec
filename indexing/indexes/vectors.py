"""Checks of vectors and weights: of what an index is given, and of a batch before a collection stores it."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from indexing.errors import InputError
from indexing.plurals import counted
from indexing.token_vectors import TokenVectors

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

LARGEST_IMPACT = 2**24 - 1
"""The largest integer up to which Lucene's float32 holds every integer exactly."""
LARGEST_LENGTH = 2**31 - 1
"""Lucene's bound on the sum of a document's impacts."""

LARGEST_HALF = 65504
"""The largest number of float16, in which token vectors are stored."""


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


def check_weights(weights: Any, vocabulary: int, path: Path, ids: Sequence[str] | None = None) -> "csr_matrix":
    """Check sparse vectors as `check_vectors` does, and return a copy as canonical float32 CSR [n, vocabulary]."""
    from scipy.sparse import csr_matrix, issparse

    shape = np.shape(weights)
    if not issparse(weights) or len(shape) != 2 or shape[1] != vocabulary:
        raise InputError(
            f"the index {path} has a vocabulary of {counted(vocabulary, 'term')}: weights must be a "
            f"scipy.sparse matrix "
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


def check_token_vectors(vectors: Any, dimension: int, path: Path, ids: Sequence[str] | None = None) -> TokenVectors:
    """Check token vectors as `check_vectors` does, and return them in float32."""
    if not isinstance(vectors, TokenVectors):
        raise InputError(f"the index {path} holds token vectors: TokenVectors are needed, not {type(vectors).__name__}")
    rows = np.ascontiguousarray(vectors.vectors, dtype=np.float32)
    if rows.ndim != 2 or rows.shape[1] != dimension:
        raise InputError(
            f"the index {path} holds token vectors of dimension {dimension}, "
            f"not an array of shape {list(rows.shape)}: was it built with another encoder?"
        )
    finite = (np.abs(rows) <= LARGEST_HALF).all(axis=1)
    if not finite.all():
        text = int(np.searchsorted(vectors.offsets, int(np.argmin(finite)), side="right")) - 1
        raise InputError(f"{_describe('token vectors', text, ids)} hold a NaN, or a number beyond float16")
    return vectors._replace(vectors=rows)


def check_token_rows(ids: Sequence[str], rows: Any, dimension: int) -> None:
    """Raise `InputError` unless `rows` are finite token vectors of each id."""
    if not isinstance(rows, TokenVectors) or rows.texts != len(ids) or rows.vectors.shape[1:] != (dimension,):
        found = f"{rows.texts} of {list(rows.vectors.shape[1:])}" if isinstance(rows, TokenVectors) else _shape(rows)
        raise InputError(f"token vectors of {counted(len(ids), 'document')} of [{dimension}] are needed, not {found}")
    finite = (np.abs(rows.vectors) <= LARGEST_HALF).all(axis=1)
    if not finite.all():
        text = int(np.searchsorted(rows.offsets, int(np.argmin(finite)), side="right")) - 1
        raise InputError(f"a token vector of {ids[text]!r} contains a NaN, or a number beyond float16")


def normalised(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """Divide each row by its L2 norm; rows of zeros stay zeros."""
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.divide(rows, norms, out=np.zeros_like(rows), where=norms > 0)


def check_vector_rows(ids: Sequence[str], rows: Any, dimension: int) -> None:
    """Raise `InputError` unless `rows` are finite vectors [ids, dimension]."""
    shape = len(ids), dimension
    if not isinstance(rows, np.ndarray) or rows.shape != shape:
        raise InputError(f"vectors of shape {list(shape)} are needed, not {_shape(rows)}")
    finite = np.isfinite(rows).all(axis=1)
    if not finite.all():
        raise InputError(f"the vector of {ids[int(np.argmin(finite))]!r} contains a NaN or an infinity")


def check_weight_rows(ids: Sequence[str], rows: Any, columns: int, scale: float) -> None:
    """Raise `InputError` unless `rows` are CSR weights [ids, columns] that make impacts when multiplied by `scale`."""
    from scipy.sparse import csr_array, csr_matrix

    shape = len(ids), columns
    if not isinstance(rows, csr_matrix | csr_array) or rows.shape != shape:
        raise InputError(f"term weights of shape {list(shape)} are needed, not {_shape(rows)}")
    impacts = np.rint(rows.data * scale)
    valid = (rows.data >= 0) & (impacts <= LARGEST_IMPACT)
    lengths = np.diff(np.concatenate(([0], np.cumsum(np.where(valid, impacts, 0), dtype=np.float64)))[rows.indptr])
    valid_rows = np.diff(np.concatenate(([0], np.cumsum(~valid)))[rows.indptr]) == 0
    valid_rows &= lengths <= LARGEST_LENGTH
    if not valid_rows.all():
        doc_id = ids[int(np.argmin(valid_rows))]
        raise InputError(f"a term weight of {doc_id!r} is negative, not a number or too large")


def _describe(what: str, row: int, ids: Sequence[str] | None) -> str:
    return f"the query {what} of row {row}" if ids is None else f"the {what} of {ids[row]!r}"


def _shape(rows: Any) -> str:
    return str(list(rows.shape)) if hasattr(rows, "shape") else type(rows).__name__
