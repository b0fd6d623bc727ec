"""Maximum normalisation."""

import numpy as np
from numpy.typing import NDArray

from retrieve.fusion.segments import per_hit


def maximum(scores: NDArray[np.floating], offsets: NDArray[np.int64]) -> NDArray[np.float64]:
    """Divide each query's scores by their largest absolute value: ``s / max |s|``, float64 [hits].

    Without negative scores this is the maximum norm ``s / max`` (Lee, SIGIR 1997); dividing by a negative maximum
    would reverse the order. Zeros stay zeros.
    """
    exact = np.asarray(scores, np.float64)
    highest = per_hit(np.maximum, np.abs(exact), offsets)
    return np.divide(exact, highest, out=np.zeros_like(exact), where=highest > 0)
