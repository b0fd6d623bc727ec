"""Formulas of the measures: pure functions from judged hits to one value for each query.

Each docstring has the exact definition and names the reference tool.

A document is relevant when its grade is `level` or more (1 by default); an unjudged document is not relevant. A query
without hits, or without a relevant document, has the value 0.

With ``ties="broken"`` hits count at their ranks. With ``ties="shared"`` hits of equal score are treated alike, as
scikit-learn does; this needs `Judged.tie_ends`.
"""

from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from indexing.errors import InputError
from pipelines.measures.qrels import Judged

PerQuery: TypeAlias = NDArray[np.float64]
"""One value for each query, float64 [queries], in the order of the qrels."""

Ties: TypeAlias = Literal["broken", "shared"]

HIGHEST_GRADE = 4
"""Highest grade that ERR accepts (gdeval, TREC Web Track): there a reader stops with probability 15/16."""


def ndcg(judged: Judged, k: int | None = None, *, exponential: bool = False, ties: Ties = "broken") -> PerQuery:
    """Return normalised discounted cumulative gain (trec_eval ``ndcg_cut``; Järvelin and Kekäläinen 2002).

    ``DCG@k = sum over ranks i <= k of gain_i / log2(i + 1)``, divided by the DCG@k of all judged documents in their
    best order. The gain is ``max(grade, 0)``; with `exponential` it is ``2 ** max(grade, 0) - 1`` (gdeval; Burges et
    al. 2005). With shared ties each hit has the mean gain of the hits of its score (scikit-learn ``ndcg_score``;
    McSherry and Najork 2008).
    """
    qrels = judged.qrels
    gains = _gains(judged.grades, exponential)
    if ties == "shared":
        gains = judged.tie_means(gains)
    ideal = qrels.sums(_discounted(_gains(qrels.grades, exponential), qrels.ranks, k))
    return _divided(judged.sums(_discounted(gains, judged.ranks, k)), ideal)


def average_precision(
    judged: Judged, k: int | None = None, *, level: int = 1, within_cutoff: bool = False, ties: Ties = "broken"
) -> PerQuery:
    """Return average precision (trec_eval ``map_cut``); its mean over queries is MAP.

    ``AP@k = (sum over relevant ranks i <= k of precision@i) / R``, where R counts all relevant documents, retrieved or
    not. With `within_cutoff` the denominator is ``min(R, k)``, the most that k ranks can hold (sentence-transformers).
    With shared ties precision is taken at the last hit of the same score: each distinct score is one threshold
    (scikit-learn ``average_precision_score``).
    """
    relevant = judged.grades >= level
    precisions = judged.running_counts(relevant) / judged.ranks
    if ties == "shared" and judged.tie_ends is not None:
        precisions = precisions[judged.tie_ends]
    wanted = judged.qrels.relevant_counts(level)
    if within_cutoff and k is not None:
        wanted = np.minimum(wanted, k)
    return _divided(judged.sums(precisions * (relevant & _within(judged, k))), wanted)


def reciprocal_rank(judged: Judged, k: int | None = None, *, level: int = 1) -> PerQuery:
    """Return reciprocal rank (trec_eval ``recip_rank``; Voorhees 1999); its mean over queries is MRR.

    ``RR@k = 1 / i``, where i is the rank of the first relevant document; 0 when i is greater than k.
    """
    relevant = judged.grades >= level
    first = relevant & (judged.running_counts(relevant) == 1) & _within(judged, k)
    return judged.sums(first / judged.ranks)


def recall(judged: Judged, k: int | None = None, *, level: int = 1) -> PerQuery:
    """Return recall (trec_eval ``recall``): the fraction of all R relevant documents within the first k ranks."""
    return _divided(_relevant_within(judged, k, level), judged.qrels.relevant_counts(level))


def precision(judged: Judged, k: int, *, level: int = 1) -> PerQuery:
    """Return precision (trec_eval ``P``): relevant documents within the first k ranks, divided by k."""
    return _relevant_within(judged, k, level) / k


def success(judged: Judged, k: int, *, level: int = 1) -> PerQuery:
    """Return success (trec_eval ``success``; hit rate, accuracy): 1 with a relevant document in the first k, else 0."""
    return np.minimum(_relevant_within(judged, k, level), 1.0)


def r_precision(judged: Judged, *, level: int = 1) -> PerQuery:
    """Return R-precision (trec_eval ``Rprec``): precision at rank R, the number of the query's relevant documents."""
    wanted = judged.qrels.relevant_counts(level)
    counted = (judged.grades >= level) & (judged.ranks <= wanted[judged.rows])
    return _divided(judged.sums(1.0 * counted), wanted)


