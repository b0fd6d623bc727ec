"""How alike two answers to the same queries are: differences of scores, overlap, rank-biased overlap."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from indexing.hits import Hits

PERSISTENCE = 0.9
"""Probability that a reader of rank-biased overlap goes on to the next rank (Webber, Moffat and Zobel 2010)."""
QUANTILES = (0.5, 0.9, 0.99)


class Pair(NamedTuple):
    """Two rankings of one query: ids with scores, best first."""

    found: Mapping[str, float]
    expected: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Parity:
    """How alike the answers to several queries are.

    Parameters
    ----------
    queries
        Number of queries.
    overlap
        Mean share of the expected best `k` that were found, where a hit that ties with the last one within the bound
        counts as found.
    lowest_overlap
        The lowest of a query.
    rbo
        Mean rank-biased overlap of the best `k`, extrapolated, ties in the order of either answer.
    largest
        Largest relative difference of the scores of documents that both have.
    quantiles
        Of these differences, by their level.
    """

    queries: int
    overlap: float
    lowest_overlap: float
    rbo: float
    largest: float
    quantiles: Mapping[str, float]


def parity(found: Hits, expected: Hits, k: int, *, scale: float = 1.0, tie: float = 1e-3) -> Parity:
    """Compare two answers to the same queries.

    Parameters
    ----------
    found, expected
        Hits of the same queries, in their order.
    k
        How many of the best hits are compared.
    scale
        The expected scores are that many times as high.
    tie
        Relative difference of scores that counts as a tie.
    """
    pairs = [
        Pair(
            dict(zip(ours.doc_ids[:k], map(float, ours.scores[:k]), strict=True)),
            {i: float(s) / scale for i, s in zip(theirs.doc_ids[:k], theirs.scores[:k], strict=True)},
        )
        for ours, theirs in zip(found, expected, strict=True)
    ]
    overlaps = np.array([overlap(pair, tie) for pair in pairs] or [1.0])
    differences = np.concatenate([np.zeros(0), *(score_differences(pair) for pair in pairs)])
    given = differences if len(differences) else np.zeros(1)
    return Parity(
        len(pairs),
        float(overlaps.mean()),
        float(overlaps.min()),
        float(np.mean([rank_biased_overlap(list(pair.found), list(pair.expected)) for pair in pairs] or [1.0])),
        float(given.max()),
        {f"{level:g}": float(np.quantile(given, level)) for level in QUANTILES},
    )


def overlap(pair: Pair, tie: float) -> float:
    """Return the share of the expected hits that were found; a hit that ties with the last one counts as found."""
    if not pair.expected:
        return 1.0 if not pair.found else 0.0
    lowest = min(pair.expected.values())
    bound = lowest + tie * abs(lowest)
    kept = sum(doc_id in pair.found or score <= bound for doc_id, score in pair.expected.items())
    return kept / len(pair.expected)


def score_differences(pair: Pair) -> NDArray[np.float64]:
    """Return ``|found - expected|`` of common documents, relative to the query's highest expected score."""
    common = [doc_id for doc_id in pair.found if doc_id in pair.expected]
    highest = max(map(abs, pair.expected.values()), default=0.0) or 1.0
    return np.array([abs(pair.found[doc_id] - pair.expected[doc_id]) / highest for doc_id in common])


def rank_biased_overlap(one: Sequence[str], other: Sequence[str], p: float = PERSISTENCE) -> float:
    """Return the extrapolated rank-biased overlap of two rankings, cut to the shorter; 1 if both are empty.

    ``RBO = A_n p^n + (1 - p) / p * sum over d = 1..n of A_d p^d``, where ``A_d`` is the overlap of the first d, divided
    by d.
    """
    depth = min(len(one), len(other))
    if not depth:
        return 1.0 if not one and not other else 0.0
    agreements = [len(set(one[:d]) & set(other[:d])) / d for d in range(1, depth + 1)]
    weighted = sum(agreement * p**d for d, agreement in enumerate(agreements, 1))
    return agreements[-1] * p**depth + (1 - p) / p * weighted
