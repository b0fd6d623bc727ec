"""Tuning as a specification: it finds the better leg, holds queries out, and calls nothing a gain that is none."""

import json

import numpy as np
import pytest
import yaml

from indexing.documents import Document
from indexing.errors import InputError
from indexing.hits import Hits
from pipelines.build.job import build_collection
from pipelines.cli import main
from pipelines.measures.evaluate import evaluate
from pipelines.search import SearchPipeline
from pipelines.tuning.fusion import (
    Choice,
    LegRuns,
    bootstrap,
    held_out,
    read_choice,
    run_legs,
    score_choices,
    search_space,
    tune,
    write_choice,
)
from pipelines.tuning.reranker_weight import tune_weight
from retrieve.fusion import fusion_from_config
from retrieve.hybrid import HybridRetriever


def made_up_runs(noise: dict[str, float], queries: int = 120) -> tuple[LegRuns, dict[str, dict[str, int]]]:
    """Legs that give the one relevant document of 30 a score 2 above the others', and add noise to all."""
    rng = np.random.default_rng(0)
    names = [f"q{number}" for number in range(queries)]
    qrels = {name: {f"d{rng.integers(30):02}": 1} for name in names}
    answers = []
    for leg, deviation in noise.items():
        run = {
            name: {
                doc_id: 2.0 * (doc_id in qrels[name]) + float(error)
                for doc_id, error in zip(
                    (f"d{number:02}" for number in range(30)), rng.normal(0, deviation, 30), strict=True
                )
            }
            for name in names
        }
        answers.append(Hits.from_run(run, names).as_leg(leg))
    return LegRuns(tuple(names), tuple(answers)), qrels


def test_a_leg_that_is_noise_is_left_out_and_that_is_a_gain():
    runs, qrels = made_up_runs({"words": 50.0, "meaning": 0.7})
    report = tune(runs, qrels, choices=search_space(runs.names, [20]), show_progress=False)
    assert report.is_gain
    assert report.over_default.low > 0
    assert report.held_out == pytest.approx(report.legs["meaning"], abs=0.03)
    assert report.over_best_leg.low <= 0 <= report.over_best_leg.high, "there is nothing to win over the good leg"
    assert "A gain" in str(report)


def test_what_is_best_already_is_no_gain():
    runs, qrels = made_up_runs({"words": 1.0, "meaning": 1.0})
    report = tune(runs, qrels, choices=search_space(runs.names, [20]), show_progress=False)
    assert report.seen >= report.default, "it looks better on the queries it was chosen by"
    assert not report.is_gain
    assert "no gain that these queries can show" in str(report)
    assert json.loads(json.dumps(report.as_dict()))["is_gain"] is False


def test_the_untuned_is_kept_when_nothing_is_better():
    runs, qrels = made_up_runs({"words": 1.0, "meaning": 1.0})
    same = Choice({"method": "weighted-sum", "weights": [0.5, 0.5]}, 100)
    report = tune(runs, qrels, choices=[same], show_progress=False)
    assert report.chosen == report.untuned == Choice({"method": "weighted-sum"}, 100)
    assert (report.over_default.low, report.over_default.high) == (0, 0)
    assert not report.is_gain


def test_each_querys_value_comes_from_a_choice_that_did_not_see_it():
    # Each choice is perfect on one query only: chosen on the others, it is never the one for the query held out.
    assert held_out(np.eye(10), folds=10).tolist() == [0] * 10
    better = np.stack([np.zeros(10), np.ones(10)])
    assert held_out(better, folds=5).tolist() == [1] * 10


def test_the_same_seed_deals_the_same_folds():
    values = np.random.default_rng(0).random((50, 40))
    assert held_out(values, seed=3).tolist() == held_out(values, seed=3).tolist()
    assert held_out(values, seed=3).tolist() != held_out(values, seed=4).tolist()


@pytest.mark.parametrize("folds", [1, 11])
def test_folds_that_cannot_be_dealt_are_refused(folds):
    with pytest.raises(InputError, match="10 queries cannot be divided"):
        held_out(np.ones((1, 10)), folds=folds)


def test_the_interval_is_about_that_of_the_normal_distribution():
    values = np.random.default_rng(0).normal(0.1, 1.0, 400)
    interval = bootstrap(values)
    deviation = values.std() / np.sqrt(400)
    assert interval.mean == pytest.approx(values.mean())
    assert interval.low == pytest.approx(values.mean() - 1.96 * deviation, abs=0.1 * deviation)
    assert interval.high == pytest.approx(values.mean() + 1.96 * deviation, abs=0.1 * deviation)


@pytest.mark.parametrize("legs", [["a", "b"], ["a", "b", "c"], ["a", "b", "c", "d"]])
def test_every_choice_is_a_fusion_that_can_be_written_down(legs):
    space = search_space(legs, [50])
    assert len({json.dumps(choice.fusion) for choice in space}) == len(space)
    assert all(choice.fusion.items() <= fusion_from_config(choice.fusion).as_config().items() for choice in space)


