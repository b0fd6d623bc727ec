"""The harness: legs searched once, runs as a pipeline would give them, tables and report that say what the runs say."""

import csv
import json
from functools import partial

import pytest

from benching import QRELS, QUERIES, SETTINGS, bench, system
from indexing.errors import InputError
from indexing.runs import read_trec_run, write_trec_run
from pipelines.evaluation.datasets import load_evaluation_set
from pipelines.evaluation.legs import encoder_of
from pipelines.evaluation.task import Settings
from pipelines.measures.evaluate import evaluate
from pipelines.search import SearchPipeline
from retrieve.fusion import weighted_sum


def test_each_systems_run_is_what_a_pipeline_over_one_collection_answers(folder, legs, models, done, tmp_path):
    from pipelines.build.job import build_collection

    output, _, _ = done
    dataset = load_evaluation_set(folder)
    dense, sparse = encoder_of(legs["dense"], models), encoder_of(legs["sparse"], models)
    build_collection(dataset.corpus, tmp_path / "one", dense=dense, sparse=sparse, show_progress=False)
    opened = partial(SearchPipeline.open, tmp_path / "one", dense=dense, sparse=sparse, depth=6)
    pipelines = {
        "words": opened(legs=["bm25"]),
        "sum": opened(legs=["bm25", "dense", "sparse"], fusion=partial(weighted_sum, weights=[1, 2, 0.5])),
        "shallow": opened(legs=["bm25", "dense"], depth=2),
        "reranked": opened(legs=["bm25", "dense"], reranker="late-interaction", candidates=4),
    }
    for name, pipeline in pipelines.items():
        with pipeline:
            expected = pipeline.retrieve(list(dataset.queries.values()), 6)
        write_trec_run(tmp_path / "expected.trec", expected, list(dataset.queries), tag=name)
        assert (output / "runs" / "kitchen" / f"{name}.trec").read_bytes() == (tmp_path / "expected.trec").read_bytes()


def test_two_models_of_one_kind_stand_side_by_side(done):
    output, _, _ = done
    run = read_trec_run(output / "runs" / "kitchen" / "two-models.trec")
    assert 1 / 11 <= max(run["q1"].values()) <= 2 / 11  # the constant is the file's 10, not 60
    builds = {path.name for path in (output / "index" / "kitchen").iterdir() if path.is_dir()}
    assert builds == {"bm25", "dense", "other", "graph", "sparse"}


def test_each_leg_is_searched_once(done):
    output, _, said = done
    kept = sorted(path.name for path in (output / "state" / "kitchen" / "legs").glob("*.json"))
    assert kept == ["bm25.json", "dense.json", "graph@6.json", "other.json", "sparse.json"]
    assert sum("documents\n" in line for line in said) == 5


def test_the_results_say_what_the_run_files_say(done):
    output, results, _ = done
    assert json.loads((output / "results.json").read_text()) == results
    assert (results["format"], results["baseline"]) == (2, "words")
    kitchen = results["datasets"]["kitchen"]
    assert (kitchen["documents"], kitchen["queries"], kitchen["self_hits_dropped"]) == (8, 4, False)
    assert kitchen["checks"]["shared_ids"] == 1
    for name, row in kitchen["systems"].items():
        scores = evaluate(read_trec_run(output / row["run"]), QRELS, SETTINGS.measures)
        assert row["measures"] == pytest.approx(scores.means)
        values = json.loads((output / row["per_query"]).read_text())
        assert values["query_ids"] == list(QRELS)
        assert values["measures"]["nDCG@5"] == pytest.approx(scores.per_query["nDCG@5"].tolist())
        assert row["cost"]["index_bytes"] > 0
        assert row["cost"]["build_s"] > 0
        assert results["mean"][name]["measures"] == row["measures"]
    reranked = kitchen["systems"]["reranked"]
    assert all(reranked["ceiling"][name] >= reranked["measures"][name] for name in SETTINGS.measures)
    assert "ceiling" not in kitchen["systems"]["sum"]
    legs = kitchen["systems"]
    assert reranked["cost"]["index_bytes"] == sum(legs[name]["cost"]["index_bytes"] for name in ("words", "meaning"))


