"""The fusion benchmark on a small BEIR folder, run as its users run it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "run_fusion.py"
QUERIES = {"q1": "oven recipe for dessert", "q2": "lost datagrams", "q3": "eigenvalues", "q4": "order", "q5": "bread"}
RELEVANT = {"q1": "cake", "q2": "udp", "q3": "eig", "q4": "sort", "q5": "bread"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory, corpus) -> Path:
    folder = tmp_path_factory.mktemp("beir") / "kitchen"
    (folder / "qrels").mkdir(parents=True)
    documents = ({"_id": d.doc_id, "title": d.title, "text": d.text} for d in corpus)
    queries = ({"_id": query_id, "text": text} for query_id, text in QUERIES.items())
    for name, rows in (("corpus", documents), ("queries", queries)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    judgements = "".join(f"{query_id}\t{doc_id}\t1\n" for query_id, doc_id in RELEVANT.items())
    (folder / "qrels" / "dev.tsv").write_text(f"query-id\tcorpus-id\tscore\n{judgements}")
    return folder


def test_measures_every_fusion_on_the_same_answers(folder, tmp_path):
    command = [sys.executable, str(SCRIPT), "--datasets", f"{folder}:dev", "--output", str(tmp_path / "out")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200, check=False)

    assert done.returncode == 0, done.stderr
    (row,) = json.loads((tmp_path / "out" / "fusion.json").read_text())
    assert (row["dataset"], row["split"], row["queries"]) == ("kitchen", "dev", 5)
    better = max(row["legs"].values())
    for name, figures in row["fusions"].items():
        mean, low, high = figures["over_better_leg"]
        assert mean == pytest.approx(figures["mean"] - better)
        assert low <= mean <= high
        assert name in done.stdout
    assert row["tuned"]["held_out"] == pytest.approx(better + row["tuned"]["over_better_leg"][0])
    assert "| kitchen dev | 5 |" in done.stdout
