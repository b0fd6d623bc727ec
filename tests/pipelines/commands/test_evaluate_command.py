"""``retrieve evaluate`` on a collection with its own judged queries."""

import json
from dataclasses import replace

import pytest

from pipelines.build.job import build_collection
from pipelines.cli import main
from pipelines.evaluation.legs import CollectionLegs
from pipelines.evaluation.systems import LegSpec
from pipelines.models import Models
from pipelines.search import SearchPipeline

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
    assert "1 judged document is not in the collection" in printed.err
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


def test_the_system_of_search_yaml_is_scored_as_a_search_runs_it(tmp_path, corpus, minilm, judged, capsys):
    path, output = tmp_path / "kitchen", tmp_path / "out"
    build_collection(corpus, path, dense=minilm, show_progress=False)
    settings = {"legs": ["dense", "bm25"], "fusion": {"method": "rrf", "weights": [1, 3]}, "depth": 4}
    settings |= {"reranker": {"model": "late-interaction", "candidates": 5, "weight": 0.25}}
    (path / "search.yaml").write_text(json.dumps(settings))
    (tmp_path / "fast.yaml").write_text("legs: [bm25]")
    command = ["evaluate", str(path), *judged, "--output", str(output)]

    assert main([*command, "--config", str(tmp_path / "fast.yaml")]) == 0

    systems = json.loads((output / "results.json").read_text())["datasets"]["kitchen"]["systems"]
    assert list(systems) == ["bm25", "dense", "hybrid", "configured", "fast"]
    with SearchPipeline.open(path) as pipeline:
        hits = pipeline.retrieve(["oven recipe"], 8)[0]
    found = [line.split() for line in (output / "runs" / "kitchen" / "configured.trec").read_text().splitlines()]
    assert [doc_id for query_id, _, doc_id, *_ in found if query_id == "q1"] == hits.doc_ids
    assert systems["fast"]["measures"] == systems["bm25"]["measures"]
    capsys.readouterr()
    assert main([*command, "--systems", "bm25,configured"]) == 0
    assert "configured" in (table := capsys.readouterr().out) and "hybrid" not in table
    (tmp_path / "other.yaml").write_text("legs: {dense: {encoder: some/model}}")
    assert main([*command, "--config", str(tmp_path / "other.yaml")]) == 1
    assert "the leg 'dense' has another encoder or dtype than search.yaml" in capsys.readouterr().err


OPERATORS = {"q1": "+oven recipe -bread", "q2": '"lost packets"^2 matrix', "q3": "range values"}


@pytest.mark.parametrize("own", [True, False], ids=["search.yaml", "--config"])
def test_operators_synonyms_and_feedback_are_scored_as_a_search_runs_them(tmp_path, corpus, minilm, own, capsys):
    path, output = tmp_path / "kitchen", tmp_path / "out"
    build_collection(corpus, path, dense=minilm, bm25_parameters={"positions": True}, show_progress=False)
    (path / "same.txt").write_text("range => oven\n")
    settings = {"query_syntax": "simple", "synonyms": "same.txt", "depth": 50}
    settings |= {"legs": {"bm25": {"feedback": "rm3"}, "dense": {"feedback": "vector"}}}
    settings |= {"fusion": {"method": "weighted-sum", "missing": "score"}, "reranker": "late-interaction"}
    file = path / "search.yaml" if own else tmp_path / "configured.yaml"
    file.write_text(json.dumps(settings))
    texts = "".join(json.dumps({"_id": query_id, "text": text}) + "\n" for query_id, text in OPERATORS.items())
    (tmp_path / "q.jsonl").write_text(texts)
    (tmp_path / "qrels.tsv").write_text("q1\tcake\t2\nq2\tudp\t1\nq3\tcake\t1\n")
    judged = ["--queries", str(tmp_path / "q.jsonl"), "--qrels", str(tmp_path / "qrels.tsv"), "--k", "8"]
    command = ["evaluate", str(path), *judged, "--output", str(output), "--systems", "bm25,configured,hybrid"]
    if not own:
        command = [*command[:-1], "bm25,hybrid", "--config", str(file)]

    assert main(command) == 0

    run = (output / "runs" / "kitchen" / "configured.trec").read_text().splitlines()
    found = {query_id: [line.split()[2] for line in run if line.split()[0] == query_id] for query_id in OPERATORS}
    with SearchPipeline.open(path, config=file) as pipeline:
        hits = pipeline.batch_search(OPERATORS, 8)
        assert found == {query_id: [hit.doc_id for hit in hits[query_id]] for query_id in OPERATORS}
    words = (output / "runs" / "kitchen" / "bm25.trec").read_text()
    assert ("q3 Q0 cake" in words) == own
    capsys.readouterr()
    assert main(command) == 0
    assert capsys.readouterr().err.count("done before") == 3