def test_each_system_is_compared_with_the_baseline_query_by_query(done):
    _, results, _ = done
    rows = results["datasets"]["kitchen"]["systems"]
    assert "significance" not in rows["words"]
    for name in rows.keys() - {"words"}:
        for measure, compared in rows[name]["significance"].items():
            assert compared["baseline"] == "words"
            assert compared["difference"] == pytest.approx(
                rows[name]["measures"][measure] - rows["words"]["measures"][measure]
            )
            assert compared["wins"] + compared["ties"] + compared["losses"] == 4
            assert compared["p_fisher"] <= compared["p_holm"] <= 1


def test_the_report_shows_what_the_table_says_with_the_texts(done):
    output, results, _ = done
    page = (output / "report.html").read_text()
    for row in results["datasets"]["kitchen"]["systems"].values():
        assert f"{row['measures']['nDCG@5']:.4f}" in page
    assert QUERIES["q2"] in page
    assert "Datagrams without a connection" in page


def test_the_tables_hold_the_same_figures(done):
    output, results, _ = done
    with (output / "results.csv").open() as file:
        rows = {row["system"]: row for row in csv.DictReader(file)}
    markdown = (output / "results.md").read_text()
    for name, row in results["datasets"]["kitchen"]["systems"].items():
        assert float(rows[name]["nDCG@5"]) == row["measures"]["nDCG@5"]
        assert f"| {name} | {row['measures']['nDCG@5']:.4f} |" in markdown
    assert rows["words"]["ceiling nDCG@5"] == ""
    mteb = json.loads((output / "mteb" / "words" / "kitchen.json").read_text())
    assert mteb["scores"]["test"][0]["ndcg_at_5"] == round(float(rows["words"]["nDCG@5"]), 5)


def test_anothers_run_stands_beside_ours_as_trec_eval_reads_it(folder, legs, models, tmp_path):
    run = {"q1": {"cake": 1.0, "bread": 1.0, "tcp": 1.0}, "q2": {"udp": 0.5}}
    lines = [f"{query} Q0 {doc} 0 {score} theirs" for query, found in run.items() for doc, score in found.items()]
    (tmp_path / "kitchen.trec").write_text("\n".join(lines) + "\n")

    results, said = bench(
        folder,
        legs,
        models,
        tmp_path / "out",
        system("words", "bm25"),
        imported={"theirs": str(tmp_path / "{dataset}.trec")},
    )

    row = results["datasets"]["kitchen"]["systems"]["theirs"]
    assert "oven recipe" in (tmp_path / "out" / "report.html").read_text()
    assert row["measures"] == evaluate(run, QRELS, SETTINGS.measures).means
    assert (row["cost"], row["imported"]) == ({}, "kitchen.trec")
    assert any("lacks 2 of the queries" in line for line in said)


def test_a_run_of_other_queries_is_refused(folder, legs, models, tmp_path):
    (tmp_path / "other.trec").write_text("x Q0 d 1 1.0 t\n")

    with pytest.raises(InputError, match="answers none of the 4 queries of kitchen"):
        bench(folder, legs, models, tmp_path / "out", imported={"theirs": str(tmp_path / "other.trec")})


def test_searches_are_timed_and_memory_watched(folder, legs, models, tmp_path):
    timed = Settings(k=3, measures=("RR@3",), show_progress=False)

    results, _ = bench(folder, legs, models, tmp_path, system("sum", "bm25", "dense"), settings=timed)

    cost = results["datasets"]["kitchen"]["systems"]["sum"]["cost"]
    assert 0 < cost["p50_ms"] <= cost["p95_ms"] <= cost["p99_ms"]
    assert cost["query_s"] > 0
    assert cost["peak_mb"] is None or cost["peak_mb"] > 50


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"baseline": "nobody"}, "the baseline 'nobody' is none of the systems: words"),
        ({"settings": Settings(measures=("nDCK@10",))}, "nDCK"),
        ({"settings": Settings(measures=())}, "there is no measure"),
        ({"imported": {"words": "x"}}, "two systems are called 'words'"),
    ],
)
def test_what_cannot_be_scored_is_refused_before_any_work(folder, legs, models, tmp_path, options, says):
    with pytest.raises(InputError, match=says):
        bench(folder, legs, models, tmp_path / "out", system("words", "bm25"), **options)
    assert not (tmp_path / "out").exists()
