"""Comparison of eight measures with pytrec_eval and ranx on the same random results; equal values are checked.

Scoring is timed: from `Hits` on our side, from each peer's own form of a run on theirs. The conversion of a plain run
``{query: {doc_id: score}}`` to that form has a row of its own, and so has scoring a plain run directly, which needs no
conversion on our side.
"""

import os
import sys
import tempfile
import time
from importlib.util import find_spec
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.speed.measure import Job, Measured, Row, measure, measured_row
from indexing.hits import Hits, string_array
from pipelines.measures.evaluate import evaluate
from pipelines.measures.qrels import Qrels

SEED = 0
DOCUMENTS = 200_003
"""A prime, so that a walk in equal steps visits no document twice."""
JUDGED = 30
"""Number of judgements for each query, half of them among its hits."""

MEASURES = ("nDCG@10", "nDCG@100", "AP@100", "RR", "R@100", "P@10", "Success@10", "Rprec")
TREC_EVAL_NAMES = (
    *("ndcg_cut_10", "ndcg_cut_100", "map_cut_100", "recip_rank", "recall_100", "P_10", "success_10", "Rprec"),
)
RANX_NAMES = ("ndcg@10", "ndcg@100", "map@100", "mrr", "recall@100", "precision@10", "hit_rate@10", "r-precision")


def compare(queries: int, depth: int, repeats: int) -> list[Row]:
    """Time all sides on `queries` queries with `depth` hits each."""
    size = (queries, depth)
    shape = f"{queries:,} queries x {depth:,} hits, {len(MEASURES)} measures"
    ours, plain = measure(((ours_coded, *size), (ours_plain, *size)), repeats)
    (trec_eval,) = measure([(pytrec_eval, *size)], repeats)
    rows = [
        _row("pytrec_eval", "scoring", ours, trec_eval, f"{shape}; ours from coded Hits, theirs from a plain run"),
        _row("pytrec_eval", "plain run", plain, trec_eval, f"{shape}; both from a plain run, nothing converted"),
    ]
    if find_spec("ranx") is None:
        print("ranx is not installed, so there is no comparison with it: pip install ranx", file=sys.stderr)
        return rows
    with tempfile.TemporaryDirectory() as folder:
        # Without a compiled version left from an earlier run.
        os.environ["NUMBA_CACHE_DIR"] = folder
        (peer,) = measure([(ranx, *size)], max(2, repeats))
    first, later = (peer._replace(seconds=seconds) for seconds in (peer.seconds[:1], peer.seconds[1:]))
    mine, other = (side._replace(seconds=[side.result[0]]) for side in (ours, peer))
    conversion = f"{shape}; from a plain run to coded Hits, or to ranx's Run (with its compilation)"
    return [
        *rows,
        _row("ranx", "first call", ours, first, f"{shape}; theirs with its compilation"),
        _row("ranx", "later calls", ours, later, f"{shape}; theirs compiled before"),
        _row("ranx", "conversion", mine, other, conversion),
    ]


def ours_coded(queries: int, depth: int) -> Job:
    """Prepare our measures over Hits and Qrels."""
    hits, judged = made_up(queries, depth)
    names = query_names(queries)
    plain = hits.to_run(names)
    start = time.perf_counter()
    coded, qrels = Hits.from_run(plain, names), Qrels.from_dict(judged)
    conversion = time.perf_counter() - start
    del plain
    return lambda: evaluate(coded, qrels, MEASURES, queries=names), lambda scores: (
        conversion,
        _table(scores.per_query),
    )


def ours_plain(queries: int, depth: int) -> Job:
    """Prepare our measures over a plain run and plain judgements."""
    hits, judged = made_up(queries, depth)
    run = hits.to_run(query_names(queries))
    return lambda: evaluate(run, judged, MEASURES), lambda scores: (0.0, _table(scores.per_query))


def pytrec_eval(queries: int, depth: int) -> Job:
    """Prepare trec_eval through pytrec_eval."""
    import pytrec_eval

    hits, judged = made_up(queries, depth)
    names = query_names(queries)
    run = hits.to_run(names)
    evaluator = pytrec_eval.RelevanceEvaluator(judged, set(TREC_EVAL_NAMES))
    return (
        lambda: evaluator.evaluate(run),
        lambda found: (0.0, np.array([[found[query][name] for query in names] for name in TREC_EVAL_NAMES])),
    )


def ranx(queries: int, depth: int) -> Job:
    """Prepare ranx; its first call compiles."""
    import ranx as peer

    hits, judged = made_up(queries, depth)
    names = query_names(queries)
    run = hits.to_run(names)
    start = time.perf_counter()
    qrels, coded = peer.Qrels(judged), peer.Run(run)
    conversion = time.perf_counter() - start
    del run

    def values(found: Any) -> tuple[float, NDArray[np.float64]]:
        del found
        # It sorts the queries by name.
        places = np.argsort(np.argsort(names))
        by_query = peer.evaluate(qrels, coded, list(RANX_NAMES), return_mean=False)
        return conversion, np.array([by_query[name][places] for name in RANX_NAMES])

    return lambda: peer.evaluate(qrels, coded, list(RANX_NAMES)), values


def made_up(queries: int, depth: int) -> tuple[Hits, dict[str, dict[str, int]]]:
    """Generate hits without ties, and judgements of grades 0 to 3, half of them of retrieved documents."""
    random = np.random.default_rng(SEED)
    starts, steps = random.integers(0, DOCUMENTS, queries), random.integers(1, DOCUMENTS, queries)
    codes = (starts[:, None] + steps[:, None] * np.arange(depth)) % DOCUMENTS
    scores = depth - np.arange(depth) + random.random((queries, depth), dtype=np.float32) / 2
    places = np.concatenate(
        [random.integers(0, depth, (queries, JUDGED // 2)), random.integers(depth, 2 * depth, (queries, JUDGED // 2))],
        axis=1,
    )
    judged = (starts[:, None] + steps[:, None] * places) % DOCUMENTS
    grades = random.integers(0, 4, judged.shape)
    ids = string_array([f"document-{number:06}" for number in range(DOCUMENTS)])
    hits = Hits(np.arange(queries + 1, dtype=np.int64) * depth, codes.ravel(), scores.astype(np.float32).ravel(), ids)
    qrels = {
        query: dict(zip(ids[found].tolist(), grade.tolist(), strict=True))
        for query, found, grade in zip(query_names(queries), judged, grades, strict=True)
    }
    return hits, qrels


def query_names(queries: int) -> list[str]:
    """Return the ids of the queries."""
    return [f"q{number}" for number in range(queries)]


def _table(per_query: Any) -> NDArray[np.float64]:
    return np.array([per_query[name] for name in MEASURES])


def _row(peer: str, setting: str, ours: Measured, theirs: Measured, detail: str) -> Row:
    agreement = float(np.abs(ours.result[1] - theirs.result[1]).max())
    detail += "; agreement: largest difference of a query's value"
    return measured_row("metrics", setting, ours, theirs, agreement, detail, peer)
