"""Measure what a reranker's budget costs in quality (nDCG@10), and whether time limits hold.

Budgets of pairs and early exits look up scores that one pass over all candidates computed: their seconds are the
seconds of that pass times the share of pairs that they read. Time limits are measured, one query per call, without
stored scores.
"""

import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.speed.measure import Row, timed_row
from indexing.hits import Hits
from pipelines.build.job import build_collection
from pipelines.evaluation.datasets import load_evaluation_set
from pipelines.measures.measures import Measure
from pipelines.measures.qrels import Qrels
from pipelines.search import LATE_INTERACTION, SearchPipeline
from pipelines.tuning.fusion import Interval, bootstrap
from retrieve.encoders import CrossEncoder, DenseEncoder
from retrieve.reranking.base import RERANKER, CandidateReranker, Contents
from retrieve.reranking.budget import Budget
from retrieve.reranking.cross_encoder import Reranker
from retrieve.reranking.late_interaction import LateInteractionReranker
from retrieve.trace import Trace

PAIRS = (1, 5, 10, 20, 50, 100)
SPREADS = (0.5, 1.0, 2.0, 3.0)
K = 10
WARM_UP = 5


class CachingReranker(CandidateReranker):
    """Wrapper of another reranker that scores each pair only once."""

    def __init__(self, inner: CandidateReranker) -> None:
        super().__init__(weight=inner.weight, encoder=inner.encoder)
        self._inner = inner
        self._known: dict[tuple[str, str], float] = {}

    def _scores(
        self, queries: Sequence[str], rows: NDArray[np.int64], texts: Sequence[str], places: NDArray[np.int64]
    ) -> NDArray:
        pairs = [(queries[row], texts[place]) for row, place in zip(rows.tolist(), places.tolist(), strict=True)]
        new = np.array([pair not in self._known for pair in pairs], np.bool_)
        if new.any():
            scores = self._inner._scores(queries, rows[new], texts, places[new]).tolist()
            unknown = (pair for pair, is_new in zip(pairs, new.tolist(), strict=True) if is_new)
            self._known.update(zip(unknown, scores, strict=True))
        return np.array([self._known[pair] for pair in pairs], np.float32)


def quality_of_budgets(
    model: str | Path, data: str, *, reranker: str, queries: int, candidates: int, max_ms: float
) -> list[Row]:
    """Rerank all candidates of every query, then within budgets of pairs, with early exit, and within time limits.

    The ratio is the number of all pairs divided by the number of pairs read. Agreement is the share of queries whose
    top ten equals that of full reranking, in the same order.
    """
    dataset = load_evaluation_set(data, check_corpus=False).limited(queries)
    encoder = DenseEncoder(model)
    qrels, query_ids = Qrels.from_dict(dataset.qrels), list(dataset.queries)
    texts = list(dataset.queries.values())

    def ndcg(hits: Hits) -> NDArray[np.float64]:
        return Measure.parse(f"ndcg@{K}")(qrels.judge(hits, query_ids))

    inner: CandidateReranker = (
        # Without a cache: the next budget would find documents encoded already.
        LateInteractionReranker(encoder, cache_bytes=0)
        if reranker == LATE_INTERACTION
        else Reranker(CrossEncoder(reranker))
    )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "collection"
        build_collection(dataset.corpus, path, dense=encoder)
        with SearchPipeline.open(path, dense=encoder, depth=max(100, candidates), reranker=None) as pipeline:
            found = pipeline.retrieve(texts, candidates)
            documents = pipeline.collection.documents
            caching, start = CachingReranker(inner), time.perf_counter()
            full = caching.rerank(texts, found, documents)
            full_s = time.perf_counter() - start
            rows, before = [], ndcg(found)
            limits = (*(count for count in PAIRS if count < candidates), candidates)
            budgets = [(f"max_pairs={pairs}", Budget(max_pairs=pairs), "the budget before") for pairs in limits]
            budgets += [
                (f"early_exit={spread:g}", Budget(early_exit=spread, top=K), "all candidates") for spread in SPREADS
            ]
            for setting, budget, reference in budgets:
                hits = caching.rerank(texts, found, documents, budget=budget)
                now = ndcg(hits)
                detail = f"nDCG@{K} {now.mean():.4f}, {bootstrap(now - before)} over {reference}"
                rows.append(_row(setting, hits, full, full_s, detail))
                before = now if budget.max_pairs else before
            before = ndcg(found)
            for limit in (max_ms / 4, max_ms / 2, max_ms):
                hits, taken = _one_by_one(inner, texts, found, documents, Budget(max_ms=limit))
                now = ndcg(hits)
                step = bootstrap(now - before)
                rows.append(_in_time(limit, hits, full, full_s, taken, float(now.mean()), step))
                before = now
    return rows


def _one_by_one(
    reranker: CandidateReranker, texts: Sequence[str], found: Hits, documents: Contents, budget: Budget
) -> tuple[Hits, NDArray[np.float64]]:
    """Rerank query by query; return the hits and the seconds per query."""
    for row in range(min(WARM_UP, len(texts))):
        reranker.rerank(texts[row], found[row], documents, budget=budget)
    parts, seconds = [], []
    for row, text in enumerate(texts):
        trace = Trace()
        parts.append(reranker.rerank([text], found.part(row, row + 1), documents, budget=budget, trace=trace))
        seconds.append(trace.seconds["reranker"])
    return Hits.concatenate(parts), np.array(seconds)


def _in_time(
    limit: float, hits: Hits, full: Hits, full_s: float, taken: NDArray[np.float64], ndcg: float, step: Interval
) -> Row:
    complete = np.array_equal(hits.counts, full.counts)
    p50, p95 = 1000 * np.percentile(taken, [50, 95])
    detail = (
        f"nDCG@{K} {ndcg:.4f}, {step} over the budget before, p50 {p50:.0f} ms, p95 {p95:.0f} ms, "
        f"{'every ranking full' if complete else 'rankings are cut short'}"
    )
    row = _row(f"max_ms={limit:g}", hits, full, full_s, detail)
    row["ours_s"] = float(taken.sum())
    return row


def _row(setting: str, hits: Hits, full: Hits, full_s: float, detail: str) -> Row:
    pairs, all_pairs = (int((ranked.legs[RERANKER].ranks > 0).sum()) for ranked in (hits, full))
    tops = zip(hits.top(K), full.top(K), strict=True)
    agreement = float(np.mean([ours.doc_ids == theirs.doc_ids for ours, theirs in tops]))
    detail += f", {pairs / max(len(hits), 1):.1f} pairs a query, {len(hits)} queries"
    row = timed_row("budget", "all candidates", setting, full_s * max(pairs, 1) / all_pairs, full_s, agreement, detail)
    return {**row, "ratio": all_pairs / max(pairs, 1)}
