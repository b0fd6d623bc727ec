"""Every job on a collection whose dense leg is an embedded Qdrant, which one process can open only once."""

import json
import shutil

import pytest

from checkpoints import write_bert
from corpus_files import write_lines
from pipelines.cli import main

WORDS = ["ash", "birch", "cedar", "elm", "fir", "larch", "maple", "oak", "pine", "rowan", "spruce", "willow"]


@pytest.fixture(scope="module")
def collection(tmp_path_factory):
    """A collection of trees, queries for each, and pairs of a query and its document's text."""
    folder = tmp_path_factory.mktemp("embedded")
    names = [f"{word} {number}" for number in range(3) for word in WORDS]
    documents = [{"_id": f"d{at}", "text": f"the {name} is a tree"} for at, name in enumerate(names)]
    corpus = str(write_lines(folder / "corpus.jsonl", documents))
    write_lines(folder / "queries.jsonl", [{"_id": f"q{at}", "text": name} for at, name in enumerate(names)])
    write_lines(
        folder / "pairs.jsonl",
        [{"query": name, "positive": row["text"]} for name, row in zip(names, documents, strict=True)],
    )
    (folder / "qrels.tsv").write_text(
        "query-id\tcorpus-id\tscore\n" + "".join(f"q{at}\td{at}\t1\n" for at in range(len(names)))
    )
    dense = write_bert(folder / "bert")
    build = [
        "index",
        corpus,
        "--to",
        str(folder / "c"),
        "--dense",
        str(dense),
        "--dense-backend",
        "qdrant",
        "--quiet",
    ]
    assert main(build) == 0
    return folder


@pytest.fixture
def directory(collection):
    return str(collection / "c")


@pytest.fixture
def judged(collection):
    return ["--queries", str(collection / "queries.jsonl"), "--qrels", str(collection / "qrels.tsv")]


def test_negatives_are_mined(directory, judged, tmp_path, capsys):
    assert main(["mine", directory, *judged, "--output", str(tmp_path / "mined"), "--quiet"]) == 0
    assert "36 rows for 36 queries" in capsys.readouterr().out


def test_a_reranker_is_trained(collection, directory, tmp_path, capsys):
    command = ["train", "reranker", "--collection", directory, "--pairs", str(collection / "pairs.jsonl")]
    command += ["--model", str(collection / "bert"), "--output", str(tmp_path / "out"), "--held-out", "12"]
    assert main([*command, "--max-steps", "1", "--batch-size", "2", "--candidates", "5"]) == 0
    assert "on 12 held-out queries" in capsys.readouterr().out


def test_the_fusion_is_tuned(directory, judged, capsys):
    assert main(["tune", directory, *judged, "--depths", "5", "--quiet", "--json", "--dry-run"]) == 0
    assert json.loads(capsys.readouterr().out)["legs"].keys() == {"bm25", "dense"}


def test_systems_are_scored(directory, judged, tmp_path, capsys):
    out = str(tmp_path / "out")
    command = ["evaluate", directory, *judged, "--reranker", "late-interaction", "--limit-queries", "8"]
    assert main([*command, "--output", out, "--no-report"]) == 0
    found = json.loads((tmp_path / "out" / "results.json").read_text())["datasets"]["c"]["systems"]
    assert list(found) == ["bm25", "dense", "hybrid", "hybrid+rerank"]


def test_a_leg_that_searches_leave_out_is_mined_too(collection, judged, tmp_path):
    copy = shutil.copytree(collection / "c", tmp_path / "c")
    (copy / "search.yaml").write_text("legs: [bm25]\n")
    assert main(["mine", str(copy), *judged, "--output", str(tmp_path / "mined"), "--quiet"]) == 0
