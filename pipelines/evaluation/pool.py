"""Bounds of an evaluation: the best order of a pool of candidates, and the share of unjudged hits."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from indexing.hits import Hits
from pipelines.measures.qrels import Qrels


def grades_of(hits: Hits, qrels: Qrels, queries: Sequence[str]) -> NDArray[np.float64]:
    """Return each hit's grade, NaN for an unjudged hit; ``queries[i]`` is the query of row ``i``."""
    judged = qrels.judge(hits, queries)
    row_of = {query_id: row for row, query_id in enumerate(queries)}
    rows = np.array([row_of.get(query_id, -1) for query_id in qrels.query_ids], np.int64)[judged.rows]
    grades = np.full(len(hits.codes), np.nan)
    grades[hits.offsets[rows] + judged.ranks - 1] = judged.grades
    return grades


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
