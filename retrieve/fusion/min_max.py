"""Min-max normalisation of scores."""

import numpy as np
from numpy.typing import NDArray


def min_max(scores: NDArray[np.floating], offsets: NDArray[np.int64]) -> NDArray[np.float64]:
    """Map each query's scores to [0, 1]: ``(s - min) / (max - min)``, float64 [hits].

    Query ``i`` owns ``scores[offsets[i]:offsets[i + 1]]``, in any order. Where all of a query's scores are equal (one
    hit, say) each becomes 1: found is worth more than not found.
    """
    exact = np.asarray(scores, np.float64)
    counts = np.diff(offsets)
    answered = counts > 0
    if not answered.any():
        return exact
    starts, counts = offsets[:-1][answered], counts[answered]
    low = np.repeat(np.minimum.reduceat(exact, starts), counts)
    spread = np.repeat(np.maximum.reduceat(exact, starts), counts) - low
    return np.divide(exact - low, spread, out=np.ones_like(exact), where=spread > 0)
