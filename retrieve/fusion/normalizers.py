"""Normalisers: functions that bring one leg's scores onto a common scale, query by query."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from indexing.errors import InputError
from retrieve.fusion.segments import counts_per_hit, deviations, per_hit, varying

Normalizer = Callable[..., NDArray[np.float64]]
"""``(scores, offsets) -> float64 [hits]``; query ``i`` owns ``scores[offsets[i]:offsets[i + 1]]``, best first."""


def min_max(scores: NDArray[np.floating], offsets: NDArray[np.int64], *, constant: float = 1.0) -> NDArray[np.float64]:
    """Map each query's scores to [0, 1]: ``(s - min) / (max - min)`` (Lee, SIGIR 1997), float64 [hits].

    Query ``i`` owns ``scores[offsets[i]:offsets[i + 1]]``, in any order. If all scores of a query are equal (a single
    hit, for example), each becomes `constant`: 1 by default, so that a hit scores above a missing one. (ranx uses 0.)
    """
    exact = np.asarray(scores, np.float64)
    low = per_hit(np.minimum, exact, offsets)
    spread = per_hit(np.maximum, exact, offsets) - low
    return np.divide(exact - low, spread, out=np.full_like(exact, constant), where=spread > 0)


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


def maximum(scores: NDArray[np.floating], offsets: NDArray[np.int64]) -> NDArray[np.float64]:
    """Divide each query's scores by their largest absolute value: ``s / max |s|``, float64 [hits].

    Without negative scores this is the maximum norm ``s / max`` (Lee, SIGIR 1997); dividing by a negative maximum
    would reverse the order. Zeros stay zeros.
    """
    exact = np.asarray(scores, np.float64)
    highest = per_hit(np.maximum, np.abs(exact), offsets)
    return np.divide(exact, highest, out=np.zeros_like(exact), where=highest > 0)


def total(scores: NDArray[np.floating], offsets: NDArray[np.int64]) -> NDArray[np.float64]:
    """Shift each query's lowest score to 0 and scale the sum to 1: ``(s - min) / sum (s - min)``, float64 [hits].

    The sum norm of Montague and Aslam (CIKM 2001). If all scores of a query are equal, each becomes ``1 / hits``.
    """
    exact = np.asarray(scores, np.float64)
    shifted = exact - per_hit(np.minimum, exact, offsets)
    sums = per_hit(np.add, shifted, offsets)
    return np.divide(shifted, sums, out=1 / counts_per_hit(offsets), where=sums > 0)


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


def rank(scores: NDArray[np.floating], offsets: NDArray[np.int64]) -> NDArray[np.float64]:
    """Map ranks to scores from 1 for the best of a query's n hits to ``1 / n``: ``1 - (rank - 1) / n``, float64 [hits].

    The rank norm of Renda and Straccia (SAC 2003). Scores must be in the order of `Hits`, best first.
    """
    above = np.arange(len(scores)) - np.repeat(offsets[:-1], np.diff(offsets))
    return 1 - above / counts_per_hit(offsets)


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


def identity(scores: NDArray[np.floating], offsets: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the scores unchanged, float64 [hits], for legs whose scores are on one scale already."""
    return np.asarray(scores, np.float64)


def choose_norm(tool: str, norms: Mapping[str, Normalizer], name: str) -> Normalizer:
    """Return another tool's norm by name, or raise InputError with the tool's norms."""
    if name not in norms:
        raise InputError(f"the preset {tool} has no norm {name!r}; choose one of {', '.join(norms)}")
    return norms[name]


NORMALIZERS: dict[str, Callable[..., Any]] = {
    "min-max": min_max,
    "theoretical-min-max": theoretical_min_max,
    "max": maximum,
    "sum": total,
    "z-score": z_score,
    "rank": rank,
    "dbsf": three_sigma,
    "none": identity,
}
"""Normalisers by their names in a configuration."""
