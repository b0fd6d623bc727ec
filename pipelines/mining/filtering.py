"""Filtering and choosing: what is no negative goes, and of the rest some are taken."""

import random
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from indexing.errors import InputError
from pipelines.mining.candidates import Candidates
from pipelines.mining.positives import Positives

Sampling: TypeAlias = Literal["top", "random"]
Method: TypeAlias = Literal["topk-marginpos", "topk-percpos", "topk-abs"]


@dataclass(frozen=True, slots=True)
class Limits:
    """What a negative must satisfy; p is the lowest score of the query's positives.

    Parameters
    ----------
    range_min, range_max
        Ranks to choose from, counted among the candidates that are left after filtering.
    absolute_margin
        A score of at most p - margin.
    relative_margin
        A score of at most p - margin * abs(p): 0.05 is NV-Retriever's TopK-PercPos at 95%.
    max_score, min_score
        Of the score itself.
    """

    range_min: int
    range_max: int
    absolute_margin: float | None = None
    relative_margin: float | None = None
    max_score: float | None = None
    min_score: float | None = None


@dataclass
class Counts:
    """How many candidates there were, and how many each limit ruled out."""

    candidates: int = 0
    skipped: dict[str, int] = field(default_factory=dict)

    def add(self, limit: str, mask: NDArray[np.bool_]) -> None:
        """Count what a limit ruled out."""
        self.skipped[limit] = self.skipped.get(limit, 0) + int(mask.sum())


def limits_of(method: Method, value: float) -> dict[str, float]:
    """Give the limit that a method of NV-Retriever stands for.

    "topk-marginpos": scores of at most p - value; "topk-percpos": of at most value * p; "topk-abs": of at most value.

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
    found: Candidates,
    positives: Positives,
    positive_scores: NDArray[np.float32],
    limits: Limits,
    counts: Counts,
    *,
    include_positives: bool = False,
) -> Candidates:
    """Rule out positives and what is beyond a limit, and give the ranks asked for, best first."""
    if not include_positives:
        found = found.without(positives.mask(found.documents))
    counts.candidates += found.scores.size
    lowest = positives.lowest(positive_scores)[:, None]
    if limits.absolute_margin is not None:
        found = _ruled_out(found, found.scores + np.float32(limits.absolute_margin) > lowest, "absolute_margin", counts)
    if limits.relative_margin is not None:
        bound = lowest - np.abs(lowest) * np.float32(limits.relative_margin)
        found = _ruled_out(found, found.scores > bound, "relative_margin", counts)
    if limits.max_score is not None:
        found = _ruled_out(found, found.scores > np.float32(limits.max_score), "max_score", counts)
    if limits.min_score is not None:
        found = _ruled_out(found, found.scores < np.float32(limits.min_score), "min_score", counts)
    found = found.sorted()
    ranks = np.arange(limits.range_min, max(limits.range_min, min(limits.range_max, found.scores.shape[1])))
    return found.take(np.broadcast_to(ranks, (len(found.scores), len(ranks))))


def chosen(found: Candidates, count: int, sampling: Sampling, draw: random.Random) -> Candidates:
    """Take `count` of each query's candidates: the first, or any, which then stand by score."""
    found = _at_least(found, count)
    if sampling == "top":
        return found.take(np.broadcast_to(np.arange(count), (len(found.scores), count)))
    options = np.maximum(np.isfinite(found.scores).sum(axis=1), count)
    places = [draw.sample(range(of_one), k=count) for of_one in options.tolist()]
    return found.take(np.array(places, dtype=np.int64).reshape(-1, count)).sorted()


def _ruled_out(found: Candidates, mask: NDArray[np.bool_], limit: str, counts: Counts) -> Candidates:
    counts.add(limit, mask & np.isfinite(found.scores))
    return found.without(mask)


def _at_least(found: Candidates, count: int) -> Candidates:
    missing = count - found.scores.shape[1]
    if missing <= 0:
        return found
    rows = ((0, 0), (0, missing))
    return Candidates(
        np.pad(found.documents, rows, constant_values=-1),
        np.pad(found.scores, rows, constant_values=-np.inf),
        None if found.sources is None else np.pad(found.sources, rows, constant_values=-1),
    )
