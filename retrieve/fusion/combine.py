"""The step every fusion shares: each leg gives each of its hits a contribution; a document's score is their sum."""

from collections.abc import Sequence
from math import inf

import numpy as np
from numpy.typing import NDArray

from indexing.errors import InputError
from indexing.hits import Hits, LegColumns, align


def combine(answers: Sequence[Hits], contributions: Sequence[NDArray[np.floating]]) -> Hits:
    """Sum the contributions for each (query, document); a leg that did not return a document adds 0.

    Parameters
    ----------
    answers
        One `Hits` a leg, all for the same queries.
    contributions
        For each leg float64 [its hits].

    Returns
    -------
    Hits
        Scores float64; provenance of every leg carried along.
    """
    ids, codes = align(answers)
    rows = [hits.rows for hits in answers]
    keys = np.concatenate([row * max(len(ids), 1) + code for row, code in zip(rows, codes, strict=True)])
    merged, places = np.unique(keys, return_inverse=True)
    scores: NDArray[np.float64] = np.bincount(places, np.concatenate(contributions), len(merged)).astype(np.float64)
    legs: dict[str, LegColumns] = {}
    for hits, where in zip(answers, np.split(places, np.cumsum([len(row) for row in rows])[:-1]), strict=True):
        for name, leg in hits.legs.items():
            if name in legs:
                raise InputError(f"two legs are called {name!r}: give each its own name")
            ranks, leg_scores = np.zeros(len(merged), np.int32), np.full(len(merged), np.nan)
            ranks[where], leg_scores[where] = leg.ranks, leg.scores
            legs[name] = LegColumns(ranks, leg_scores)
    queries = len(answers[0])
    return Hits.ranked(queries, merged // max(len(ids), 1), merged % max(len(ids), 1), scores, ids, legs=legs)


def leg_weights(answers: Sequence[Hits], weights: Sequence[float] | None) -> Sequence[float]:
    """Check that the legs can be fused and give their weights, 1 each by default.

    Raises
    ------
    InputError
        No leg, legs that answer different numbers of queries, another number of weights than legs, a negative or NaN
        weight, or only zeros.
    """
    if not answers:
        raise InputError("there is no leg to fuse")
    if len({len(hits) for hits in answers}) > 1:
        raise InputError(f"the legs answer different numbers of queries: {[len(hits) for hits in answers]}")
    weights = [1.0] * len(answers) if weights is None else list(weights)
    if len(weights) != len(answers):
        raise InputError(f"{len(weights)} weights for {len(answers)} legs")
    if not all(0 <= weight < inf for weight in weights) or not sum(weights):
        raise InputError(f"weights must be 0 or more, finite, and not all 0: {weights}")
    return weights
