"""The measures' formulas: pure functions from judged hits to one value a query, each with its reference's definition.

A document is relevant when its grade is `level` or more (1 by default); one that was not judged is not relevant. A
query without hits, or without a relevant document, has the value 0.
"""

import numpy as np
from numpy.typing import NDArray

from indexing.errors import InputError
from pipelines.measures.qrels import Judged

PerQuery = NDArray[np.float64]
"""One value a query, float64 [queries], in the order of the qrels."""

HIGHEST_GRADE = 4
"""The grade at which a reader is all but sure to stop, in ERR: gdeval's, TREC's Web Track's."""


def ndcg(judged: Judged, k: int | None = None, *, exponential: bool = False) -> PerQuery:
    """Normalised discounted cumulative gain (trec_eval ``ndcg_cut``; Järvelin and Kekäläinen 2002).

    ``DCG@k = sum over ranks i <= k of gain_i / log2(i + 1)``, divided by the DCG@k of all judged documents in their
    best order. The gain is ``max(grade, 0)``; with `exponential` it is ``2 ** max(grade, 0) - 1`` (gdeval; Burges et
    al. 2005).
    """
    qrels = judged.qrels
    found = judged.sums(_discounted_gain(judged.grades, judged.ranks, k, exponential=exponential))
    ideal = qrels.sums(_discounted_gain(qrels.grades, qrels.ranks, k, exponential=exponential))
    return _divided(found, ideal)


def average_precision(judged: Judged, k: int | None = None, *, level: int = 1) -> PerQuery:
    """Average precision (trec_eval ``map_cut``): its mean over queries is MAP.

    ``AP@k = (sum over relevant ranks i <= k of precision@i) / R``, R being all relevant documents, found or not.
    """
    relevant = judged.grades >= level
    precisions = judged.so_far(relevant) / judged.ranks
    return _divided(judged.sums(precisions * (relevant & _within(judged, k))), judged.qrels.relevant_counts(level))


def reciprocal_rank(judged: Judged, k: int | None = None, *, level: int = 1) -> PerQuery:
    """Reciprocal rank (trec_eval ``recip_rank``; Voorhees 1999): its mean over queries is MRR.

    ``RR@k = 1 / i``, i being the rank of the first relevant document, or 0 when that is below rank k.
    """
    relevant = judged.grades >= level
    first = relevant & (judged.so_far(relevant) == 1) & _within(judged, k)
    return judged.sums(first / judged.ranks)


def recall(judged: Judged, k: int | None = None, *, level: int = 1) -> PerQuery:
    """Recall (trec_eval ``recall``): the part of all R relevant documents that stands at rank k or above."""
    return _divided(_relevant_within(judged, k, level), judged.qrels.relevant_counts(level))


def precision(judged: Judged, k: int, *, level: int = 1) -> PerQuery:
    """Precision (trec_eval ``P``): relevant documents at rank k or above, divided by k, however many were found."""
    return _relevant_within(judged, k, level) / k


def success(judged: Judged, k: int, *, level: int = 1) -> PerQuery:
    """Success (trec_eval ``success``): 1 when a relevant document stands at rank k or above, else 0."""
    return np.minimum(_relevant_within(judged, k, level), 1.0)


def r_precision(judged: Judged, *, level: int = 1) -> PerQuery:
    """R-precision (trec_eval ``Rprec``): precision at rank R, the number of the query's relevant documents."""
    wanted = judged.qrels.relevant_counts(level)
    counted = (judged.grades >= level) & (judged.ranks <= wanted[judged.rows])
    return _divided(judged.sums(1.0 * counted), wanted)


