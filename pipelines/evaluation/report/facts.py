"""Facts about one dataset for a report, from its results, runs, per-query values and texts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from indexing.hits import Hits
from indexing.runs import read_trec_run
from pipelines.evaluation.report.charts import Point
from pipelines.evaluation.report.texts import GivenTexts
from pipelines.evaluation.results import DatasetResult, SystemResult, read_per_query
from pipelines.measures.evaluate import Scores
from pipelines.measures.formulas import recall
from pipelines.measures.qrels import Judged, Qrels
from pipelines.measures.trec_order import judge_run

DEPTHS = (1, 2, 3, 5, 10, 20, 30, 50, 100, 200, 300, 500, 1000)
ANY_RANK = 1 << 62
FIRST_RANKS = ((1, 1), (2, 3), (4, 5), (6, 10), (11, 20), (21, 50), (51, 100), (101, ANY_RANK))
"""Groups of ranks for counting first relevant hits; queries without a relevant hit form one more group."""
WORST = 10
"""Number of worst queries for a dataset with the page to itself."""
SHOWN_HITS = 3
SHOWN_RELEVANT = 4
COST_PLOTS = (
    ("p50_ms", 1.0, "p50 latency, ms", "latency"),
    ("index_bytes", 1e-6, "index, MB", "size"),
)
"""Plots of quality against a cost: key of the cost, factor, title of the axis, name."""


@dataclass(frozen=True, slots=True)
class ShownHit:
    """One hit of one system; `grade` is None for an unjudged document."""

    rank: int
    doc_id: str
    grade: int | None
    text: str


@dataclass(frozen=True, slots=True)
class ShownRelevant:
    """A relevant document, and its rank by system, None where it was not found."""

    doc_id: str
    grade: int
    text: str
    ranks: Mapping[str, int | None]


@dataclass(frozen=True, slots=True)
class WorstQuery:
    """A query on which the best system has a low score."""

    query_id: str
    text: str
    values: Mapping[str, float]
    relevant: Sequence[ShownRelevant]
    relevant_count: int
    hits: Mapping[str, Sequence[ShownHit]]


@dataclass(slots=True)
class Facts:
    """All facts about one dataset.

    Parameters
    ----------
    primary
        The measure that orders and compares systems.
    best
        The system with the highest mean of the primary measure.
    scores
        Per-query values of the systems that have them.
    curves
        ``[(depth, recall)]`` of each system.
    firsts
        For each system the number of queries whose first relevant hit is in each of `FIRST_RANKS`, and without one.
    query_texts
        ``{query_id: text}``, empty without texts.
    share
        The dataset's share of the page.
    """

    result: DatasetResult
    primary: str
    best: str
    scores: Mapping[str, Scores] = field(default_factory=dict)
    curves: dict[str, list[tuple[int, float]]] = field(default_factory=dict)
    firsts: dict[str, list[int]] = field(default_factory=dict)
    worst: Sequence[WorstQuery] = ()
    query_texts: Mapping[str, str] = field(default_factory=dict)
    share: float = 1.0

    def cost_points(self, cost: str, factor: float, colours: Mapping[str, int]) -> list[Point]:
        """Return the points of a plot of the primary measure against a cost, for the systems that have both."""
        return [
            Point(name, system.cost[cost] * factor, system.measures[self.primary], colours[name])
            for name, system in self.result.systems.items()
            if system.cost.get(cost, 0) > 0 and self.primary in system.measures
        ]


def gather(result: DatasetResult, primary: str, texts: GivenTexts | None, *, share: float = 1.0) -> Facts:
    """Return the facts about one dataset, without `texts` only those that need no judgements.

    Only one run is in memory at a time.
    """
    best = max(result.systems, key=lambda name: result.systems[name].measures.get(primary, -1.0))
    facts = Facts(result, primary, best, share=share)
    facts.scores = {name: read_per_query(system) for name, system in result.systems.items() if _has_values(system)}
    if texts is None:
        return facts
    qrels = Qrels.from_dict(texts.qrels)
    chosen = worst_queries(facts.scores, best, primary, count=max(3, min(WORST, round(5 * WORST * share))))
    answers: dict[str, Hits] = {}
    for name, system in result.systems.items():
        if system.run is None or not system.run.is_file():
            continue
        run = read_trec_run(system.run)
        judged = judge_run(run, qrels)
        facts.curves[name] = recall_curve(judged)
        facts.firsts[name] = first_ranks(judged)
        answers[name] = Hits.from_run(run, chosen)
    facts.worst = _with_texts(chosen, facts.scores, primary, answers, texts)
    facts.query_texts = {query_id: texts.query(query_id) for query_id in texts.qrels if texts.qrels[query_id]}
    return facts


def worst_queries(scores: Mapping[str, Scores], best: str, primary: str, count: int = WORST) -> list[str]:
    """Return the queries with the lowest score of `best`; ties are ordered by the best score of another system."""
    if best not in scores or primary not in scores[best].per_query:
        return []
    own = scores[best].per_query[primary]
    others = np.zeros(len(own))
    for other in scores.values():
        if other.query_ids == scores[best].query_ids and primary in other.per_query:
            others = np.maximum(others, other.per_query[primary])
    order = np.lexsort((-others, own))[:count]
    return [scores[best].query_ids[at] for at in order if own[at] < 1]


def recall_curve(judged: Judged) -> list[tuple[int, float]]:
    """Return (depth, recall) at each of `DEPTHS` that the run reaches."""
    deepest = int(judged.counts.max(initial=0))
    return [(depth, float(recall(judged, depth).mean())) for depth in DEPTHS if depth <= deepest]


def first_ranks(judged: Judged) -> list[int]:
    """Count queries by the rank of their first relevant hit, in the groups of `FIRST_RANKS`, and those without one.

    Queries without any relevant document are not counted.
    """
    relevant = judged.grades > 0
    first = judged.ranks[relevant & (judged.running_counts(relevant) == 1)]
    counts = [int(((first >= low) & (first <= high)).sum()) for low, high in FIRST_RANKS]
    return [*counts, int((judged.qrels.relevant_counts() > 0).sum()) - sum(counts)]


def shown_groups(facts: Facts) -> dict[str, int]:
    """Return the groups of ranks that a run reaches, and "none", by name with their index in `Facts.firsts`."""
    deepest = max((depth for line in facts.curves.values() for depth, _ in line), default=0)
    shown = {_group(low, high): at for at, (low, high) in enumerate(FIRST_RANKS) if low <= deepest}
    return {**shown, "none": len(FIRST_RANKS)}


def _group(low: int, high: int) -> str:
    if high == ANY_RANK:
        return f"{low}+"
    return f"{low}" if low == high else f"{low}–{high}"


def _has_values(system: SystemResult) -> bool:
    return system.per_query is not None and system.per_query.is_file()


def _with_texts(
    chosen: Sequence[str], scores: Mapping[str, Scores], primary: str, answers: Mapping[str, Hits], texts: GivenTexts
) -> list[WorstQuery]:
    relevant = {query_id: _best_relevant(texts.qrels.get(query_id, {})) for query_id in chosen}
    rankings = {name: {q: hits[at].doc_ids for at, q in enumerate(chosen)} for name, hits in answers.items()}
    needed = {doc_id for query_id in chosen for doc_id in relevant[query_id]}
    needed |= {doc_id for ranking in rankings.values() for ids in ranking.values() for doc_id in ids[:SHOWN_HITS]}
    ordered = sorted(needed)
    contents = dict(zip(ordered, texts.documents(ordered) if ordered else [], strict=True))
    values = {
        name: dict(zip(system.query_ids, system.per_query[primary].tolist(), strict=True))
        for name, system in scores.items()
        if primary in system.per_query
    }
    return [
        WorstQuery(
            query_id=query_id,
            text=texts.query(query_id),
            values={name: by_query[query_id] for name, by_query in values.items() if query_id in by_query},
            relevant=[
                ShownRelevant(
                    doc_id,
                    texts.qrels[query_id][doc_id],
                    contents[doc_id],
                    {name: _rank(ranking[query_id], doc_id) for name, ranking in rankings.items()},
                )
                for doc_id in relevant[query_id]
            ],
            relevant_count=sum(grade > 0 for grade in texts.qrels.get(query_id, {}).values()),
            hits={
                name: [
                    ShownHit(rank, doc_id, texts.qrels.get(query_id, {}).get(doc_id), contents[doc_id])
                    for rank, doc_id in enumerate(ranking[query_id][:SHOWN_HITS], start=1)
                ]
                for name, ranking in rankings.items()
            },
        )
        for query_id in chosen
    ]


def _best_relevant(grades: Mapping[str, int]) -> list[str]:
    relevant = sorted((-grade, doc_id) for doc_id, grade in grades.items() if grade > 0)
    return [doc_id for _, doc_id in relevant[:SHOWN_RELEVANT]]


def _rank(doc_ids: Sequence[str], doc_id: str) -> int | None:
    return doc_ids.index(doc_id) + 1 if doc_id in doc_ids else None
