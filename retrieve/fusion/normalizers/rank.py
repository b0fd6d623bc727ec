"""Rank normalisation."""

import numpy as np
from numpy.typing import NDArray

from retrieve.fusion.segments import counts_per_hit


def rank(scores: NDArray[np.floating], offsets: NDArray[np.int64]) -> NDArray[np.float64]:
    """Map ranks to scores from 1 for the best of a query's n hits to ``1 / n``: ``1 - (rank - 1) / n``, float64 [hits].

    The rank norm of Renda and Straccia (SAC 2003). Scores must be in the order of `Hits`, best first.
    """
    above = np.arange(len(scores)) - np.repeat(offsets[:-1], np.diff(offsets))
    return 1 - above / counts_per_hit(offsets)