def binary_preference(judged: Judged, *, level: int = 1) -> PerQuery:
    """Binary preference (trec_eval ``bpref``; Buckley and Voorhees 2004): blind to documents that were not judged.

    ``bpref = (sum over relevant hits of 1 - min(n, R) / min(N, R)) / R``, R being all relevant documents, N all that
    were judged and are not relevant, and n those of them that stand above the hit. As in trec_eval, a document of
    negative grade counts as not judged.
    """
    qrels = judged.qrels
    relevant, poor = judged.grades >= level, (judged.grades >= 0) & (judged.grades < level)
    wanted = qrels.relevant_counts(level)
    all_poor = np.bincount(qrels.rows[(qrels.grades >= 0) & (qrels.grades < level)], minlength=len(qrels))
    above = np.minimum(judged.so_far(poor), wanted[judged.rows])
    most = np.minimum(all_poor, wanted)[judged.rows]
    return _divided(judged.sums(relevant * (1.0 - _divided(above, most))), wanted)


def judged_rate(judged: Judged, k: int | None = None) -> PerQuery:
    """Judgement rate (ir-measures ``Judged``): the part of the first k hits, or of those there are, that was judged.

    A grade of any kind counts as a judgement, a negative one too.
    """
    seen = judged.counts if k is None else np.minimum(judged.counts, k)
    return _divided(judged.sums(1.0 * _within(judged, k)), seen)


def rank_biased_precision(
    judged: Judged, k: int | None = None, *, p: float = 0.8, level: int | None = None
) -> PerQuery:
    """Rank-biased precision (Moffat and Zobel 2008): what a reader gains who goes on to the next hit with chance `p`.

    ``RBP = (1 - p) * sum over ranks i <= k of gain_i * p ** (i - 1)``. The gain of a relevant document is 1 (cwl_eval);
    without a `level` it is ``max(grade, 0)``, not scaled (trectools), so that grades above 1 give values above 1.
    """
    gains = np.maximum(judged.grades, 0) if level is None else judged.grades >= level
    return (1 - p) * judged.sums(gains * _within(judged, k) * p ** (judged.ranks - 1.0))


def expected_reciprocal_rank(judged: Judged, k: int | None = None) -> PerQuery:
    """Graded reciprocal rank, ERR (gdeval ``err``; Chapelle et al. 2009): little of what follows a good hit counts.

    ``ERR@k = sum over ranks i <= k of r_i / i * product over ranks j < i of (1 - r_j)``, with
    ``r = (2 ** max(grade, 0) - 1) / 2 ** 4``: grades go up to 4, in all collections alike.

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
            "take nDCG"
        )
    useful = (judged.grades > 0) & _within(judged, k)
    places = judged.so_far(useful)[useful]
    rows, ranks = judged.rows[useful], judged.ranks[useful]
    stops = (2.0 ** judged.grades[useful] - 1) / 2.0**HIGHEST_GRADE
    values, still_reading = np.zeros(len(qrels)), np.ones(len(qrels))
    # All queries' first useful hits, then all their second ones: each step has a query once at most.
    by_place = np.argsort(places, kind="stable")
    for at in np.split(by_place, np.cumsum(np.bincount(places)[1:])[:-1]) if len(places) else []:
        values[rows[at]] += still_reading[rows[at]] * stops[at] / ranks[at]
        still_reading[rows[at]] *= 1 - stops[at]
    return values


def _discounted_gain(
    grades: NDArray[np.int64], ranks: NDArray[np.int64], k: int | None, *, exponential: bool
) -> NDArray[np.float64]:
    gains = np.maximum(grades, 0).astype(np.float64)
    discounted = (np.exp2(gains) - 1 if exponential else gains) / np.log2(ranks + 1)
    return discounted if k is None else discounted * (ranks <= k)


def _relevant_within(judged: Judged, k: int | None, level: int) -> PerQuery:
    return judged.sums(1.0 * ((judged.grades >= level) & _within(judged, k)))


def _within(judged: Judged, k: int | None) -> NDArray[np.bool_]:
    return np.ones(len(judged.ranks), dtype=np.bool_) if k is None else judged.ranks <= k


def _divided(values: NDArray[np.number], by: NDArray[np.number]) -> PerQuery:
    return np.divide(values, by, out=np.zeros(len(values)), where=by > 0)
