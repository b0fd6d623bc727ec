"""The harness's figures on real collections: those that are published, and trec_eval's own on our run files."""

from functools import partial
from pathlib import Path

import pytest
import pytrec_eval

from indexing.runs import read_trec_run
from pipelines.evaluation.datasets import load_evaluation_set
from pipelines.evaluation.harness import run_benchmark
from pipelines.evaluation.systems import LegSpec, Plan, System
from pipelines.evaluation.task import Settings
from pipelines.models import Models
from pipelines.search import LegConfig, SearchConfig

COLLECTIONS = Path(__file__).parents[3] / "shared" / "collections"
LEGS = {
    "bm25": LegSpec("bm25", "bm25"),
    "bm25-multifield": LegSpec("bm25-multifield", "bm25", fields={"title": 1.0, "text": 1.0}),
    "dense": LegSpec("dense", "dense", dtype="float32"),
}


def score(name, output, *legs, measures=("nDCG@10", "R@100")):
    if not (COLLECTIONS / name).is_dir():
        pytest.skip(f"the collection {name} is not on this machine")
    dataset = load_evaluation_set(COLLECTIONS / name, check_corpus=False)
    systems = tuple(System(leg, SearchConfig(legs={leg: LegConfig()})) for leg in legs)
    settings = Settings(measures=measures, timing=False, show_progress=False)
    models = Models()
    results = run_benchmark(
        [partial(load_evaluation_set, COLLECTIONS / name)],
        Plan(LEGS, systems),
        output,
        settings=settings,
        models=models,
    )
    return dataset, {leg: results["datasets"][name]["systems"][leg] for leg in legs}


def test_bm25_on_scifact_is_anserinis(tmp_path):
    _, rows = score("scifact", tmp_path, "bm25")

    row = rows["bm25"]
    assert {measure: figure["value"] for measure, figure in row["published"].items()} == {
        "nDCG@10": 0.6789,
        "R@100": 0.9253,
    }
    for measure, figure in row["published"].items():
        assert row["measures"][measure] == pytest.approx(figure["value"], abs=0.003)


def test_multifield_bm25_on_scifact_is_anserinis(tmp_path):
    _, rows = score("scifact", tmp_path, "bm25-multifield")
    assert rows["bm25-multifield"]["measures"]["nDCG@10"] == pytest.approx(0.6647, abs=0.003)


@pytest.mark.slow
def test_minilm_on_scifact_is_sentence_transformers(tmp_path):
    _, rows = score("scifact", tmp_path, "dense")

    assert rows["dense"]["published"]["nDCG@10"]["value"] == 0.6451
    assert rows["dense"]["measures"]["nDCG@10"] == pytest.approx(0.6451, abs=0.001)


@pytest.mark.parametrize("name", ["cranfield", "msmarco-dl19-mini"])
def test_graded_measures_are_trec_evals_on_our_run_files(name, tmp_path):
    dataset, rows = score(name, tmp_path, "bm25", measures=("nDCG@10", "AP@100", "R@100"))
    qrels = {query_id: dict(grades) for query_id, grades in dataset.qrels.items()}

    theirs = pytrec_eval.RelevanceEvaluator(qrels, {"ndcg_cut.10", "map_cut.100", "recall.100"}).evaluate(
        read_trec_run(tmp_path / rows["bm25"]["run"])
    )

    assert max(grade for grades in qrels.values() for grade in grades.values()) > 1
    for ours, name_there in (("nDCG@10", "ndcg_cut_10"), ("AP@100", "map_cut_100"), ("R@100", "recall_100")):
        expected = sum(values[name_there] for values in theirs.values()) / len(qrels)
        assert rows["bm25"]["measures"][ours] == pytest.approx(expected, abs=1e-9)
