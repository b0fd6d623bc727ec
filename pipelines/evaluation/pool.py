"""Bounds of an evaluation: the best order of a pool of candidates, and the share of unjudged hits."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from indexing.hits import Hits
from pipelines.measures.qrels import Qrels


def grades_of(hits: Hits, qrels: Qrels, queries: Sequence[str]) -> NDArray[np.float64]:
    """Return each hit's grade, NaN for an unjudged hit; ``queries[i]`` is the query of row ``i``."""
    numbers = {query_id: number for number, query_id in enumerate(qrels.query_ids)}
    rows = np.array([numbers.get(query_id, -1) for query_id in queries], np.int64)[hits.rows]
    places = {doc_id: place for place, doc_id in enumerate(qrels.doc_ids)}
    used, local = np.unique(hits.codes, return_inverse=True)
    codes = np.fromiter((places.get(doc_id, -1) for doc_id in hits.ids[used]), np.int64, len(used))[local]
    width = len(qrels.doc_ids)
    keys = qrels.rows * width + qrels.codes
    order = np.argsort(keys)
    wanted = np.where((rows >= 0) & (codes >= 0), rows * width + codes, -1)
    found = order[np.minimum(np.searchsorted(keys, wanted, sorter=order), len(keys) - 1)]
    return np.where(keys[found] == wanted, qrels.grades[found].astype(np.float64), np.nan)


def best_order(hits: Hits, qrels: Qrels, queries: Sequence[str], depth: int) -> Hits:
    """Return each query's first `depth` hits in the order of a perfect reranker: by grade.

    The measures of this answer are the ceiling of any reranker of those candidates; the hits below keep their order,
    as rerankers leave them.
    """
    ranks = hits.ranks
    grades = np.nan_to_num(grades_of(hits, qrels, queries), nan=0.0)
    # The head is ordered by grade, then by rank; the whole tail follows it.
    head = ranks <= depth
    lowest = min(float(grades.min(initial=0.0)), 0.0)
    scores = np.where(head, grades - lowest + 1 - ranks / (depth + 1), -ranks)
    return Hits.ranked(len(hits), hits.rows, hits.codes, scores, hits.ids)


def unjudged_rate(hits: Hits, qrels: Qrels, queries: Sequence[str], depth: int) -> float:
    """Return the share of unjudged hits within `depth`, over all queries; 0 without hits.

    A high share means that a system which did not take part in the judging is scored too low.
    """
    head = hits.top(depth)
    grades = grades_of(head, qrels, queries)
    return float(np.isnan(grades).mean()) if len(grades) else 0.0
