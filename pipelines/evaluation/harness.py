"""The harness: runs systems over one evaluation set and says what each finds, how fast, and how large it is."""

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from tqdm import tqdm

from indexing.hits import Hits, string_array
from pipelines.evaluation.judged import Qrels
from pipelines.evaluation.scores import Scores, evaluate
from pipelines.search import SearchPipeline

WARM_UP_QUERIES = 5
TIMED_QUERIES = 100


@dataclass(frozen=True, slots=True)
class System:
    """A way to search a collection, by name, and the legs it uses."""

    name: str
    legs: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one system did.

    `hits` holds the answers to all queries, `milliseconds` the duration of single searches (query encoding included),
    `index_bytes` the size of its legs on disk.
    """

    system: System
    hits: Hits
    scores: Scores
    milliseconds: np.ndarray
    index_bytes: int

    def row(self) -> dict[str, float | int]:
        """Give the figures of the results file."""
        p50, p95 = np.percentile(self.milliseconds, [50, 95])
        return {
            **{name: float(value) for name, value in self.scores.means.items()},
            "p50_ms": round(float(p50), 3),
            "p95_ms": round(float(p95), 3),
            "index_bytes": self.index_bytes,
        }


def run_system(
    system: System,
    pipeline: SearchPipeline,
    queries: dict[str, str],
    qrels: Qrels,
    *,
    k: int = 100,
    drop_self_hits: bool = False,
    show_progress: bool = True,
) -> Outcome:
    """Time single searches one after another, then answer all queries in one batch and score them.

    The duration of a search is taken over at most `TIMED_QUERIES` queries, spread evenly, after `WARM_UP_QUERIES`;
    before the batch, so that a reranker does not know the candidates yet.
    With `drop_self_hits` a hit whose id equals its query's is left out.
    """
    texts = list(queries.values())
    milliseconds = _time_searches(pipeline, texts, k, show_progress=show_progress)
    hits = pipeline.retrieve(texts, k + drop_self_hits, show_progress=show_progress)
    if drop_self_hits:
        hits = without_self_hits(hits, list(queries)).top(k)
    return Outcome(
        system=system,
        hits=hits,
        scores=evaluate(hits, qrels, queries=list(queries)),
        milliseconds=milliseconds,
        index_bytes=sum(pipeline.collection.leg(name).bytes for name in system.legs),
    )


def without_self_hits(hits: Hits, query_ids: Sequence[str]) -> Hits:
    """Leave out each hit whose doc_id is the id of its query, as BEIR does for ArguAna and Quora."""
    own = string_array(query_ids)[hits.rows]
    return hits.where((hits.ids[hits.codes] != own).astype(np.bool_))


def _time_searches(pipeline: SearchPipeline, texts: Sequence[str], k: int, *, show_progress: bool) -> np.ndarray:
    order = np.unique(np.linspace(0, len(texts) - 1, min(len(texts), TIMED_QUERIES + WARM_UP_QUERIES), dtype=int))
    chosen = [texts[at] for at in order]
    # Warm up on other queries than are timed, so that no cache knows their candidates; unless there are no others.
    warm_up, timed = (chosen[:WARM_UP_QUERIES], chosen[WARM_UP_QUERIES:]) if len(chosen) > 20 else (chosen, chosen)
    for text in warm_up:
        pipeline.retrieve([text], k)
    spent = []
    for text in tqdm(timed, desc="timing", unit="query", disable=not show_progress):
        start = time.perf_counter()
        pipeline.retrieve([text], k)
        spent.append(1000 * (time.perf_counter() - start))
    return np.array(spent)
