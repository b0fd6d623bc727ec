"""``retrieve evaluate`` on a collection with its own judged queries."""

import json
from dataclasses import replace

import pytest

from pipelines.build.job import build_collection
from pipelines.cli import main

QRELS = "q1\tcake\t2\nq1\tbread\t1\nq2\tudp\t1\nq3\tgone\t1\n"


@pytest.fixture(scope="module")
def collection(tmp_path_factory, corpus, minilm):
    path = tmp_path_factory.mktemp("evaluate") / "kitchen"
    build_collection(corpus, path, dense=minilm, show_progress=False)
    return path


@pytest.fixture(scope="module")
def judged(tmp_path_factory):
    folder = tmp_path_factory.mktemp("judged")
    texts = {"q1": "oven recipe", "q2": "lost packets", "q3": "eigenvalues", "not judged": "x"}
    lines = [json.dumps({"_id": query_id, "text": text}) for query_id, text in texts.items()]
    (folder / "queries.jsonl").write_text("\n".join(lines))
    (folder / "mine.tsv").write_text(QRELS)
    return ["--queries", str(folder / "queries.jsonl"), "--qrels", str(folder / "mine.tsv"), "--no-timing"]


def test_every_leg_and_their_fusion_are_scored(collection, judged, tmp_path, capsys):
    assert main(["evaluate", str(collection), *judged, "--output", str(tmp_path / "out")]) == 0

    printed = capsys.readouterr()
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    entry = results["datasets"]["kitchen"]
    assert list(entry["systems"]) == ["bm25", "dense", "hybrid"]
    assert (entry["split"], entry["documents"], entry["queries"]) == ("mine", 8, 3)
    assert entry["checks"] == {"missing_judged": 1, "shared_ids": 0, "unknown_queries": 0}
    assert "1 judged documents are not in the collection" in printed.err
    assert f"{entry['systems']['dense']['measures']['nDCG@10']:.4f}" in printed.out
    assert (tmp_path / "out" / "runs" / "kitchen" / "hybrid.trec").is_file()
    assert "oven recipe" in (tmp_path / "out" / "report.html").read_text()
    assert "significance" in entry["systems"]["hybrid"]


def test_what_was_done_is_not_done_again_until_the_collection_changes(tmp_path, corpus, judged, capsys):
    path, output = tmp_path / "kitchen", str(tmp_path / "out")
    command = ["evaluate", str(path), *judged, "--output", output, "--measures", "R@1"]

    def scored():
        assert main(command) == 0
        results = json.loads((tmp_path / "out" / "results.json").read_text())
        return "done before" in capsys.readouterr().err, results["mean"]["bm25"]["measures"]["R@1"]

    build_collection(corpus, path, show_progress=False)
    assert [scored(), scored()] == [(False, pytest.approx(1.5 / 3)), (True, pytest.approx(1.5 / 3))]

    shuffled = [replace(d, doc_id=other.doc_id) for d, other in zip(corpus, corpus[1:] + corpus[:1], strict=True)]
    build_collection(shuffled, path, overwrite=True, show_progress=False)
    assert scored() == (False, 0.0)


def test_without_an_output_nothing_is_kept(collection, judged, capsys):
    before = sorted(collection.parent.rglob("*"))

    assert main(["evaluate", str(collection), *judged, "--systems", "bm25"]) == 0

    assert "bm25" in capsys.readouterr().out
    assert sorted(collection.parent.rglob("*")) == before


def test_a_reranker_and_systems_of_a_file_join_in(collection, judged, tmp_path):
    (tmp_path / "more.yaml").write_text("systems: [{name: rrf, legs: [bm25, dense], fusion: {method: rrf}}]")
    arguments = [
        str(collection),
        *judged,
        "--output",
        str(tmp_path / "out"),
        "--systems-file",
        str(tmp_path / "more.yaml"),
    ]

    assert main(["evaluate", *arguments, "--systems", "hybrid+rerank", "--candidates", "3"]) == 0

    systems = json.loads((tmp_path / "out" / "results.json").read_text())["datasets"]["kitchen"]["systems"]
    assert list(systems) == ["hybrid+rerank", "rrf"]
    assert systems["hybrid+rerank"]["configuration"]["reranker"] == {"model": "late-interaction", "candidates": 3}


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--systems", "sparse"], "unknown system 'sparse': there are bm25, dense, hybrid, hybrid+rerank"),
        (["--baseline", "x"], "the baseline 'x' is none of the systems"),
        (["--qrels", "missing.tsv"], "missing.tsv does not exist"),
        (["--dense", "no/such-model"], "no/such-model"),
    ],
)
def test_what_is_wrong_is_said_in_a_line(collection, judged, capsys, arguments, says):
    assert main(["evaluate", str(collection), *judged, *arguments]) == 1
    assert says in capsys.readouterr().err
