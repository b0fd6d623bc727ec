"""Normalisation by the highest score."""

import numpy as np
from numpy.typing import NDArray

from retrieve.fusion.segments import per_hit


def maximum(scores: NDArray[np.floating], offsets: NDArray[np.int64]) -> NDArray[np.float64]:
    """Divide each query's scores by the greatest of their absolute values: ``s / max |s|``, float64 [hits].

    For scores that are not negative this is the maximum norm ``s / max`` (Lee, SIGIR 1997); dividing by a negative
    maximum would turn the order round. All zeros stay zeros.
    """
    exact = np.asarray(scores, np.float64)
    highest = per_hit(np.maximum, np.abs(exact), offsets)
    return np.divide(exact, highest, out=np.zeros_like(exact), where=highest > 0)
