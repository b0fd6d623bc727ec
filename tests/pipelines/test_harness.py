"""The harness: legs searched once, runs as a pipeline would give them, nothing done twice, the same bytes each time."""

import csv
import json
from dataclasses import replace
from functools import partial

import pytest

from checkpoints import write_bert
from indexing.errors import InputError
from indexing.runs import read_trec_run, write_trec_run
from pipelines.evaluation.datasets import CQADUPSTACK_PARTS, load_evaluation_set
from pipelines.evaluation.harness import drops_self_hits, means, run_benchmark
from pipelines.evaluation.legs import Models
from pipelines.evaluation.scores import evaluate
from pipelines.evaluation.systems import LegSpec, Plan, SystemSpec
from pipelines.evaluation.task import Settings
from pipelines.search import SearchPipeline
from retrieve.fusion import weighted_sum

QUERIES = {"q1": "oven recipe", "q2": "lost packets", "q3": "eigenvalues of a matrix", "udp": "User datagram protocol"}
QRELS = {"q1": {"cake": 2, "bread": 1}, "q2": {"udp": 1}, "q3": {"eig": 1, "svd": 1}, "udp": {"tcp": 1}}
SETTINGS = Settings(k=6, measures=("nDCG@5", "R@5"), timing=False, show_progress=False)