def binary_preference(judged: Judged, *, level: int = 1) -> PerQuery:
    """Return binary preference (trec_eval ``bpref``; Buckley and Voorhees 2004), which ignores unjudged documents.

    ``bpref = (sum over relevant hits of 1 - min(n, R) / min(N, R)) / R``, where R counts all relevant documents, N all
    documents judged not relevant, and n those of the N ranked above the hit. As in trec_eval, a document of negative
    grade counts as unjudged.
    """
    qrels = judged.qrels
    relevant, irrelevant = judged.grades >= level, (judged.grades >= 0) & (judged.grades < level)
    wanted = qrels.relevant_counts(level)
    all_irrelevant = np.bincount(qrels.rows[(qrels.grades >= 0) & (qrels.grades < level)], minlength=len(qrels))
    above = np.minimum(judged.running_counts(irrelevant), wanted[judged.rows])
    most = np.minimum(all_irrelevant, wanted)[judged.rows]
    return _divided(judged.sums(relevant * (1.0 - _divided(above, most))), wanted)


def judged_rate(judged: Judged, k: int | None = None) -> PerQuery:
    """Return the judgement rate (ir-measures ``Judged``): the fraction of the first k hits that were judged.

    With fewer than k hits it is the fraction of those. A negative grade counts as a judgement too.
    """
    retrieved = judged.counts if k is None else np.minimum(judged.counts, k)
    return _divided(judged.sums(1.0 * _within(judged, k)), retrieved)


def rank_biased_precision(
    judged: Judged, k: int | None = None, *, p: float = 0.8, level: int | None = None
) -> PerQuery:
    """Return rank-biased precision (Moffat and Zobel 2008): the gain of a reader who continues with probability `p`.

    ``RBP = (1 - p) * sum over ranks i <= k of gain_i * p ** (i - 1)``. The gain of a relevant document is 1 (cwl_eval);
    without a `level` it is ``max(grade, 0)``, not scaled (trectools), so grades above 1 give values above 1.
    """
    gains = np.maximum(judged.grades, 0) if level is None else judged.grades >= level
    return (1 - p) * judged.sums(gains * _within(judged, k) * p ** (judged.ranks - 1.0))


def expected_reciprocal_rank(judged: Judged, k: int | None = None) -> PerQuery:
    """Return expected reciprocal rank, ERR (gdeval ``err``; Chapelle et al. 2009): hits after a good one count little.

    ``ERR@k = sum over ranks i <= k of r_i / i * product over ranks j < i of (1 - r_j)``, with
    ``r = (2 ** max(grade, 0) - 1) / 2 ** 4``: grades go up to 4 in every collection.

    Raises
    ------
    InputError
        For a grade above 4, naming query and document.
    """
    qrels = judged.qrels
    if qrels.grades.max() > HIGHEST_GRADE:
        worst = int(np.argmax(qrels.grades))
        raise InputError(
            f"ERR takes grades up to {HIGHEST_GRADE}, and document {str(qrels.doc_ids[qrels.codes[worst]])!r} has "
            f"{int(qrels.grades[worst])} for query {qrels.query_ids[int(qrels.rows[worst])]!r}: scale the grades, or "
            "use nDCG"
        )
    useful = (judged.grades > 0) & _within(judged, k)
    occurrences = judged.running_counts(useful)[useful]
    rows, ranks = judged.rows[useful], judged.ranks[useful]
    stops = (2.0 ** judged.grades[useful] - 1) / 2.0**HIGHEST_GRADE
    values, still_reading = np.zeros(len(qrels)), np.ones(len(qrels))
    # All queries' first useful hits, then all second ones: each step updates a query at most once.
    by_occurrence = np.argsort(occurrences, kind="stable")
    for at in np.split(by_occurrence, np.cumsum(np.bincount(occurrences)[1:])[:-1]) if len(occurrences) else []:
        values[rows[at]] += still_reading[rows[at]] * stops[at] / ranks[at]
        still_reading[rows[at]] *= 1 - stops[at]
    return values


def _gains(grades: NDArray[np.int64], exponential: bool) -> NDArray[np.float64]:
    gains = np.maximum(grades, 0).astype(np.float64)
    return np.exp2(gains) - 1 if exponential else gains


def _discounted(gains: NDArray[np.float64], ranks: NDArray[np.int64], k: int | None) -> NDArray[np.float64]:
    discounted = gains / np.log2(ranks + 1)
    return discounted if k is None else discounted * (ranks <= k)


def _relevant_within(judged: Judged, k: int | None, level: int) -> PerQuery:
    return judged.sums(1.0 * ((judged.grades >= level) & _within(judged, k)))


def _within(judged: Judged, k: int | None) -> NDArray[np.bool_]:
    return np.ones(len(judged.ranks), dtype=np.bool_) if k is None else judged.ranks <= k


def _divided(values: NDArray[np.number], by: NDArray[np.number]) -> PerQuery:
    return np.divide(values, by, out=np.zeros(len(values)), where=by > 0)
