"""Filter out candidates that are not negatives, then sample the rest."""

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from indexing.errors import InputError
from indexing.inputs import number, whole_number
from pipelines.mining.candidates import Candidates
from pipelines.mining.positives import Positives

Sampling: TypeAlias = Literal["top", "random"]
Method: TypeAlias = Literal["topk-marginpos", "topk-percpos", "topk-abs"]


@dataclass(frozen=True, slots=True)
class Limits:
    """Conditions that a negative must satisfy; p is the lowest score of the query's positives.

    Parameters
    ----------
    range_min, range_max
        Ranks to sample from, among the candidates that remain after filtering: from range_min to below range_max.
    absolute_margin
        Require a score of at most p - margin.
    relative_margin
        Require a score of at most p - margin * abs(p): 0.05 is NV-Retriever's TopK-PercPos at 95%.
    max_score, min_score
        Bounds of the score itself.
    """

    range_min: int
    range_max: int
    absolute_margin: float | None = None
    relative_margin: float | None = None
    max_score: float | None = None
    min_score: float | None = None

    def __post_init__(self) -> None:
        whole_number(self.range_min, "range_min", least=0)
        whole_number(self.range_max, "range_max", least=0)
        for name in ("absolute_margin", "relative_margin", "max_score", "min_score"):
            if getattr(self, name) is not None:
                number(getattr(self, name), name)


@dataclass
class Counts:
    """Number of candidates, and of those excluded by each limit."""

    candidates: int = 0
    skipped: dict[str, int] = field(default_factory=dict)

    def add(self, limit: str, mask: NDArray[np.bool_]) -> None:
        """Count the candidates excluded by a limit."""
        self.skipped[limit] = self.skipped.get(limit, 0) + int(mask.sum())


def limits_of(method: Method, value: float) -> dict[str, float]:
    """Return the limit that implements a method of NV-Retriever.

    "topk-marginpos" allows scores up to p - value, "topk-percpos" up to value * p, "topk-abs" up to value.

    References
    ----------
    Moreira et al., "NV-Retriever: Improving text embedding models with effective hard-negative mining", 2024.
    """
    if method == "topk-marginpos":
        return {"absolute_margin": value}
    if method == "topk-percpos":
        return {"relative_margin": 1 - value}
    if method == "topk-abs":
        return {"max_score": value}
    raise InputError(f"unknown method {method!r}: there are topk-marginpos, topk-percpos and topk-abs")


def filtered(
    candidates: Candidates,
    positives: Positives,
    positive_scores: NDArray[np.float32],
    limits: Limits,
    counts: Counts,
    *,
    include_positives: bool = False,
) -> Candidates:
    """Exclude positives and candidates beyond a limit; return the ranks from range_min to range_max, best first."""
    if not include_positives:
        candidates = candidates.without(positives.mask(candidates.documents))
    counts.candidates += int(np.isfinite(candidates.scores).sum())
    lowest = positives.lowest(positive_scores)[:, None]
    for name, violates in _VIOLATIONS.items():
        limit = getattr(limits, name)
        if limit is not None:
            mask = violates(candidates.scores, np.float32(limit), lowest)
            counts.add(name, mask & np.isfinite(candidates.scores))
            candidates = candidates.without(mask)
    candidates = candidates.sorted()
    ranks = np.arange(limits.range_min, max(limits.range_min, min(limits.range_max, candidates.scores.shape[1])))
    return candidates.take(np.broadcast_to(ranks, (len(candidates.scores), len(ranks))))


def chosen(candidates: Candidates, count: int, sampling: Sampling, draw: random.Random) -> Candidates:
    """Return `count` candidates of each query, sorted by score: the first ("top") or random ones."""
    candidates = candidates.padded(count)
    if sampling == "top":
        return candidates.take(np.broadcast_to(np.arange(count), (len(candidates.scores), count)))
    available = np.maximum(np.isfinite(candidates.scores).sum(axis=1), count)
    positions = [draw.sample(range(number), k=count) for number in available.tolist()]
    return candidates.take(np.array(positions, dtype=np.int64).reshape(-1, count)).sorted()


_VIOLATIONS: dict[str, Callable[[NDArray[np.float32], np.float32, NDArray[np.float32]], NDArray[np.bool_]]] = {
    "absolute_margin": lambda scores, limit, lowest: scores + limit > lowest,
    "relative_margin": lambda scores, limit, lowest: scores > lowest - np.abs(lowest) * limit,
    "max_score": lambda scores, limit, lowest: scores > limit,
    "min_score": lambda scores, limit, lowest: scores < limit,
}
"""For each limit: which scores violate it, given the lowest positive score of each query."""
