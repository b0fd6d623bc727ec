"""Checks of the rows of a batch before a collection stores them: what passes can be replayed into its index."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.sparse import csr_array, csr_matrix

from indexing.errors import InputError

LARGEST_IMPACT = 2**24 - 1
"""The largest integer up to which Lucene's float32 holds every integer exactly."""
LARGEST_LENGTH = 2**31 - 1
"""Lucene's bound on the sum of a document's impacts."""


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


def _shape(rows: Any) -> str:
    return str(list(rows.shape)) if hasattr(rows, "shape") else type(rows).__name__
