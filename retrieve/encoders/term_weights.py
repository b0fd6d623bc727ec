"""Rows of term weights: checks, shared terms, sparsity."""

from typing import Any, NamedTuple

import numpy as np
from scipy.sparse import csr_matrix

from indexing.errors import InputError
from indexing.plurals import counted
from retrieve.encoders.given_vectors import check_vectors


def check_weights(given: Any, width: int) -> csr_matrix:
    """Return term weights as CSR rows in ascending columns without stored zeros.

    Raises
    ------
    InputError
        For another width, a NaN or an infinity.
    """
    weights = csr_matrix(check_vectors(given, "embeddings"))
    if weights.shape[1] != width:
        raise InputError(
            f"the vocabulary has {counted(width, 'term')}, but the weights {counted(weights.shape[1], 'column')}"
        )
    if not weights.data.all():
        weights = weights.copy()
        weights.eliminate_zeros()
    return weights


def shared_weights(one: Any, others: Any) -> csr_matrix:
    """Return the products above 0 of one row with each of the others, by term; see `SparseEncoder.intersection`."""
    row, rows = csr_matrix(check_vectors(one, "embeddings_1")), csr_matrix(check_vectors(others, "embeddings_2"))
    if row.shape[0] != 1:
        raise InputError(f"embeddings_1 must be one text's weights, not those of {row.shape[0]}")
    if row.shape[1] != rows.shape[1]:
        raise InputError(
            f"embeddings_1 have {counted(row.shape[1], 'column')} and embeddings_2 {rows.shape[1]}: "
            "encode both with one model"
        )
    products = csr_matrix(rows.multiply(row.toarray()), dtype=np.float32)
    products.data[products.data < 0] = 0
    products.eliminate_zeros()
    products.sort_indices()
    return products


class Sparsity(NamedTuple):
    """Sparsity of rows of term weights.

    Parameters
    ----------
    active_dims
        Mean number of nonzero terms in a row.
    sparsity_ratio
        Mean share of zero terms in a row.
    """

    active_dims: float
    sparsity_ratio: float


def sparsity(weights: csr_matrix) -> Sparsity:
    """Compute the sparsity of rows; (0, 1) for no rows."""
    rows, columns = weights.shape
    active = weights.count_nonzero() / rows if rows else 0.0
    return Sparsity(active, 1 - active / columns if columns else 1.0)
