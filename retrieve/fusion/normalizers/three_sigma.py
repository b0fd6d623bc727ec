"""Distribution-based score normalisation (DBSF): three standard deviations on either side of the mean."""

import numpy as np
from numpy.typing import NDArray

from retrieve.fusion.segments import counts_per_hit, deviations, per_hit, varying


def three_sigma(
    scores: NDArray[np.floating], offsets: NDArray[np.int64], *, freedom: int = 1, constant: float = 0.5
) -> NDArray[np.float64]:
    """Map ``mean - 3 s`` to 0 and ``mean + 3 s`` to 1: ``(score - (mean - 3 s)) / (6 s)``, float64 [hits].

    DBSF (Mazzeschi 2023) as in Qdrant: `s` is the sample standard deviation (``freedom=1``: divided by n - 1). If a
    query has one hit or only equal scores, each becomes `constant`. Outliers map outside [0, 1]. (Haystack and
    LlamaIndex use the population standard deviation, ``freedom=0``.)
    """
    exact = np.asarray(scores, np.float64)
    centred = deviations(exact, offsets)
    variance = per_hit(np.add, centred**2, offsets) / np.maximum(counts_per_hit(offsets) - freedom, 1)
    varies = varying(exact, offsets)
    scaled = np.divide(centred, 6 * np.sqrt(variance), out=np.zeros_like(exact), where=varies & (variance > 0))
    return np.where(varies, scaled + 0.5, constant)
