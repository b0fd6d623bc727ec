"""What a reranker's budget costs in quality: nDCG@10 beside the share of pairs that are read."""

import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks.speed.measure import Row
from indexing.hits import Hits
from pipelines.build import build_collection
from pipelines.evaluation.datasets import load_evaluation_set
from pipelines.evaluation.judged import Qrels
from pipelines.evaluation.scores import evaluate
from pipelines.search import SearchPipeline
from retrieve.budget import Budget
from retrieve.encoders import DenseEncoder
from retrieve.rerankers import RERANKER

BUDGETS = (
    *(Budget(max_pairs=pairs) for pairs in (1, 5, 10, 20, 50)),
    *(Budget(early_exit=spread, top=10) for spread in (0.5, 1.0, 2.0, 3.0)),
)
K = 10


def quality_of_budgets(model: str | Path, data: str, *, reranker: str, queries: int, candidates: int) -> list[Row]:
    """Rerank all candidates of every query, then within each of `BUDGETS`.

    Ratio is the pairs of the whole over those that were read; agreement the share of queries whose top ten is that of
    the whole, in the same order.
    """
    dataset = load_evaluation_set(data, check_corpus=False).limited(queries)
    encoder = DenseEncoder(model)
    texts, qrels = list(dataset.queries.values()), Qrels.from_dict(dataset.qrels)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "collection"
        build_collection(dataset.corpus, path, dense=encoder)
        with SearchPipeline.open(path, dense=encoder, reranker=reranker, candidates=candidates) as pipeline:
            whole, whole_s = _timed(pipeline, texts, None)
            rows = []
            for budget in (None, *BUDGETS):
                hits, taken = _timed(pipeline, texts, budget)
                ndcg = evaluate(hits, qrels, queries=list(dataset.queries)).means["ndcg@10"]
                rows.append(_row(budget, hits, whole, taken, whole_s, f"nDCG@10 {ndcg:.4f}, {len(texts)} queries"))
    return rows


def _timed(pipeline: SearchPipeline, texts: list[str], budget: Budget | None) -> tuple[Hits, float]:
    start = time.perf_counter()
    hits = pipeline.retrieve(texts, max(K, pipeline.candidates), budget=budget)
    return hits, time.perf_counter() - start


def _row(budget: Budget | None, hits: Hits, whole: Hits, taken: float, whole_s: float, detail: str) -> Row:
    pairs, all_pairs = (int((found.legs[RERANKER].ranks > 0).sum()) for found in (hits, whole))
    tops = zip(hits.top(K), whole.top(K), strict=True)
    return {
        "task": "budget",
        "peer": "all candidates",
        "setting": _name(budget),
        "ratio": all_pairs / max(pairs, 1),
        "agreement": float(np.mean([ours.doc_ids == theirs.doc_ids for ours, theirs in tops])),
        "ours_s": taken,
        "theirs_s": whole_s,
        "ours_peak_mb": None,
        "theirs_peak_mb": None,
        "detail": f"{detail}, {pairs / max(len(hits), 1):.1f} pairs a query",
    }


def _name(budget: Budget | None) -> str:
    if budget is None:
        return "none"
    return f"max_pairs={budget.max_pairs}" if budget.max_pairs else f"early_exit={budget.early_exit:g}"
