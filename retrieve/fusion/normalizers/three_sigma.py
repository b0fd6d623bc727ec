"""Distribution-based score normalisation: three standard deviations on either side of the mean."""

import numpy as np
from numpy.typing import NDArray

from retrieve.fusion.segments import counts_per_hit, per_hit


def three_sigma(
    scores: NDArray[np.floating], offsets: NDArray[np.int64], *, freedom: int = 1, constant: float = 0.5
) -> NDArray[np.float64]:
    """Map ``mean - 3 s`` to 0 and ``mean + 3 s`` to 1: ``(score - (mean - 3 s)) / (6 s)``, float64 [hits].

    DBSF (Mazzeschi 2023) as Qdrant has it: `s` is the sample's standard deviation (``freedom=1``: divided by n - 1),
    and where a query has one hit, or all its scores are equal, each is 0.5. Outliers leave [0, 1]. (Haystack and
    LlamaIndex take the population's deviation, ``freedom=0``.)
    """
    exact = np.asarray(scores, np.float64)
    counts = counts_per_hit(offsets)
    centred = exact - per_hit(np.add, exact, offsets) / counts
    variance = per_hit(np.add, centred**2, offsets) / np.maximum(counts - freedom, 1)
    varies = per_hit(np.maximum, exact, offsets) > per_hit(np.minimum, exact, offsets)
    apart = np.divide(centred, 6 * np.sqrt(variance), out=np.zeros_like(exact), where=varies & (variance > 0))
    return np.where(varies, apart + 0.5, constant)
