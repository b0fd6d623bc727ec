"""The benchmark script on a small BEIR folder, run as its users run it."""

import json
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from corpus_files import write_lines
from indexing.hits import Hits
from indexing.runs import read_trec_run
from pipelines.cli import main as cli
from pipelines.evaluation.task import without_self_hits
from pipelines.measures.evaluate import evaluate

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "run_beir.py"
QUERIES = {"q1": "oven recipe for dessert", "q2": "lost datagrams", "q3": "eigenvalues", "q4": "alphabetical order"}
QRELS = {"q1": {"cake": 2, "bread": 1}, "q2": {"udp": 1}, "q3": {"eig": 1}, "q4": {"sort": 1}}


def run_as_script(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(SCRIPT), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=200, check=False)


@pytest.fixture
def run_beir(capsys):
    """The same without a new process, which would load torch again for each test."""
    main = runpy.run_path(str(SCRIPT))["main"]

    def run(*arguments: object) -> subprocess.CompletedProcess[str]:
        code = main([str(argument) for argument in arguments])
        said = capsys.readouterr()
        return subprocess.CompletedProcess(arguments, code, said.out, said.err)

    return run


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


def test_scores_every_system_and_says_which_was_not_run(folder, tmp_path, run_beir):
    done = run_as_script("--dataset", folder, "--output", tmp_path / "out", "--candidates", 3)

    assert done.returncode == 0, done.stderr
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    kitchen = results["datasets"]["kitchen"]
    assert (kitchen["split"], kitchen["documents"], kitchen["queries"]) == ("test", 8, 4)
    assert list(kitchen["systems"]) == ["bm25", "dense", "hybrid", "hybrid+rerank"]
    assert "no sparse model was given" in kitchen["not_run"]["sparse"]
    assert "not run: sparse" in done.stdout
    for name, row in kitchen["systems"].items():
        assert list(row["measures"]) == results["measures"] == ["nDCG@10", "AP@100", "RR@10", "R@100"]
        line = next(line for line in done.stdout.splitlines() if line.startswith(name + " "))
        assert f"{row['measures']['nDCG@10']:.4f}" in line
        assert 0 < row["cost"]["p50_ms"] <= row["cost"]["p95_ms"] <= row["cost"]["p99_ms"]
        run = read_trec_run(tmp_path / "out" / row["run"])
        assert evaluate(run, QRELS, results["measures"]).means == pytest.approx(row["measures"])
    sizes = {name: row["cost"]["index_bytes"] for name, row in kitchen["systems"].items()}
    assert sizes["hybrid"] == sizes["hybrid+rerank"] == sizes["bm25"] + sizes["dense"]
    assert results["environment"]["packages"]["torch"]

    again = run_beir("--dataset", folder, "--output", tmp_path / "out", "--candidates", 3)
    assert again.returncode == 0, again.stderr
    assert again.stderr.count("done before") == 4
    assert "using the collection in" in again.stderr
    assert again.stdout == done.stdout


def test_a_sparse_model_makes_a_third_leg_and_a_cross_encoder_reranks(
    folder, tmp_path, tiny_splade, tiny_cross_encoder, run_beir
):
    done = run_beir(
        *("--dataset", folder, "--output", tmp_path / "out", "--systems", "sparse,hybrid+rerank"),
        *("--sparse", tiny_splade.identity["name"], "--reranker", tiny_cross_encoder.identity["name"]),
    )
    assert done.returncode == 0, done.stderr
    systems = json.loads((tmp_path / "out" / "results.json").read_text())["datasets"]["kitchen"]["systems"]
    assert list(systems) == ["sparse", "hybrid+rerank"]
    assert systems["hybrid+rerank"]["configuration"]["legs"].keys() == {"bm25", "dense", "sparse"}


def test_several_datasets_systems_of_a_file_and_anothers_run(folder, tmp_path, run_beir):
    other = shutil.copytree(folder, tmp_path / "sets" / "pantry")
    (tmp_path / "systems.yaml").write_text("systems: [{name: words, legs: [bm25]}]")
    for name in ("kitchen", "pantry"):
        (tmp_path / f"{name}.trec").write_text("q1 Q0 cake 1 2.0 t\nq2 Q0 tcp 1 1.0 t\n")
    command = [
        *("--dataset", f"{folder},pantry", "--data-dir", other.parent, "--output", tmp_path / "out"),
        *("--systems-file", tmp_path / "systems.yaml", "--run", f"theirs={tmp_path}/{{dataset}}.trec"),
        *("--measures", "RR@1", "--baseline", "theirs"),
    ]

    done = run_beir(*command)

    assert done.returncode == 0, done.stderr
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    assert list(results["datasets"]) == ["kitchen", "pantry"]
    assert results["mean"]["theirs"]["measures"] == {"RR@1": 0.25}
    assert results["mean"].keys() == {"words", "theirs"}
    assert results["baseline"] == "theirs"
    assert "mean of 2 datasets" in done.stdout
    assert {path.name for path in (tmp_path / "out" / "runs" / "pantry").iterdir()} == {"words.trec", "theirs.trec"}


