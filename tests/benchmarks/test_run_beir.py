"""The benchmark script on a small BEIR folder, run as its users run it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from indexing.hits import Hits
from indexing.runs import read_trec_run
from pipelines.evaluation.harness import without_self_hits
from pipelines.evaluation.scores import evaluate

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "run_beir.py"
QUERIES = {"q1": "oven recipe for dessert", "q2": "lost datagrams", "q3": "eigenvalues", "q4": "alphabetical order"}
QRELS = {"q1": {"cake": 2, "bread": 1}, "q2": {"udp": 1}, "q3": {"eig": 1}, "q4": {"sort": 1}}


def run_beir(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(SCRIPT), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=200, check=False)


@pytest.fixture(scope="module")
def folder(tmp_path_factory, corpus) -> Path:
    folder = tmp_path_factory.mktemp("beir") / "kitchen"
    (folder / "qrels").mkdir(parents=True)
    documents = [{"_id": d.doc_id, "title": d.title, "text": d.text} for d in corpus]
    write_lines(folder / "corpus.jsonl", documents)
    write_lines(folder / "queries.jsonl", [{"_id": query_id, "text": text} for query_id, text in QUERIES.items()])
    rows = [f"{query_id}\t{doc_id}\t{grade}" for query_id, found in QRELS.items() for doc_id, grade in found.items()]
    (folder / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\n" + "\n".join(rows) + "\n")
    return folder


def write_lines(path: Path, rows: list[dict]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")


def test_scores_every_system_and_says_which_was_not_run(folder, tmp_path):
    done = run_beir("--dataset", folder, "--output", tmp_path / "out", "--candidates", 3)

    assert done.returncode == 0, done.stderr
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    assert (results["dataset"], results["split"], results["documents"], results["queries"]) == ("kitchen", "test", 8, 4)
    assert list(results["systems"]) == ["bm25", "dense", "hybrid", "hybrid+rerank"]
    assert "no --sparse model was given" in results["not_run"]["sparse"]
    assert "not run: sparse" in done.stdout
    for name, row in results["systems"].items():
        assert set(row) == {"ndcg@10", "map@100", "mrr@10", "recall@100", "p50_ms", "p95_ms", "index_bytes"}
        assert f"{row['ndcg@10']:.4f}" in next(line for line in done.stdout.splitlines() if line.startswith(name + " "))
        assert 0 < row["p50_ms"] <= row["p95_ms"]
        run = read_trec_run(tmp_path / "out" / "runs" / f"{name}.trec")
        assert evaluate(run, QRELS).means == pytest.approx({key: row[key] for key in evaluate(run, QRELS).means})
    sizes = {name: row["index_bytes"] for name, row in results["systems"].items()}
    assert sizes["hybrid"] == sizes["hybrid+rerank"] == sizes["bm25"] + sizes["dense"]
    assert results["environment"]["packages"]["torch"]

    again = run_beir("--dataset", folder, "--output", tmp_path / "out", "--systems", "bm25", "--limit-queries", 2)
    assert again.returncode == 0, again.stderr
    assert "using the collection in" in again.stderr
    assert json.loads((tmp_path / "out" / "results.json").read_text())["queries"] == 2


def test_a_sparse_model_makes_a_third_leg_and_a_cross_encoder_reranks(
    folder, tmp_path, tiny_splade, tiny_cross_encoder
):
    done = run_beir(
        *("--dataset", folder, "--output", tmp_path / "out", "--systems", "sparse,hybrid+rerank"),
        *("--sparse", tiny_splade.identity["name"], "--reranker", tiny_cross_encoder.identity["name"]),
    )
    assert done.returncode == 0, done.stderr
    systems = json.loads((tmp_path / "out" / "results.json").read_text())["systems"]
    assert list(systems) == ["sparse", "hybrid+rerank"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--systems", "bm25,splade"], "unknown system 'splade'"),
        (["--split", "dev"], "test"),
        (["--k", "0"], "--k must be at least 1"),
        (["--systems", "sparse"], "none of the systems can be run: no --sparse model was given"),
        (["--dense", "no/such-model"], "no/such-model"),
        (["--dataset", "no-such-set"], "no-such-set"),
    ],
)
def test_wrong_arguments_are_explained(folder, tmp_path, arguments, says):
    done = run_beir("--dataset", folder, "--output", tmp_path / "out", *arguments)
    assert done.returncode == 1
    assert says in done.stderr
    assert "Traceback" not in done.stderr


def test_an_id_that_no_run_file_can_hold_costs_the_run_file_only(tmp_path):
    (tmp_path / "set" / "qrels").mkdir(parents=True)
    write_lines(tmp_path / "set" / "corpus.jsonl", [{"_id": "a b", "text": "bread"}, {"_id": "c", "text": "cake"}])
    write_lines(tmp_path / "set" / "queries.jsonl", [{"_id": "q", "text": "bread"}])
    (tmp_path / "set" / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\nq\ta b\t1\n")
    done = run_beir("--dataset", tmp_path / "set", "--output", tmp_path / "out", "--systems", "bm25")
    assert done.returncode == 0, done.stderr
    assert "bm25.trec is not written: the doc_id 'a b' holds white space" in done.stderr
    assert json.loads((tmp_path / "out" / "results.json").read_text())["systems"]["bm25"]["ndcg@10"] == 1.0


def test_hits_on_oneself_are_left_out():
    run = {"a": {"a": 3.0, "b": 2.0}, "b": {"a": 1.0}}
    kept = without_self_hits(Hits.from_run(run, ["a", "b"]), ["a", "b"])
    assert kept.to_run(["a", "b"]) == {"a": {"b": 2.0}, "b": {"a": 1.0}}
