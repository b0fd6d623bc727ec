"""The tables of results: differences, their intervals, and systems that are below others beyond doubt."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipelines.evaluation.closing_report import add_harms, add_significance
from pipelines.evaluation.export import markdown_tables, terminal_tables
from pipelines.measures.significance import compare_paired

LEGS = {"bm25": {"kind": "bm25"}, "dense": {"kind": "dense"}}
RERANKER = {"reranker": {"model": "late-interaction"}}


@pytest.fixture
def results(tmp_path: Path) -> dict[str, Any]:
    random = np.random.default_rng(3)
    base = random.uniform(0.3, 0.7, 60)
    values = {
        "bm25": base,
        "dense": base + random.normal(0.1, 0.05, 60),
        "hybrid": base + random.normal(0.05, 0.02, 60),
        "hybrid+rerank": base + random.normal(0.02, 0.02, 60),
        "same": base + random.normal(0.0, 0.05, 60) * np.resize([1, -1], 60),
    }
    legs = {"bm25": ["bm25"], "dense": ["dense"]}
    rows: dict[str, Any] = {}
    for name, found in values.items():
        (tmp_path / f"{name}.json").write_text(
            json.dumps({"query_ids": list(range(60)), "measures": {"nDCG@10": found.tolist()}})
        )
        used = {leg: LEGS[leg] for leg in legs.get(name, LEGS)}
        configuration = {"name": name, "legs": used, **(RERANKER if name.endswith("rerank") else {})}
        rows[name] = {
            "measures": {"nDCG@10": float(found.mean())},
            "cost": {},
            "per_query": f"{name}.json",
            "configuration": configuration,
        }
    del rows["same"]["configuration"]  # an imported run
    entry = {"split": "test", "documents": 9, "queries": 60, "systems": rows, "not_run": {}}
    entries = {"time": entry}
    add_significance(entries, tmp_path, "bm25")
    add_harms(entries, tmp_path, "nDCG@10")
    return {"datasets": entries, "measures": ["nDCG@10"], "mean": {}, "command": "x", "values": values}


def test_a_reranker_or_a_fusion_that_harms_beyond_doubt_is_said_in_words(results: dict[str, Any]) -> None:
    for table in (terminal_tables(results), markdown_tables(results)):
        for worse, better in [("hybrid+rerank", "hybrid"), ("hybrid", "dense")]:
            found = compare_paired(results["values"][worse], results["values"][better])
            size, low, high = (
                f"{number:.3f}".replace("0.", ".") for number in (-found.difference, *sorted(-np.array(found.interval)))
            )
            assert f"{worse} is below {better} on time by {size} [{low}, {high}] nDCG@10, beyond doubt" in table
        assert table.count("is below") == 2


def test_each_system_has_its_difference_to_the_baseline_with_the_interval(results: dict[str, Any]) -> None:
    lines = {line.split()[0]: line for line in terminal_tables(results).splitlines() if line}
    assert "nDCG@10 - bm25 (95%)" in lines["system"]
    assert lines["dense"].endswith("] above") and "[+." in lines["dense"]
    assert lines["same"].endswith("]")
    assert lines["bm25"].split() == ["bm25", f"{results['values']['bm25'].mean():.4f}"]


def test_a_system_below_the_baseline_beyond_doubt_is_said_in_words(results: dict[str, Any], tmp_path: Path) -> None:
    add_significance(results["datasets"], tmp_path, "dense")
    table = terminal_tables(results)
    assert "bm25 is below dense on time by" in table and "] below" in table
