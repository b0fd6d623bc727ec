"""Similarities of dense or sparse vectors: of all pairs of two sets, or row by row."""

from collections.abc import Sequence
from enum import StrEnum
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix, issparse

from indexing.errors import InputError

Vectors: TypeAlias = NDArray[np.float32] | csr_matrix
Similarity: TypeAlias = Literal["cosine", "dot", "euclidean", "manhattan"]
SIMILARITIES: tuple[Similarity, ...] = ("cosine", "dot", "euclidean", "manhattan")


class SimilarityFunction(StrEnum):
    """Enumeration of similarities; members equal their names, so "cosine" works like `COSINE`."""

    COSINE = "cosine"
    DOT_PRODUCT = "dot"
    DOT = "dot"
    EUCLIDEAN = "euclidean"
    MANHATTAN = "manhattan"


def row_by_row(kind: Similarity, a: Vectors, b: Vectors) -> NDArray[np.floating]:
    """Return the similarity of row i of `a` to row i of `b`; distances are negative."""
    if kind in ("cosine", "dot"):
        a, b = (unit(a), unit(b)) if kind == "cosine" else (a, b)
        return _row_sums(a.multiply(b) if issparse(a) else a * b)
    difference = a - b
    if kind == "manhattan":
        return -_row_sums(abs(difference))
    return -np.sqrt(_row_sums(difference.multiply(difference) if issparse(difference) else difference**2))


def all_pairs(kind: Similarity, a: Vectors, b: Vectors) -> NDArray[np.float32]:
    """Return the similarity of each row of `a` to each of `b`, [rows of a, rows of b]; distances are negative."""
    if kind == "cosine":
        return cosines(a, b)
    if kind == "dot":
        return dense_rows(a @ b.T)
    import torch

    one, other = (torch.from_numpy(dense_rows(rows)) for rows in (a, b))
    return -torch.cdist(one, other, p=2.0 if kind == "euclidean" else 1.0).numpy()


def dense_rows(vectors: Any) -> NDArray[np.float32]:
    """Return dense or sparse vectors as a contiguous array."""
    return np.ascontiguousarray(vectors.toarray() if isinstance(vectors, csr_matrix) else vectors, dtype=np.float32)


def cosines(a: Vectors, b: Vectors) -> NDArray[np.float32]:
    """Return the cosine similarity of each row of `a` to each of `b`, [rows of a, rows of b]."""
    return dense_rows(unit(a) @ unit(b).T)


def unit(vectors: Vectors) -> Vectors:
    """Scale the rows to length 1; rows of length 0 stay."""
    if issparse(vectors):
        lengths = np.sqrt(_row_sums(vectors.multiply(vectors)))
        scaled = vectors.copy()
        scaled.data = scaled.data / np.repeat(np.maximum(lengths, 1e-12), np.diff(vectors.indptr))
        return scaled
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)


def check_similarities(names: Sequence[str], known: Sequence[str] = SIMILARITIES) -> list[Similarity]:
    """Return the names; raise InputError for an unknown one."""
    unknown = [name for name in names if name not in known]
    if unknown:
        raise InputError(f"unknown similarity {unknown[0]!r}: there are {', '.join(known)}")
    return list(names)  # type: ignore[arg-type]


def _row_sums(values: Any) -> NDArray[np.floating]:
    return np.asarray(values.sum(axis=1)).reshape(-1)
