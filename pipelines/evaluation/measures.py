"""Measures: pure functions from judged hits to one value a query, each with trec_eval's definition.

In all of them a document is relevant when its grade is 1 or more; one that was not judged has grade 0. A query
with no relevant document counts, with 0, as in trec_eval.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from indexing.errors import InputError
from pipelines.evaluation.judged import Judged

PerQuery = NDArray[np.float64]
"""One value a query, float64 [queries], in the order of the qrels."""


def ndcg(judged: Judged, k: int | None) -> PerQuery:
    """Normalised discounted cumulative gain (trec_eval ``ndcg_cut``; Järvelin and Kekäläinen 2002).

    ``DCG@k = sum over ranks i <= k of max(grade_i, 0) / log2(i + 1)``, divided by the DCG@k of all judged documents
    in their best order. The gain is the grade itself, not ``2 ** grade - 1`` (Burges et al. 2005).
    """
    qrels = judged.qrels
    found = judged.sums(_discounted_gain(judged.grades, judged.ranks, k))
    ideal = qrels.sums(_discounted_gain(qrels.grades, qrels.ranks, k))
    return _divided(found, ideal)


def average_precision(judged: Judged, k: int | None) -> PerQuery:
    """Average precision (trec_eval ``map_cut``): its mean over queries is MAP.

    ``AP@k = (sum over relevant ranks i <= k of precision@i) / R``, R being all relevant documents, found or not.
    """
    relevant = judged.relevant
    precisions = _relevant_so_far(judged) / judged.ranks
    return _divided(judged.sums(precisions * (relevant & _within(judged, k))), judged.qrels.relevant_counts)


def reciprocal_rank(judged: Judged, k: int | None) -> PerQuery:
    """Reciprocal rank (trec_eval ``recip_rank``; Voorhees 1999): its mean over queries is MRR.

    ``RR@k = 1 / i``, i being the rank of the first relevant document, or 0 when that is below rank k.
    """
    first = judged.relevant & (_relevant_so_far(judged) == 1) & _within(judged, k)
    return judged.sums(np.where(first, 1 / judged.ranks, 0.0))


def recall(judged: Judged, k: int | None) -> PerQuery:
    """Recall (trec_eval ``recall``): the part of all R relevant documents that stands at rank k or above."""
    return _divided(judged.sums(1.0 * (judged.relevant & _within(judged, k))), judged.qrels.relevant_counts)


def precision(judged: Judged, k: int | None) -> PerQuery:
    """Precision (trec_eval ``P``): relevant documents at rank k or above, divided by k, however many were found."""
    if k is None:
        raise InputError("precision needs a cutoff: P@10, for one")
    return judged.sums(1.0 * (judged.relevant & _within(judged, k))) / k


MEASURES: dict[str, Callable[[Judged, int | None], PerQuery]] = {
    "ndcg": ndcg,
    "map": average_precision,
    "ap": average_precision,
    "mrr": reciprocal_rank,
    "rr": reciprocal_rank,
    "recall": recall,
    "r": recall,
    "precision": precision,
    "p": precision,
}
"""Measures by their lower-case names."""


@dataclass(frozen=True, slots=True)
class Measure:
    """A measure with its cutoff, as a value: computing it is `MEASURES`' affair.

    Parameters
    ----------
    name
        As in `MEASURES`.
    k
        How many ranks count; None for all.
    """

    name: str
    k: int | None

    @classmethod
    def parse(cls, text: str) -> "Measure":
        """Read ``nDCG@10``, ``AP@100``, ``RR@10``, ``R@100``, ``P@5`` and their like, in any case.

        Without ``@k`` the whole ranking counts; precision always needs a cutoff.

        Raises
        ------
        InputError
            For an unknown name or a cutoff below 1, listing what is known.
        """
        match = re.fullmatch(r"([a-z]+)(?:@([1-9][0-9]*))?", text.strip().lower())
        name, cutoff = match.groups() if match else ("", None)
        if name not in MEASURES or (cutoff is None and MEASURES[name] is precision):
            raise InputError(
                f"there is no measure {text!r}: give nDCG@k, MAP@k (AP@k), MRR@k (RR@k), recall@k (R@k) or P@k, "
                "k a whole number from 1"
            )
        return cls(name, None if cutoff is None else int(cutoff))

    def __call__(self, judged: Judged) -> PerQuery:
        """Compute it for each query."""
        return MEASURES[self.name](judged, self.k)


def _discounted_gain(grades: NDArray[np.int64], ranks: NDArray[np.int64], k: int | None) -> NDArray[np.float64]:
    gains = np.maximum(grades, 0) / np.log2(ranks + 1)
    return gains if k is None else gains * (ranks <= k)


def _within(judged: Judged, k: int | None) -> NDArray[np.bool_]:
    return np.ones(len(judged.ranks), dtype=np.bool_) if k is None else judged.ranks <= k


def _relevant_so_far(judged: Judged) -> NDArray[np.int64]:
    """Count the relevant documents at each hit's rank or above, within its query."""
    relevant = judged.relevant
    so_far = np.cumsum(relevant)
    # What came before the query's first hit; the counts only grow, so the latest start is the highest.
    before = np.maximum.accumulate(np.where(judged.ranks == 1, so_far - relevant, 0))
    return so_far - before


def _divided(values: NDArray[np.float64], by: NDArray[np.number]) -> PerQuery:
    return np.divide(values, by, out=np.zeros(len(values)), where=by > 0)
