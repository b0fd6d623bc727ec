"""Results folders in the harness's format, made from plain runs by the real measures and tests."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from indexing.runs import write_trec_run
from pipelines.measures.evaluate import evaluate
from pipelines.measures.qrels import Qrels
from pipelines.measures.significance import compare_systems

MEASURES = ("nDCG@10", "RR@10", "R@100")
Runs = Mapping[str, Mapping[str, Mapping[str, float]]]
"""``{system: run}``."""


def write_results(
    folder: Path,
    datasets: Mapping[str, tuple[Runs, Mapping[str, Mapping[str, int]]]],
    *,
    baseline: str | None = None,
    measures: Sequence[str] = MEASURES,
    environment: Mapping[str, Any] | None = None,
    command: str = "python benchmarks/run_beir.py --dataset made-up",
) -> Path:
    """Write ``results.json``, ``runs/`` and ``per_query/`` for ``{dataset: ({system: run}, qrels)}``."""
    rows = {name: _dataset(folder, name, runs, qrels, baseline, measures) for name, (runs, qrels) in datasets.items()}
    systems = dict.fromkeys(system for row in rows.values() for system in row["systems"])
    results = {
        "format": 2,
        "command": command,
        "date": "2026-11-21T05:00:00+00:00",
        "environment": dict(environment or {"python": "3.11.7", "packages": {"numpy": "2.4.6"}}),
        "baseline": baseline,
        "measures": list(measures),
        "datasets": rows,
        "mean": {system: {"measures": _means(rows, system, measures)} for system in systems},
    }
    (folder / "results.json").write_text(json.dumps(results), "utf-8")
    return folder


def _dataset(
    folder: Path,
    name: str,
    runs: Runs,
    qrels: Mapping[str, Mapping[str, int]],
    baseline: str | None,
    measures: Sequence[str],
) -> dict[str, Any]:
    coded = Qrels.from_dict(qrels)
    scores = {system: evaluate(run, coded, measures) for system, run in runs.items()}
    tests = compare_systems({s: found.per_query for s, found in scores.items()}, baseline) if baseline else {}
    systems = {}
    for number, (system, found) in enumerate(scores.items(), start=1):
        run, per_query = f"runs/{name}/{system}.trec", f"per_query/{name}/{system}.json"
        write_trec_run(folder / run, runs[system])
        (folder / per_query).parent.mkdir(parents=True, exist_ok=True)
        values = {measure: column.tolist() for measure, column in found.per_query.items()}
        (folder / per_query).write_text(json.dumps({"query_ids": found.query_ids, "measures": values}), "utf-8")
        systems[system] = {
            "measures": found.means,
            "cost": {"p50_ms": 1.5 * 7**number, "p95_ms": 30.25, "index_bytes": 1_000_000 * number, "encode_s": None},
            "unjudged@10": 0.5,
            "run": run,
            "per_query": per_query,
            "significance": tests.get(system, {}),
            "published": {"nDCG@10": {"value": 0.4321, "source": "a table, 2024"}} if system == "bm25" else {},
        }
    return {
        "split": "test",
        "documents": 1234,
        "queries": len(coded),
        "self_hits_dropped": False,
        "checks": {"empty texts": 2, "duplicate ids": 0},
        "systems": systems,
        "not_run": {"sparse": "no sparse model was given (--sparse)"},
    }


def _means(rows: Mapping[str, Any], system: str, measures: Sequence[str]) -> dict[str, float]:
    found = [row["systems"][system]["measures"] for row in rows.values() if system in row["systems"]]
    return {measure: sum(one[measure] for one in found) / len(found) for measure in measures}