def test_a_systems_file_may_turn_feedback_on(collection, judged, tmp_path):
    legs = "{bm25: {feedback: {method: rocchio, documents: 2}}, dense: {}}"
    (tmp_path / "more.yaml").write_text(f"systems: [{{name: improved, legs: {legs}, depth: 8}}]")
    command = ["evaluate", str(collection), *judged, "--output", str(tmp_path / "out"), "--systems", "hybrid"]

    assert main([*command, "--systems-file", str(tmp_path / "more.yaml"), "--k", "8"]) == 0

    run = (tmp_path / "out" / "runs" / "kitchen" / "improved.trec").read_text().splitlines()
    found = [(line.split()[2], float(line.split()[4])) for line in run if line.startswith("q1 ")]
    config = {"legs": {"bm25": {"feedback": {"method": "rocchio", "documents": 2}}, "dense": {}}, "depth": 8}
    with SearchPipeline.open(collection, config=config) as pipeline:
        hits = pipeline.retrieve(["oven recipe"], 8)[0]
    assert [doc_id for doc_id, _ in found] == hits.doc_ids
    assert [score for _, score in found] == pytest.approx(hits.scores.tolist(), rel=1e-5)


def test_a_collection_without_search_yaml_has_no_configured_system(collection, judged, capsys):
    assert main(["evaluate", str(collection), *judged, "--systems", "configured"]) == 1
    assert "has no search.yaml, so there is no system 'configured'" in capsys.readouterr().err


def test_a_fusion_that_scores_missing_candidates_scores_them_in_evaluation_too(collection, judged, tmp_path):
    fusion = {"method": "weighted-sum", "missing": "score"}
    settings = {"legs": ["bm25", "dense"], "fusion": fusion, "depth": 1}
    (tmp_path / "scored.yaml").write_text(json.dumps(settings))
    command = ["evaluate", str(collection), *judged, "--output", str(tmp_path / "out"), "--systems", "none", "--k", "2"]

    assert main([*command, "--config", str(tmp_path / "scored.yaml")]) == 0

    with SearchPipeline.open(collection, config=settings) as pipeline:
        hits = pipeline.retrieve(["oven recipe"], 2)[0]
    run = (tmp_path / "out" / "runs" / "kitchen" / "scored.trec").read_text().splitlines()
    found = [line.split() for line in run if line.startswith("q1 ")]
    assert [line[2] for line in found] == hits.doc_ids
    assert [float(line[4]) for line in found] == pytest.approx(hits.scores.tolist(), rel=1e-5)


def test_only_a_search_that_compares_everything_counts_as_exact(tmp_path, corpus, minilm):
    build_collection(corpus, tmp_path / "c", dense=minilm, dense_index="qdrant", show_progress=False)
    build_collection(corpus, tmp_path / "f", dense=minilm, dense_index="hnsw", show_progress=False)
    build_collection(corpus, tmp_path / "e", dense=minilm, show_progress=False)
    exact = {}
    for name in "cfe":
        with CollectionLegs(tmp_path / name, Models()) as legs:
            exact[name] = {leg: legs.open(LegSpec(leg, leg)).exact for leg in ("bm25", "dense")}
    assert [exact[name]["dense"] for name in "cfe"] == [False, False, True]
    assert all(exact[name]["bm25"] for name in "cfe")


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


@pytest.mark.parametrize("name", ["../outside", "a/b", ".hidden", "/tmp/outside", "a\\b", "a\udcff"])
def test_a_name_that_leads_elsewhere_is_refused_before_any_work(judged, tmp_path, capsys, name):
    """The name is a part of paths below the output folder; `../x` wrote beside it."""
    out = tmp_path / "a" / "out"
    assert main(["evaluate", str(tmp_path / "gone"), *judged, "--output", str(out), "--name", name]) == 1

    assert f"collection {name!r}: its name is a file's name too" in capsys.readouterr().err
    assert not (tmp_path / "a").exists()


def test_a_malformed_run_is_refused_before_any_work(judged, tmp_path, capsys):
    """It ended the job after all the scoring, without a report."""
    run = tmp_path / "theirs.trec"
    run.write_text("q1 Q0 cake one\n")

    assert main(["evaluate", str(tmp_path / "gone"), *judged, "--run", f"theirs={run}"]) == 1

    assert str(run) in capsys.readouterr().err