@pytest.fixture(scope="module")
def folder(tmp_path_factory, corpus):
    folder = tmp_path_factory.mktemp("sets") / "kitchen"
    (folder / "qrels").mkdir(parents=True)
    write_lines(folder / "corpus.jsonl", [{"_id": d.doc_id, "title": d.title, "text": d.text} for d in corpus])
    write_lines(folder / "queries.jsonl", [{"_id": query_id, "text": text} for query_id, text in QUERIES.items()])
    rows = [f"{query_id}\t{doc_id}\t{grade}" for query_id, found in QRELS.items() for doc_id, grade in found.items()]
    (folder / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\n" + "\n".join(rows) + "\n")
    return folder


@pytest.fixture(scope="module")
def legs(tmp_path_factory, tiny_splade):
    dense = str(write_bert(tmp_path_factory.mktemp("dense") / "model"))
    return {
        "bm25": LegSpec("bm25", "bm25"),
        "dense": LegSpec("dense", "dense", dense, "float32"),
        "other": LegSpec(
            "other", "dense", str(write_bert(tmp_path_factory.mktemp("other") / "model", seed=1)), "float32"
        ),
        "graph": LegSpec("graph", "dense", dense, "float32", "hnsw"),
        "sparse": LegSpec("sparse", "sparse", tiny_splade.identity["name"], "float32"),
    }


@pytest.fixture(scope="module")
def models():
    return Models(dtype="float32")


def write_lines(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")


def system(name, *used, **options):
    return SystemSpec(name, used, **options)


def bench(folder, legs, models, output, *systems, settings=SETTINGS, **options):
    said = []
    results = run_benchmark(
        [partial(load_evaluation_set, folder, check_corpus=False)],
        Plan(legs, systems),
        output,
        models=models,
        settings=settings,
        say=said.append,
        **options,
    )
    return results, said


ALL = (
    system("words", "bm25"),
    system("meaning", "dense"),
    system("learned", "sparse"),
    system("near", "graph"),
    system("sum", "bm25", "dense", "sparse", weights=(1.0, 2.0, 0.5)),
    system("two-models", "dense", "other", fusion="rrf", rrf_k=10.0),
    system("reranked", "bm25", "dense", reranker="late-interaction", candidates=4),
)


@pytest.fixture(scope="module")
def done(folder, legs, models, tmp_path_factory):
    output = tmp_path_factory.mktemp("done")
    results, said = bench(folder, legs, models, output, *ALL)
    return output, results, said


def test_each_systems_run_is_what_a_pipeline_over_one_collection_answers(folder, legs, models, done, tmp_path):
    from pipelines.build import build_collection

    output, _, _ = done
    dataset = load_evaluation_set(folder)
    dense, sparse = models.encoder(legs["dense"]), models.encoder(legs["sparse"])
    build_collection(dataset.corpus, tmp_path / "one", dense=dense, sparse=sparse, show_progress=False)
    opened = partial(SearchPipeline.open, tmp_path / "one", dense=dense, sparse=sparse, depth=6)
    pipelines = {
        "words": opened(legs=["bm25"]),
        "sum": opened(legs=["bm25", "dense", "sparse"], fusion=partial(weighted_sum, weights=[1, 2, 0.5])),
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


def test_a_second_call_does_nothing_again_and_leaves_the_same_bytes(folder, legs, models, done):
    output, first, _ = done
    before = bytes_below(output, "runs", "per_query", "mteb")

    second, said = bench(folder, legs, models, output, *ALL)

    assert [line for line in said if "done before" in line] == [f"kitchen: {each.name}: done before" for each in ALL]
    assert not any("documents\n" in line or "4 queries" in line for line in said)
    assert bytes_below(output, "runs", "per_query", "mteb") == before
    assert second["datasets"] == first["datasets"]


def test_another_folder_gets_the_same_bytes(folder, legs, done, tmp_path):
    output, _, _ = done
    chosen = [each for each in ALL if each.name in ("words", "sum", "reranked")]

    bench(folder, legs, Models(dtype="float32"), tmp_path, *chosen)

    before = bytes_below(output, "runs", "per_query", "mteb")
    assert bytes_below(tmp_path, "runs", "per_query", "mteb").items() <= before.items()


def test_an_interrupted_run_goes_on_where_it_was(folder, legs, models, tmp_path):
    def stop(line):
        if line.startswith("kitchen: sum"):
            raise KeyboardInterrupt

    systems = (system("words", "bm25"), system("meaning", "dense"), system("sum", "bm25", "dense"))
    load = partial(load_evaluation_set, folder, check_corpus=False)
    with pytest.raises(KeyboardInterrupt):
        run_benchmark([load], Plan(legs, systems), tmp_path, models=models, settings=SETTINGS, say=stop)
    assert not (tmp_path / "results.json").exists()

    results, said = bench(folder, legs, models, tmp_path, *systems)

    assert [line for line in said if line.startswith("kitchen: ") and "both" not in line] == [
        "kitchen: words: done before",
        "kitchen: meaning: done before",
        "kitchen: sum: 4 queries",
    ]
    assert list(results["datasets"]["kitchen"]["systems"]) == ["words", "meaning", "sum"]


def test_only_what_changed_is_done_again(folder, legs, models, tmp_path):
    bench(folder, legs, models, tmp_path, system("words", "bm25"), system("sum", "bm25", "dense"))

    _, said = bench(
        folder, legs, models, tmp_path, system("words", "bm25"), system("sum", "bm25", "dense", fusion="rrf")
    )

    assert "kitchen: words: done before" in said
    assert "kitchen: sum: 4 queries" in said
    assert not any("documents\n" in line for line in said)


def test_candidates_of_an_interrupted_call_are_not_taken_for_those_of_another(folder, legs, models, tmp_path):
    few = system("a", "bm25", "dense", reranker="late-interaction", candidates=2)
    first, _ = bench(folder, legs, models, tmp_path, few)
    answer = tmp_path / "state" / "kitchen" / "systems" / "a.json"
    before = answer.read_bytes(), answer.with_suffix(".npz").read_bytes()
    bench(folder, legs, models, tmp_path, replace(few, candidates=5))
    # As if that call had been stopped between keeping its candidates and keeping its answer.
    answer.write_bytes(before[0])
    answer.with_suffix(".npz").write_bytes(before[1])

    again, said = bench(folder, legs, models, tmp_path, few)

    ceilings = [found["datasets"]["kitchen"]["systems"]["a"]["ceiling"] for found in (first, again)]
    assert ceilings[0] == ceilings[1]
    assert "kitchen: a: 4 queries" in said


def test_other_measures_need_no_search(folder, legs, models, tmp_path):
    bench(folder, legs, models, tmp_path, system("words", "bm25"))

    more = Settings(k=6, measures=("P@1",), timing=False, show_progress=False)
    results, said = bench(folder, legs, models, tmp_path, system("words", "bm25"), settings=more)

    assert "kitchen: words: done before" in said
    assert set(results["datasets"]["kitchen"]["systems"]["words"]["measures"]) == {"P@1"}


def test_a_damaged_file_is_made_again(folder, legs, models, tmp_path):
    first, _ = bench(folder, legs, models, tmp_path, system("words", "bm25"))
    (tmp_path / "state" / "kitchen" / "systems" / "words.npz").write_bytes(b"PK\x03\x04 torn")
    (tmp_path / "state" / "kitchen" / "legs" / "bm25.json").write_text("{")

    second, said = bench(folder, legs, models, tmp_path, system("words", "bm25"))

    assert "kitchen: words: 4 queries" in said
    measures = [found["datasets"]["kitchen"]["systems"]["words"]["measures"] for found in (first, second)]
    assert measures[0] == measures[1]


def test_runs_of_an_earlier_call_do_not_stay_beside_results_that_lack_them(folder, legs, models, tmp_path):
    bench(folder, legs, models, tmp_path, system("words", "bm25"), system("meaning", "dense"))
    runs = tmp_path / "runs" / "kitchen"
    (runs / "somebodys.trec").write_text("a file that no results speak of")
    bench(folder, legs, models, tmp_path, system("words", "bm25"))
    assert {path.name for path in runs.iterdir()} == {"words.trec", "somebodys.trec"}

    theirs = {"theirs": str(runs / "words.trec")}
    bench(folder, legs, models, tmp_path, imported=theirs)
    assert {path.name for path in runs.iterdir()} == {"theirs.trec", "words.trec", "somebodys.trec"}


def test_a_corpus_that_changed_is_indexed_anew(folder, legs, models, tmp_path):
    import shutil

    copy = shutil.copytree(folder, tmp_path / "kitchen")
    bench(copy, legs, models, tmp_path / "out", system("words", "bm25"))
    with (copy / "corpus.jsonl").open("a") as file:
        file.write('{"_id": "oven", "title": "", "text": "oven recipe"}\n')

    results, said = bench(copy, legs, models, tmp_path / "out", system("words", "bm25"))

    assert "kitchen: words: 4 queries" in said
    assert results["datasets"]["kitchen"]["documents"] == 9
    assert "oven" in read_trec_run(tmp_path / "out" / "runs" / "kitchen" / "words.trec")["q1"]


def test_self_hits_are_left_out_of_every_leg_where_that_is_the_rule(folder, legs, models, tmp_path):
    both = system("sum", "bm25", "dense")
    keep, said_keep = bench(folder, legs, models, tmp_path / "keep", system("words", "bm25"), both)
    drop, said_drop = bench(folder, legs, models, tmp_path / "drop", system("words", "bm25"), both, self_hits="drop")

    assert drop["datasets"]["kitchen"]["self_hits_dropped"]
    assert any("left out" in line for line in said_drop)
    assert any("1 ids are both a query's and a document's" in line for line in said_keep)
    for name in ("words", "sum"):
        kept, dropped = (
            read_trec_run(tmp_path / rule / "runs" / "kitchen" / f"{name}.trec") for rule in ("keep", "drop")
        )
        assert "udp" in kept["udp"] and "udp" in kept["q2"]
        assert "udp" not in dropped["udp"] and "udp" in dropped["q2"]
    assert (
        keep["datasets"]["kitchen"]["systems"]["words"]["measures"]["R@5"]
        <= (drop["datasets"]["kitchen"]["systems"]["words"]["measures"]["R@5"])
    )


@pytest.mark.parametrize(
    ("dataset", "rule", "drops"),
    [
        ("arguana", "auto", True),
        ("quora", "auto", True),
        ("cqadupstack-tex", "auto", True),
        ("NanoArguAna", "auto", True),
        ("scifact", "auto", False),
        ("fiqa", "auto", False),
        ("fiqa", "drop", True),
        ("arguana", "keep", False),
    ],
)
def test_the_self_hit_rule_is_automatic_only_where_queries_are_documents(dataset, rule, drops):
    assert drops_self_hits(dataset, rule) is drops


def test_cqadupstacks_forums_count_as_one_set():
    def entry(value):
        return {"systems": {"a": {"measures": {"nDCG@10": value}}}}

    entries = {name: entry(0.12 if name.endswith("tex") else 0.0) for name in CQADUPSTACK_PARTS}

    mean, groups = means({**entries, "scifact": entry(0.5)})

    assert groups["cqadupstack"]["a"]["measures"]["nDCG@10"] == pytest.approx(0.01)
    assert mean["a"]["measures"]["nDCG@10"] == pytest.approx(0.255)


def test_only_systems_that_ran_everywhere_have_a_mean():
    first = {"systems": {"a": {"measures": {"R@5": 0.0}}, "b": {"measures": {"R@5": 1.0}}}}
    second = {"systems": {"a": {"measures": {"R@5": 1.0}}}}

    assert means({"x": first, "y": second})[0] == {"a": {"measures": {"R@5": 0.5}}}


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


def bytes_below(folder, *names):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for name in names
        for path in sorted((folder / name).rglob("*"))
        if path.is_file()
    }
