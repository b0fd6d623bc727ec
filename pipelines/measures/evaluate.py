"""Scores: what evaluating one answer gives, per query and in the mean."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from indexing.errors import InputError
from indexing.hits import Hits
from pipelines.measures.measures import Measure
from pipelines.measures.qrels import Judged, Qrels
from pipelines.measures.trec_order import judge_run

DEFAULT_MEASURES = ("ndcg@10", "map@100", "mrr@10", "recall@100")


@dataclass(frozen=True, slots=True, eq=False)
class Scores:
    """Values of several measures over the same queries.

    Parameters
    ----------
    query_ids
        The judged queries.
    per_query
        For each measure, by the name it was asked for: float64 [queries], aligned with `query_ids`.
    """

    query_ids: tuple[str, ...]
    per_query: Mapping[str, NDArray[np.float64]]

    @property
    def means(self) -> dict[str, float]:
        """The mean of each measure over all judged queries."""
        return {name: float(values.mean()) for name, values in self.per_query.items()}


def evaluate(
    answer: Hits | Mapping[str, Mapping[str, float]],
    qrels: Qrels | Mapping[str, Mapping[str, int]],
    measures: Sequence[str] = DEFAULT_MEASURES,
    *,
    queries: Sequence[str] | None = None,
) -> Scores:
    """Score an answer against relevance judgements, as ``trec_eval -c`` does.

    Every judged query counts: one the answer lacks counts 0, and so does one without a relevant document. Queries
    that are not judged do not count.

    Parameters
    ----------
    answer
        `Hits`, taken in their own order; or a run ``{query_id: {doc_id: score}}``, taken in trec_eval's: scores as
        float32, highest first, ties by doc_id descending.
    qrels
        ``{query_id: {doc_id: grade}}``, or `Qrels` where the same judgements serve many answers.
    measures
        Names such as ``nDCG@10``, ``AP(rel=2)@100``, ``RR@10``, ``R@100``, ``P@5``: see `Measure.parse`.
    queries
        For `Hits`: the id of each row's query.

    Raises
    ------
    InputError
        For an unknown measure, qrels that judge nothing, or `queries` that do not fit the hits.
    """
    asked = {name: Measure.parse(name) for name in measures}
    coded = qrels if isinstance(qrels, Qrels) else Qrels.from_dict(qrels)
    judged = _judged(answer, coded, queries)
    return Scores(coded.query_ids, {name: measure(judged) for name, measure in asked.items()})


def _judged(answer: Hits | Mapping[str, Mapping[str, float]], qrels: Qrels, queries: Sequence[str] | None) -> Judged:
    if isinstance(answer, Hits):
        if queries is None:
            raise InputError("to evaluate Hits, give the query ids that their rows answer (queries=[…])")
        return qrels.judge(answer, queries)
    if queries is not None:
        raise InputError("a run names its queries itself: give `queries` with Hits only")
    return judge_run(answer, qrels)