def test_a_shallower_choice_sees_what_a_shallower_leg_would_have_given():
    runs, qrels = made_up_runs({"words": 1.0, "meaning": 1.0}, queries=20)
    shallow = LegRuns(runs.query_ids, tuple(hits.top(5) for hits in runs.answers))
    fusion = {"method": "weighted-sum"}
    one = score_choices(runs, qrels, [Choice(fusion, 5)], "recall@10", show_progress=False)
    other = score_choices(shallow, qrels, [Choice(fusion, 30)], "recall@10", show_progress=False)
    assert one.tolist() == other.tolist()


def test_measures_what_the_fusion_itself_gives_with_ties_at_the_cutoff():
    names = [f"q{number}" for number in range(40)]
    rng = np.random.default_rng(1)
    legs = [
        Hits.from_run(
            {name: {f"d{d:02}": float(rng.integers(3)) for d in rng.permutation(25)} for name in names}, names
        )
        for _ in range(2)
    ]
    runs = LegRuns(tuple(names), tuple(hits.as_leg(leg) for hits, leg in zip(legs, "ab", strict=True)))
    qrels = {name: {f"d{d:02}": 1 for d in rng.permutation(25)[:5]} for name in names}
    choices = [Choice({"method": "comb-sum", "normalizer": "none"}, 25), Choice({"method": "rrf"}, 10)]
    for measure in ("ndcg@5", "map"):
        values = score_choices(runs, qrels, choices, measure, show_progress=False)
        for choice, measured in zip(choices, values, strict=True):
            fused = fusion_from_config(choice.fusion)(runs.top(choice.depth))
            assert measured.tolist() == evaluate(fused, qrels, [measure], queries=names).per_query[measure].tolist()


def test_writing_keeps_what_else_the_file_says(tmp_path):
    (tmp_path / "search.yaml").write_text("reranker: late-interaction\ndepth: 10\n", "utf-8")
    choice = Choice({"method": "rrf", "k": 10, "weights": {"bm25": 0.3, "dense": 0.7}}, 200)
    path = write_choice(tmp_path, choice)
    assert yaml.safe_load(path.read_text("utf-8")) == {
        "reranker": "late-interaction",
        "depth": 200,
        "fusion": {"method": "rrf", "k": 10, "weights": {"bm25": 0.3, "dense": 0.7}},
    }
    assert read_choice(tmp_path) == choice


@pytest.mark.parametrize("text", ["fusion: [", "- a list"])
def test_a_damaged_file_is_named(tmp_path, text):
    (tmp_path / "search.yaml").write_text(text, "utf-8")
    with pytest.raises(InputError, match=r"search\.yaml"):
        read_choice(tmp_path)


@pytest.fixture(scope="module")
def collection(tmp_path_factory, minilm_path):
    from retrieve.encoders import DenseEncoder

    documents = [
        Document(f"d{number}", f"The number {word} is written {word}.", word) for number, word in enumerate(WORDS)
    ]
    path = tmp_path_factory.mktemp("tuning") / "collection"
    build_collection(documents, path, dense=DenseEncoder(minilm_path, dtype="float32"), show_progress=False)
    return path


WORDS = ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"]


@pytest.fixture
def judged(tmp_path):
    """Queries and judgements: what was asked for is what one would ask for."""
    queries, qrels = tmp_path / "queries.jsonl", tmp_path / "qrels.tsv"
    queries.write_text(
        "".join(json.dumps({"_id": f"q{n}", "text": f"the number {w}"}) + "\n" for n, w in enumerate(WORDS))
    )
    qrels.write_text("query-id\tcorpus-id\tscore\n" + "".join(f"q{n}\td{n}\t1\n" for n in range(len(WORDS))))
    return ["--queries", str(queries), "--qrels", str(qrels)]


def test_each_leg_runs_once(collection):
    runs = run_legs(collection, {"q": "three"}, depth=4, show_progress=False)
    assert runs.names == ["bm25", "dense"]
    assert [hits.counts.tolist() for hits in runs.answers] == [[1], [4]]
    assert all(ranking[0].doc_id == "d2" for hits in runs.answers for ranking in hits)


