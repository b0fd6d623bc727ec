"""Normalisation to mean 0 and variance 1."""

import numpy as np
from numpy.typing import NDArray

from retrieve.fusion.segments import counts_per_hit, per_hit


def z_score(scores: NDArray[np.floating], offsets: NDArray[np.int64]) -> NDArray[np.float64]:
    """Count each query's scores in standard deviations from their mean: ``(s - mean) / s_n``, float64 [hits].

    The ZMUV norm of Montague and Aslam (CIKM 2001), with the population's deviation ``s_n`` (divided by n). Where all
    of a query's scores are equal, each is 0. A missing document counted as 0 is an *average* one here: consider
    ``missing="min"``.
    """
    exact = np.asarray(scores, np.float64)
    counts = counts_per_hit(offsets)
    centred = exact - per_hit(np.add, exact, offsets) / counts
    deviation = np.sqrt(per_hit(np.add, centred**2, offsets) / counts)
    varies = per_hit(np.maximum, exact, offsets) > per_hit(np.minimum, exact, offsets)
    return np.divide(centred, deviation, out=np.zeros_like(exact), where=varies & (deviation > 0))
