"""Min-max normalisation with known bounds."""

import numpy as np
from numpy.typing import NDArray

from retrieve.fusion.segments import per_hit


def theoretical_min_max(
    scores: NDArray[np.floating], offsets: NDArray[np.int64], *, low: float, high: float | None = None
) -> NDArray[np.float64]:
    """Map scores by the leg's possible bounds: ``(s - low) / (high - low)``, float64 [hits].

    The lowest possible score (0 for BM25, -1 for cosine similarity) replaces the lowest returned one, so that values
    do not depend on the leg's depth (TM2C2: Bruch, Gai and Ingber, TOIS 2023). Scores outside the bounds map outside
    [0, 1].

    Parameters
    ----------
    low
        The leg's lowest possible score.
    high
        The highest possible score; by default, as in the paper, the query's highest returned score. Where it is not
        above `low`, each score becomes 1.
    """
    exact = np.asarray(scores, np.float64)
    spread = (per_hit(np.maximum, exact, offsets) if high is None else np.full_like(exact, high)) - low
    return np.divide(exact - low, spread, out=np.ones_like(exact), where=spread > 0)