def test_the_command_line_says_what_it_found_and_writes_when_told(collection, judged, capsys):
    assert main(["tune", str(collection), *judged, "--depths", "5,10", "--quiet"]) == 0
    said = capsys.readouterr().out
    assert "bm25 alone" in said and "untuned" in said and "no gain that these queries can show" in said
    assert "Nothing was written" in said
    assert not (collection / "search.yaml").exists()

    assert main(["tune", str(collection), *judged, "--depths", "5", "--quiet", "--json", "--write", "always"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["written"] == str(collection / "search.yaml")
    written = yaml.safe_load((collection / "search.yaml").read_text("utf-8"))
    assert written == {"fusion": dict(report["chosen"]["fusion"]), "depth": report["chosen"]["depth"]}

    with SearchPipeline.open(collection) as pipeline:
        assert isinstance(pipeline.retriever, HybridRetriever)
        assert pipeline.retriever.fusion == fusion_from_config(written["fusion"])
        assert set(pipeline.retriever.depth.values()) == {written["depth"]}
    (collection / "search.yaml").unlink()


def test_what_nobody_tuned_is_what_a_search_does(collection):
    runs = run_legs(collection, {"q": "three"}, depth=4, show_progress=False)
    with SearchPipeline.open(collection) as pipeline:
        assert isinstance(pipeline.retriever, HybridRetriever)
        assert pipeline.retriever.fusion == fusion_from_config(runs.untuned)
        assert runs.untuned["method"] == "spread-weighted"


@pytest.mark.parametrize(
    ("extra", "says"),
    [
        (["--depths", "5,x"], "--depths takes whole numbers"),
        (["--measure", "bleu"], "there is no measure 'bleu'"),
        (["--folds", "100"], "10 judged queries cannot be divided into 100 folds"),
    ],
)
def test_wrong_arguments_are_explained(collection, judged, capsys, extra, says):
    assert main(["tune", str(collection), *judged, "--quiet", *extra]) == 1
    assert says in capsys.readouterr().err


def test_judged_queries_without_a_text_are_named(collection, judged, tmp_path, capsys):
    (tmp_path / "other.tsv").write_text("query-id\tcorpus-id\tscore\nq99\td1\t1\n")
    assert main(["tune", str(collection), *judged[:3], str(tmp_path / "other.tsv")]) == 1
    assert "'q99'" in capsys.readouterr().err


class TestRerankersWeight:
    def test_is_chosen_on_one_run_and_written_only_as_a_gain(self, collection, judged, capsys):
        command = ["tune", str(collection), *judged, "--depths", "5", "--quiet", "--reranker", "late-interaction"]
        assert main([*command, "--candidates", "4"]) == 0
        said = capsys.readouterr().out
        assert "4 candidates read by late-interaction" in said and "gain over now (no reranker)" in said
        assert "the reranker alone" in said and "Nothing was written" in said
        assert not (collection / "search.yaml").exists()

        assert main([*command, "--json", "--write", "always"]) == 0
        report = json.loads(capsys.readouterr().out)["reranker"]
        file = collection / "search.yaml"
        try:
            written = yaml.safe_load(file.read_text("utf-8"))
            assert written["reranker"]["weight"] == report["chosen"] and "fusion" in written
            with SearchPipeline.open(collection) as pipeline:
                assert pipeline.reranker.weight == report["chosen"]
            assert main([*command, "--dry-run"]) == 0
            assert f"gain over now (weight {report['chosen']:g})" in capsys.readouterr().out
        finally:
            file.unlink()

    def test_every_weight_is_what_a_search_with_it_gives(self, collection):
        queries = {f"q{number}": f"the number {word}" for number, word in enumerate(WORDS)}
        qrels = {f"q{number}": {f"d{number}": 1, f"d{(number + 1) % 10}": 1} for number in range(10)}
        report = tune_weight(collection, queries, qrels, "late-interaction", candidates=4, show_progress=False)
        for weight in (0.0, 0.3, 1.0):
            config = {"reranker": {"model": "late-interaction", "candidates": 4, "weight": weight}}
            with SearchPipeline.open(collection, config=config) as pipeline:
                hits = pipeline.retrieve(list(queries.values()), 4)
            mean = evaluate(hits, qrels, ["ndcg@10"], queries=list(queries)).means["ndcg@10"]
            assert report.by_weight[weight] == pytest.approx(mean)
        assert report.now is None and not report.is_gain
        assert report.over_now == report.over_first_stage

    def test_candidates_alone_are_an_error(self, collection, judged, capsys):
        assert main(["tune", str(collection), *judged, "--candidates", "4"]) == 1
        assert "--candidates is for a reranker" in capsys.readouterr().err

    def test_a_single_leg_has_a_reranker_to_tune(self, judged, tmp_path, minilm_path, capsys):
        from retrieve.encoders import DenseEncoder

        documents = [Document(f"d{number}", f"The number {word}.", word) for number, word in enumerate(WORDS)]
        encoder = DenseEncoder(minilm_path)
        build_collection(documents, tmp_path / "c", bm25=False, dense=encoder, show_progress=False)
        command = ["tune", str(tmp_path / "c"), *judged, "--quiet", "--json"]
        assert main([*command, "--reranker", "late-interaction", "--candidates", "3"]) == 0
        assert set(json.loads(capsys.readouterr().out)) == {"reranker"}
        assert main(command) == 1 and "a fusion needs two legs" in capsys.readouterr().err
