"""Min-max normalisation."""

import numpy as np
from numpy.typing import NDArray

from retrieve.fusion.segments import per_hit


def min_max(scores: NDArray[np.floating], offsets: NDArray[np.int64], *, constant: float = 1.0) -> NDArray[np.float64]:
    """Map each query's scores to [0, 1]: ``(s - min) / (max - min)`` (Lee, SIGIR 1997), float64 [hits].

    Query ``i`` owns ``scores[offsets[i]:offsets[i + 1]]``, in any order. If all scores of a query are equal (a single
    hit, for example), each becomes `constant`: 1 by default, so that a hit scores above a missing one. (ranx uses 0.)
    """
    exact = np.asarray(scores, np.float64)
    low = per_hit(np.minimum, exact, offsets)
    spread = per_hit(np.maximum, exact, offsets) - low
    return np.divide(exact - low, spread, out=np.full_like(exact, constant), where=spread > 0)
