"""Sums over each query's part of a column: what every normaliser needs, without a loop over queries."""

import numpy as np
from numpy.typing import NDArray


def per_hit(reduction: np.ufunc, values: NDArray[np.float64], offsets: NDArray[np.int64]) -> NDArray[np.float64]:
    """Reduce each query's values and give every hit its query's result, float64 [hits].

    Query ``i`` owns ``values[offsets[i]:offsets[i + 1]]``; `reduction` is ``np.add``, ``np.minimum`` or the like.
    """
    counts = np.diff(offsets)
    answered = counts > 0
    if not answered.any():
        return values
    return np.repeat(reduction.reduceat(values, offsets[:-1][answered]), counts[answered])


def counts_per_hit(offsets: NDArray[np.int64]) -> NDArray[np.int64]:
    """Give every hit the number of its query's hits, int64 [hits]."""
    counts = np.diff(offsets)
    return np.repeat(counts, counts)
