"""Min-max normalisation of scores."""

import numpy as np
from numpy.typing import NDArray

from indexing.hits import Hits


def min_max(hits: Hits) -> NDArray[np.float64]:
    """Map each query's scores to [0, 1]: ``(s - min) / (max - min)``, float64 [hits].

    Where all of a query's scores are equal (one hit, say) each becomes 1: found is worth more than not found.
    """
    scores = hits.scores.astype(np.float64)
    counts = hits.counts
    answered = counts > 0
    starts = hits.offsets[:-1][answered]
    # Hits are ordered, so a query's first score is its highest and its last the lowest.
    high = np.repeat(scores[starts], counts[answered])
    low = np.repeat(scores[starts + counts[answered] - 1], counts[answered])
    spread = high - low
    return np.divide(scores - low, spread, out=np.ones_like(scores), where=spread > 0)
