"""Judged hits from lists of scored candidates whose relevance is known, as rerankers and classifiers are evaluated."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from indexing.hits import string_array
from pipelines.measures.qrels import Judged, Qrels


def judge_lists(grades: Sequence[ArrayLike], scores: Sequence[ArrayLike], unretrieved: Sequence[int] = ()) -> Judged:
    """Return the ranks and grades of the candidates of each list, one list a query.

    Candidates are ordered by score, highest first; equal scores keep their order in the list, and `Judged.tie_ends`
    records them for formulas with ``ties="shared"``.

    Parameters
    ----------
    grades, scores
        For each list [candidates]: grades (0 for not relevant) and scores.
    unretrieved
        For each list the number of relevant documents that are not among its candidates (0).
    """
    lengths = np.array([len(np.atleast_1d(listed)) for listed in grades], dtype=np.int64)
    missing = np.array(unretrieved or np.zeros(len(lengths)), dtype=np.int64)
    rows = np.repeat(np.arange(len(lengths)), lengths)
    listed = np.concatenate([*map(np.asarray, grades), np.zeros(0)]).astype(np.int64)
    values = np.concatenate([*map(np.asarray, scores), np.zeros(0)]).astype(np.float64)
    order = np.lexsort((-values, rows))
    judged, values = listed[order], values[order]
    starts = np.cumsum(lengths) - lengths
    ends = np.flatnonzero(np.append((np.diff(values) != 0) | (np.diff(rows) != 0), np.ones(min(len(rows), 1), bool)))
    all_grades = np.concatenate((listed, np.ones(missing.sum(), dtype=np.int64)))
    ideal = np.lexsort((-all_grades, np.concatenate((rows, np.repeat(np.arange(len(missing)), missing)))))
    qrels = Qrels(
        query_ids=tuple(map(str, range(len(lengths)))),
        offsets=np.cumsum([0, *(lengths + missing)], dtype=np.int64),
        doc_ids=string_array([]),
        codes=ideal,
        grades=all_grades[ideal],
    )
    ranks = np.arange(len(rows)) - starts[rows] + 1
    tie_ends = ends[np.searchsorted(ends, np.arange(len(rows)))]
    return Judged(qrels, rows, ranks, judged, lengths, tie_ends)