def test_one_collection_of_somebodys_is_searched_and_never_replaced(folder, tmp_path, run_beir):
    arguments = ("--dataset", folder, "--systems", "bm25", "--index", tmp_path / "index")
    assert cli(["index", str(folder), "--to", str(tmp_path / "index"), "--no-dense", "--quiet"]) == 0
    built = run_beir(*arguments, "--output", tmp_path / "out")
    used = run_beir(*arguments, "--output", tmp_path / "other")
    (tmp_path / "index" / "manifest.json").unlink()
    refused = run_beir(*arguments, "--output", tmp_path / "third")

    assert (built.returncode, used.returncode, refused.returncode) == (0, 0, 1), built.stderr + used.stderr
    assert "using the collection in" in built.stderr
    assert "using the collection in" in used.stderr
    assert "exists and is not a collection" in refused.stderr
    row = json.loads((tmp_path / "other" / "results.json").read_text())["datasets"]["kitchen"]["systems"]["bm25"]
    assert row["cost"]["build_s"] is None


def test_other_judgements_take_the_place_of_the_sets_own(folder, tmp_path, run_beir):
    (tmp_path / "mine.qrels").write_text("q1 0 tcp 1\n")
    done = run_beir(
        *("--dataset", folder, "--output", tmp_path / "out", "--systems", "bm25"),
        *("--qrels", tmp_path / "mine.qrels", "--measures", "R@8"),
    )

    assert done.returncode == 0, done.stderr
    kitchen = json.loads((tmp_path / "out" / "results.json").read_text())["datasets"]["kitchen"]
    assert (kitchen["queries"], kitchen["systems"]["bm25"]["measures"]) == (1, {"R@8": 0.0})


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--systems", "bm25,splade"], "unknown system 'splade'"),
        (["--split", "dev"], "test"),
        (["--k", "0"], "--k must be at least 1"),
        (["--systems", "sparse"], "none of the systems can be run: no sparse model was given"),
        (["--dense", "no/such-model"], "no/such-model"),
        (["--dataset", "no-such-set"], "no-such-set"),
        (["--systems-file", "no-such-file.yaml"], "no-such-file.yaml cannot be read"),
        (["--run", "theirs"], "--run takes NAME=FILE"),
        (["--run", "a=missing.trec", "--systems", "none"], "missing.trec does not exist"),
        (["--dataset", "a,b", "--index", "i", "--systems", "bm25"], "index (--index) is one collection"),
        (["--systems", "none"], "none of the systems can be run: none was asked for"),
    ],
)
def test_wrong_arguments_are_explained(folder, tmp_path, run_beir, arguments, says):
    done = run_beir("--dataset", folder, "--output", tmp_path / "out", *arguments)
    assert done.returncode == 1
    assert says in done.stderr
    assert "Traceback" not in done.stderr


def test_an_id_that_no_run_file_can_hold_costs_the_run_file_only(tmp_path, run_beir):
    (tmp_path / "set" / "qrels").mkdir(parents=True)
    write_lines(tmp_path / "set" / "corpus.jsonl", [{"_id": "a b", "text": "bread"}, {"_id": "c", "text": "cake"}])
    write_lines(tmp_path / "set" / "queries.jsonl", [{"_id": "q", "text": "bread"}])
    (tmp_path / "set" / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\nq\ta b\t1\n")
    done = run_beir("--dataset", tmp_path / "set", "--output", tmp_path / "out", "--systems", "bm25")
    assert done.returncode == 0, done.stderr
    assert "runs/set/bm25.trec is not written: the doc_id 'a b' contains white space" in done.stderr
    assert (
        json.loads((tmp_path / "out" / "results.json").read_text())["datasets"]["set"]["systems"]["bm25"]["measures"][
            "nDCG@10"
        ]
        == 1.0
    )


def test_hits_on_oneself_are_left_out():
    run = {"a": {"a": 3.0, "b": 2.0}, "b": {"a": 1.0}}
    kept = without_self_hits(Hits.from_run(run, ["a", "b"]), ["a", "b"])
    assert kept.to_run(["a", "b"]) == {"a": {"b": 2.0}, "b": {"a": 1.0}}
