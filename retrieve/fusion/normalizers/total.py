"""Normalisation by the sum of scores."""

import numpy as np
from numpy.typing import NDArray

from retrieve.fusion.segments import counts_per_hit, per_hit


def total(scores: NDArray[np.floating], offsets: NDArray[np.int64]) -> NDArray[np.float64]:
    """Shift each query's lowest score to 0 and scale the sum to 1: ``(s - min) / sum (s - min)``, float64 [hits].

    The sum norm of Montague and Aslam (CIKM 2001). Where all of a query's scores are equal, each is ``1 / hits``.
    """
    exact = np.asarray(scores, np.float64)
    shifted = exact - per_hit(np.minimum, exact, offsets)
    whole = per_hit(np.add, shifted, offsets)
    return np.divide(shifted, whole, out=1 / counts_per_hit(offsets), where=whole > 0)
