"""Compare a reranker with the first stage on held-out queries."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from indexing.hits import Hits
from pipelines.measures.measures import Measure
from pipelines.measures.qrels import Qrels
from pipelines.measures.significance import compare_paired
from pipelines.tuning.reranker_weight import WEIGHTS
from retrieve.reranking.base import reweighted
from retrieve.reranking.carried import ELSEWHERE
from retrieve.reranking.cross_encoder import Reranker

if TYPE_CHECKING:
    from pipelines.search.judged_parents import Parents
    from retrieve.encoders import CrossEncoder

MEASURES = ("nDCG@10", "MRR@10")

FIRST_STAGE, BEFORE, ALONE, INTERPOLATED = "first stage", "before", "after", "after, with the first stage"

JudgedHits: TypeAlias = tuple[Hits, Sequence[str], Mapping[str, Mapping[str, int]]]
"""Hits, the ids of their queries, and qrels."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """Results of several systems on the same queries.

    Parameters
    ----------
    queries
        Number of queries.
    weight
        Weight of the first stage's score that was best on the tuning queries.
    figures
        {measure: {system: mean over the queries}}.
    gains
        {system: (difference, low, high)}: its nDCG@10 minus that of the first stage, with the 95% interval.
    """

    queries: int
    weight: float
    figures: dict[str, dict[str, float]]
    gains: dict[str, tuple[float, float, float]] = field(default_factory=dict)

    @property
    def is_gain(self) -> bool:
        """True if reranking with the tuned weight improves significantly on the first stage."""
        return self.gains[INTERPOLATED][1] > 0

    @property
    def carried(self) -> float:
        """The weight that searches use: the tuned one, unless it is worse than the first stage beyond doubt."""
        return self.weight if self.gains[INTERPOLATED][2] >= 0 else max(ELSEWHERE, self.weight)

    @property
    def verdict(self) -> str:
        """One sentence on whether the reranker improves on the first stage."""
        if self.is_gain:
            return "a gain over the first stage: the interval lies above zero"
        if self.weight == 1:
            return "no gain: on the tuning queries the first stage alone was best"
        if self.gains[INTERPOLATED][2] < 0:
            return "worse than the first stage: the interval lies below zero"
        return "no significant gain: the interval contains zero"

    def __str__(self) -> str:
        lines = [f"  on {self.queries} held-out queries:"]
        for system in self.figures[MEASURES[0]]:
            line = ", ".join(f"{measure} {self.figures[measure][system]:.4f}" for measure in self.figures)
            if system in self.gains:
                line += " ({:+.4f}, 95% interval {:+.4f} to {:+.4f})".format(*self.gains[system])
            lines.append(f"    {system}: {line}")
        lines.append(f"  the weight of the first stage's score is {self.weight:g}, tuned on other queries")
        lines.append(f"  {self.verdict}")
        return "\n".join(lines)


def compare(
    held_out: JudgedHits,
    tuning: JudgedHits,
    texts: Mapping[str, str],
    documents: Any,
    model: "CrossEncoder",
    *,
    before: "CrossEncoder | None" = None,
    parents: "Parents | None" = None,
    seed: int = 0,
    show_progress: bool = True,
) -> Comparison:
    """Compare a reranker with the first stage: the reranker alone, and interpolated with the first stage's score.

    Parameters
    ----------
    held_out, tuning
        Hits of the first stage, query ids and qrels: for the comparison, and for choosing the weight.
    texts
        Texts of all these queries, by id.
    documents
        Store of the documents' texts.
    before
        The model before training, if it was a reranker.
    parents
        Documents of the chunks among the hits, if the judgements are of documents.
    """

    def rerank(reranker: "CrossEncoder", judged: JudgedHits) -> Hits:
        hits, query_ids, _ = judged
        queries = [texts[query_id] for query_id in query_ids]
        return Reranker(reranker, weight=0).rerank(queries, hits, documents, show_progress=show_progress)

    def values_by_query(hits: Hits, judged: JudgedHits, measure: str) -> NDArray[np.float64]:
        return values_of(hits if parents is None else parents.judge(hits), judged, measure)

    tuning_hits = rerank(model, tuning)
    tuning_means = [values_by_query(reweighted(tuning_hits, weight), tuning, MEASURES[0]).mean() for weight in WEIGHTS]
    weight = WEIGHTS[int(np.argmax(tuning_means))]
    after = rerank(model, held_out)
    systems = {FIRST_STAGE: held_out[0]} | ({BEFORE: rerank(before, held_out)} if before is not None else {})
    systems |= {ALONE: after, INTERPOLATED: reweighted(after, weight)}
    values = {m: {name: values_by_query(hits, held_out, m) for name, hits in systems.items()} for m in MEASURES}
    gains = {}
    for name in systems:
        if name != FIRST_STAGE:
            gains[name] = gain(values[MEASURES[0]][name], values[MEASURES[0]][FIRST_STAGE], seed)
    figures = {m: {name: float(each.mean()) for name, each in by_system.items()} for m, by_system in values.items()}
    return Comparison(len(held_out[1]), weight, figures, gains)


def gain(values: NDArray[np.float64], baseline: NDArray[np.float64], seed: int = 0) -> tuple[float, float, float]:
    """Return the mean difference of two systems' values per query, and its 95% bootstrap interval."""
    result = compare_paired(values, baseline, seed=seed)
    return (result.difference, *result.interval)


def values_of(hits: Hits, judged: JudgedHits, measure: str) -> NDArray[np.float64]:
    """Return the measure's value of each query."""
    _, query_ids, qrels = judged
    return Measure.parse(measure)(Qrels.from_dict(qrels).judge(hits, query_ids))
