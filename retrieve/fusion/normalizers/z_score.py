"""Z-score normalisation: mean 0, variance 1."""

import numpy as np
from numpy.typing import NDArray

from retrieve.fusion.segments import counts_per_hit, deviations, per_hit, varying


def z_score(scores: NDArray[np.floating], offsets: NDArray[np.int64]) -> NDArray[np.float64]:
    """Scale each query's scores to standard deviations from their mean: ``(s - mean) / s_n``, float64 [hits].

    The ZMUV norm of Montague and Aslam (CIKM 2001), with the population standard deviation ``s_n`` (divided by n). If
    all scores of a query are equal, each becomes 0. With ``missing="zero"`` a missing document scores like an
    *average* one: consider ``missing="min"``.
    """
    exact = np.asarray(scores, np.float64)
    centred = deviations(exact, offsets)
    deviation = np.sqrt(per_hit(np.add, centred**2, offsets) / counts_per_hit(offsets))
    varies = varying(exact, offsets)
    return np.divide(centred, deviation, out=np.zeros_like(exact), where=varies & (deviation > 0))
