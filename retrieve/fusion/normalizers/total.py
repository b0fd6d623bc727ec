"""Sum normalisation."""

import numpy as np
from numpy.typing import NDArray

from retrieve.fusion.segments import counts_per_hit, per_hit


def total(scores: NDArray[np.floating], offsets: NDArray[np.int64]) -> NDArray[np.float64]:
    """Shift each query's lowest score to 0 and scale the sum to 1: ``(s - min) / sum (s - min)``, float64 [hits].

    The sum norm of Montague and Aslam (CIKM 2001). If all scores of a query are equal, each becomes ``1 / hits``.
    """
    exact = np.asarray(scores, np.float64)
    shifted = exact - per_hit(np.minimum, exact, offsets)
    sums = per_hit(np.add, shifted, offsets)
    return np.divide(shifted, sums, out=1 / counts_per_hit(offsets), where=sums > 0)
