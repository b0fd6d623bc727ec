"""Statistics of each query's hits, without a loop over queries.

Query ``i`` owns ``values[offsets[i]:offsets[i + 1]]``; each function returns an array of [hits].
"""

import numpy as np
from numpy.typing import NDArray


def per_hit(reduction: np.ufunc, values: NDArray[np.float64], offsets: NDArray[np.int64]) -> NDArray[np.float64]:
    """Reduce each query's values by ``np.add``, ``np.minimum`` or the like, and repeat the result for its hits."""
    counts = np.diff(offsets)
    answered = counts > 0
    if not answered.any():
        return values
    return np.repeat(reduction.reduceat(values, offsets[:-1][answered]), counts[answered])


def counts_per_hit(offsets: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the number of hits of each hit's query."""
    counts = np.diff(offsets)
    return np.repeat(counts, counts)


def deviations(values: NDArray[np.float64], offsets: NDArray[np.int64]) -> NDArray[np.float64]:
    """Subtract the mean of each query's values."""
    return values - per_hit(np.add, values, offsets) / counts_per_hit(offsets)


def varying(values: NDArray[np.float64], offsets: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return whether the values of each hit's query differ."""
    return per_hit(np.maximum, values, offsets) > per_hit(np.minimum, values, offsets)
