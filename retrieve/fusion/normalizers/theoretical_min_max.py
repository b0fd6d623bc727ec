"""Min-max normalisation with known bounds."""

import numpy as np
from numpy.typing import NDArray

from retrieve.fusion.segments import per_hit


def theoretical_min_max(
    scores: NDArray[np.floating], offsets: NDArray[np.int64], *, low: float, high: float | None = None
) -> NDArray[np.float64]:
    """Map scores by bounds that the leg cannot leave: ``(s - low) / (high - low)``, float64 [hits].

    The lowest possible score replaces the lowest returned, so that a query's value does not hang on how deep the leg
    was read (TM2C2: Bruch, Gai and Ingber, TOIS 2023): 0 for BM25, -1 for cosine similarity. Scores outside of the
    bounds land outside of [0, 1].

    Parameters
    ----------
    low
        The lowest score the leg can give.
    high
        The highest; by default, as in the paper, the highest returned for the query (at `low` or below it: 1).
    """
    exact = np.asarray(scores, np.float64)
    spread = (per_hit(np.maximum, exact, offsets) if high is None else np.full_like(exact, high)) - low
    return np.divide(exact - low, spread, out=np.ones_like(exact), where=spread > 0)
