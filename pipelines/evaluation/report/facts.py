"""What a report says of one dataset, gathered from its results, runs, per-query values and texts: no layout yet."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from indexing.hits import Hits
from indexing.runs import read_trec_run
from pipelines.evaluation.report.texts import Texts
from pipelines.evaluation.results import DatasetResult, SystemResult, read_per_query
from pipelines.measures.evaluate import Scores
from pipelines.measures.formulas import recall
from pipelines.measures.qrels import Judged, Qrels
from pipelines.measures.trec_order import judge_run

DEPTHS = (1, 2, 3, 5, 10, 20, 30, 50, 100, 200, 300, 500, 1000)
ANY_RANK = 1 << 62
FIRST_RANKS = ((1, 1), (2, 3), (4, 5), (6, 10), (11, 20), (21, 50), (51, 100), (101, ANY_RANK))
"""Groups of ranks in which the first relevant hit is counted; a last one holds the queries that have none."""
WORST = 10
SHOWN_HITS = 3
SHOWN_RELEVANT = 4


@dataclass(frozen=True, slots=True)
class ShownHit:
    """One hit of one system: `grade` is None where it was not judged."""

    rank: int
    doc_id: str
    grade: int | None
    text: str


@dataclass(frozen=True, slots=True)
class ShownRelevant:
    """A relevant document, and the rank each system gave it, None where it did not."""

    doc_id: str
    grade: int
    text: str
    ranks: Mapping[str, int | None]


@dataclass(frozen=True, slots=True)
class WorstQuery:
    """A query on which the best system did badly."""

    query_id: str
    text: str
    values: Mapping[str, float]
    relevant: Sequence[ShownRelevant]
    relevant_count: int
    found: Mapping[str, Sequence[ShownHit]]


@dataclass(slots=True)
class Facts:
    """All that a report shows of one dataset.

    Parameters
    ----------
    primary
        The measure by which systems are ordered and compared.
    best
        The system with the highest mean of it.
    scores
        Per-query values, of the systems that wrote them.
    curves
        For each system ``[(depth, recall)]``.
    firsts
        For each system the queries whose first relevant hit stands in each of `FIRST_RANKS`, and those without one.
    query_texts
        ``{query_id: text}`` as far as they are known.
    share
        The part of the page that this dataset may fill.
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


def gather(result: DatasetResult, primary: str, texts: Texts | None, *, share: float = 1.0) -> Facts:
    """Gather the facts of one dataset; without `texts` those that need no judgements.

    One run is in memory at a time.
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
    """Choose the queries on which `best` does worst; among equals those first on which another system does best."""
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
    """Give recall at each of `DEPTHS` that the run reaches."""
    deepest = int(judged.counts.max(initial=0))
    return [(depth, float(recall(judged, depth).mean())) for depth in DEPTHS if depth <= deepest]


def first_ranks(judged: Judged) -> list[int]:
    """Count the queries by the rank of their first relevant hit, in the groups of `FIRST_RANKS` and "none".

    Queries without any relevant document are not counted.
    """
    relevant = judged.grades > 0
    first = judged.ranks[relevant & (judged.so_far(relevant) == 1)]
    counts = [int(((first >= low) & (first <= high)).sum()) for low, high in FIRST_RANKS]
    return [*counts, int((judged.qrels.relevant_counts() > 0).sum()) - sum(counts)]


def shown_groups(facts: Facts) -> dict[str, int]:
    """Name the groups of ranks that some run reaches, and the last one, each with its place in `Facts.firsts`."""
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
    chosen: Sequence[str], scores: Mapping[str, Scores], primary: str, answers: Mapping[str, Hits], texts: Texts
) -> list[WorstQuery]:
    relevant = {query_id: _best_relevant(texts.qrels.get(query_id, {})) for query_id in chosen}
    rankings = {name: {q: hits[at].doc_ids for at, q in enumerate(chosen)} for name, hits in answers.items()}
    needed = {doc_id for query_id in chosen for doc_id in relevant[query_id]}
    needed |= {doc_id for found in rankings.values() for ids in found.values() for doc_id in ids[:SHOWN_HITS]}
    ordered = sorted(needed)
    contents = dict(zip(ordered, texts.documents(ordered) if ordered else [], strict=True))
    values = {
        name: dict(zip(found.query_ids, found.per_query[primary].tolist(), strict=True))
        for name, found in scores.items()
        if primary in found.per_query
    }
    return [
        WorstQuery(
            query_id=query_id,
            text=texts.query(query_id),
            values={name: found[query_id] for name, found in values.items() if query_id in found},
            relevant=[
                ShownRelevant(
                    doc_id,
                    texts.qrels[query_id][doc_id],
                    contents[doc_id],
                    {name: _rank(found[query_id], doc_id) for name, found in rankings.items()},
                )
                for doc_id in relevant[query_id]
            ],
            relevant_count=sum(grade > 0 for grade in texts.qrels.get(query_id, {}).values()),
            found={
                name: [
                    ShownHit(rank, doc_id, texts.qrels.get(query_id, {}).get(doc_id), contents[doc_id])
                    for rank, doc_id in enumerate(found[query_id][:SHOWN_HITS], start=1)
                ]
                for name, found in rankings.items()
            },
        )
        for query_id in chosen
    ]


def _best_relevant(grades: Mapping[str, int]) -> list[str]:
    relevant = sorted((-grade, doc_id) for doc_id, grade in grades.items() if grade > 0)
    return [doc_id for _, doc_id in relevant[:SHOWN_RELEVANT]]


def _rank(doc_ids: Sequence[str], doc_id: str) -> int | None:
    return doc_ids.index(doc_id) + 1 if doc_id in doc_ids else None
