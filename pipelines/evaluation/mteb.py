"""Export of results in MTEB's format, for comparison with its leaderboard."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from indexing.disk import write_json
from indexing.hits import Hits
from pipelines.evaluation.datasets import MTEB_TASKS
from pipelines.measures.evaluate import evaluate
from pipelines.measures.qrels import Qrels

CUTOFFS = (1, 3, 5, 10, 20, 100, 1000)
_MEASURES = {"ndcg": "nDCG", "map": "AP", "recall": "R", "precision": "P", "mrr": "RR"}


def task_name(dataset: str) -> str:
    """Return MTEB's name of a dataset; unknown datasets keep their own."""
    if dataset.startswith("cqadupstack-"):
        return f"CQADupstack{dataset.removeprefix('cqadupstack-').capitalize()}Retrieval"
    return MTEB_TASKS.get(dataset, dataset)


def write_mteb(
    folder: Path, dataset: str, split: str, hits: Hits, qrels: Qrels, queries: Sequence[str]
) -> dict[str, Any]:
    """Write ``<folder>/<task>.json`` with the fields of MTEB's ``TaskResult``, and return them.

    Scores are ``ndcg_at_k``, ``map_at_k``, ``recall_at_k``, ``precision_at_k`` and ``mrr_at_k``, for the `CUTOFFS` that
    the hits reach, and ``main_score``, nDCG@10 as for all of BEIR. Fields that only MTEB knows (its version, its
    revision of the data, emissions) are null, or ``"unknown"`` where a string is required.
    """
    depth = int(hits.counts.max(initial=0))
    cutoffs = [k for k in CUTOFFS if k <= max(depth, 10)]
    named = {f"{ours}@{k}": f"{theirs}_at_{k}" for theirs, ours in _MEASURES.items() for k in cutoffs}
    means = evaluate(hits, qrels, list(named), queries=queries).means
    scores = {name: round(float(np.float64(means[measure])), 5) for measure, name in named.items()}
    result: dict[str, Any] = {
        "dataset_revision": "unknown",
        "task_name": task_name(dataset),
        "mteb_version": None,
        "scores": {
            split: [{**scores, "main_score": scores["ndcg_at_10"], "hf_subset": "default", "languages": ["eng-Latn"]}]
        },
        "evaluation_time": None,
        "kg_co2_emissions": None,
    }
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / f"{task_name(dataset)}.json", result)
    return result
