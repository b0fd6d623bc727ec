"""Evaluation of one run against relevance judgements: scores per query and their means."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from indexing.errors import InputError
from indexing.hits import Hits
from pipelines.measures import DEFAULT_MEASURES
from pipelines.measures.measures import Measure
from pipelines.measures.qrels import Judged, Qrels
from pipelines.measures.trec_order import judge_run


@dataclass(frozen=True, slots=True, eq=False)
class Scores:
    """Values of one or more measures over the same queries.

    Parameters
    ----------
    query_ids
        The judged queries.
    per_query
        For each measure, under the name that was given: float64 [queries], aligned with `query_ids`.
    """

    query_ids: tuple[str, ...]
    per_query: Mapping[str, NDArray[np.float64]]

    @property
    def means(self) -> dict[str, float]:
        """Mean of each measure over all judged queries."""
        return {name: float(values.mean()) for name, values in self.per_query.items()}


def evaluate(
    answer: Hits | Mapping[str, Mapping[str, float]],
    qrels: Qrels | Mapping[str, Mapping[str, int]],
    measures: Sequence[str] = DEFAULT_MEASURES,
    *,
    queries: Sequence[str] | None = None,
) -> Scores:
    """Score an answer against relevance judgements, as ``trec_eval -c`` does.

    Every judged query counts; one that is missing from the answer, or has no relevant document, counts 0. Unjudged
    queries are ignored.

    Parameters
    ----------
    answer
        `Hits`, ranked in their own order; or a run ``{query_id: {doc_id: score}}``, ranked in trec_eval's order: scores
        as float32, highest first, ties by doc_id descending.
    qrels
        ``{query_id: {doc_id: grade}}``, or `Qrels` to reuse the same judgements for many answers.
    measures
        Names such as ``nDCG@10``, ``AP(rel=2)@100``, ``RR@10``, ``R@100``, ``P@5``: see `Measure.parse`.
    queries
        For `Hits`: the query id of each row.

    Raises
    ------
    InputError
        For an unknown measure, qrels without a judgement, or `queries` that do not fit the hits.
    """
    parsed = {name: Measure.parse(name) for name in measures}
    coded = qrels if isinstance(qrels, Qrels) else Qrels.from_dict(qrels)
    judged = _judged(answer, coded, queries)
    return Scores(coded.query_ids, {name: measure(judged) for name, measure in parsed.items()})


def _judged(answer: Hits | Mapping[str, Mapping[str, float]], qrels: Qrels, queries: Sequence[str] | None) -> Judged:
    if isinstance(answer, Hits):
        if queries is None:
            raise InputError("to evaluate Hits, give the query ids of their rows (queries=[…])")
        return qrels.judge(answer, queries)
    if queries is not None:
        raise InputError("a run has its own query ids: give `queries` with Hits only")
    return judge_run(answer, qrels)
