"""Legs of token vectors as systems: benchmarks, evaluation of a collection, tuning, mining and configuration."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from late_interaction import write_colbert

from benchmarks import run_beir
from checkpoints import write_bert
from corpus_files import write_lines
from indexing.collection.reader import Collection
from indexing.corpora.corpus import read_corpus
from indexing.errors import ModelError
from pipelines.build.job import build_collection
from pipelines.cli import main
from pipelines.evaluation.legs import CollectionLegs, reranker_identity, system_reranker
from pipelines.evaluation.systems import LegSpec, System
from pipelines.models import Models
from pipelines.search import SearchPipeline
from pipelines.search.config import LegConfig, RerankerConfig, SearchConfig
from retrieve import DenseEncoder, LateInteractionReranker, MultiVectorEncoder
from retrieve.encoders import DenseTokens
from retrieve.reranking.stored_tokens import StoredTokenReranker

TOPICS = ["bread in an oven", "packets of a network", "matrix of values", "list of numbers", "light on water"]


@pytest.fixture(scope="module")
def beir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("beir") / "tiny"
    (folder / "qrels").mkdir(parents=True)
    corpus = [{"_id": f"d{at}", "title": "", "text": f"{TOPICS[at % 5]} number {at}"} for at in range(40)]
    queries = [{"_id": f"q{at}", "text": f"{TOPICS[at % 5]} {at}"} for at in range(20)]
    for name, rows in (("corpus", corpus), ("queries", queries)):
        write_lines(folder / f"{name}.jsonl", rows)
    lines = [f"q{at}\td{at}\t1" for at in range(20)]
    (folder / "qrels" / "test.tsv").write_text("\n".join(["query-id\tcorpus-id\tscore", *lines]) + "\n")
    return folder


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_colbert(tmp_path_factory.mktemp("model") / "colbert", document_length=30)


def scored(output: Path) -> dict[str, float]:
    results = json.loads((output / "results.json").read_text())
    (dataset,) = results["datasets"].values()
    return {name: row["measures"]["nDCG@10"] for name, row in dataset["systems"].items()}


def test_the_benchmark_scores_colbert_alone_fused_and_reranked(beir: Path, model: Path, tmp_path: Path) -> None:
    command = ["--dataset", str(beir), "--output", str(tmp_path), "--no-timing", "--no-report", "--k", "10"]
    assert (
        run_beir.main([*command, "--systems", "bm25,colbert,hybrid,hybrid+rerank", "--late-interaction", str(model)])
        == 0
    )
    found = scored(tmp_path)
    assert list(found) == ["bm25", "colbert", "hybrid", "hybrid+rerank"] and found["colbert"] > 0
    assert run_beir.main([*command, "--systems", "bm25,colbert"]) == 0
    assert "no late-interaction model was given (--late-interaction)" in (tmp_path / "results.json").read_text()


def test_a_systems_file_names_a_leg_of_token_vectors(beir: Path, model: Path, tmp_path: Path) -> None:
    (tmp_path / "systems.yaml").write_text(
        f"legs: {{mine: {{kind: tokens, model: {model}}}}}\n"
        "systems:\n- {name: alone, legs: [mine]}\n"
        "- {name: stored, legs: [mine, bm25], reranker: {model: late-interaction, candidates: 5}}\n"
    )
    command = ["--dataset", str(beir), "--output", str(tmp_path / "out"), "--no-timing", "--no-report", "--k", "10"]
    assert run_beir.main([*command, "--systems-file", str(tmp_path / "systems.yaml")]) == 0
    assert set(scored(tmp_path / "out")) == {"alone", "stored"}
    assert LegSpec("mine", "tokens", "m").settings == {"kind": "tokens", "model": "m", "dtype": "auto"}


def test_a_collection_is_evaluated_tuned_and_mined_with_its_leg(
    beir: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    encoder = MultiVectorEncoder(model, dtype="float32", device="cpu")
    collection = tmp_path / "collection"
    build_collection(read_corpus(beir / "corpus.jsonl"), collection, multi_vector=encoder, show_progress=False)
    judged = ["--queries", str(beir / "queries.jsonl"), "--qrels", str(beir / "qrels" / "test.tsv")]
    evaluate = ["evaluate", str(collection), *judged, "--output", str(tmp_path / "out"), "--no-timing", "--no-report"]
    assert main([*evaluate, "--dtype", "float32"]) == 0
    assert set(scored(tmp_path / "out")) == {"bm25", "tokens", "hybrid"}
    assert main(["tune", str(collection), *judged]) == 0
    output = tmp_path / "mined"
    assert main(["mine", str(collection), *judged, "--sources", "tokens=2", "--output", str(output)]) == 0
    from pipelines.training.recipes.rows import read_rows

    assert read_rows(output).column_names == ["query", "positive", "negative_1", "negative_2"]
    (collection / "search.yaml").write_text("legs: [bm25, tokens]\nfusion: {method: rrf}\n")
    capsys.readouterr()
    assert main([*evaluate[:-4], "--output", str(tmp_path / "own"), "--no-timing", "--no-report"]) == 0
    assert "configured" in scored(tmp_path / "own")
    with SearchPipeline.open(collection, legs=["tokens"]) as pipeline:
        assert pipeline.search("light on water", k=1)
    other = write_colbert(tmp_path / "other", document_length=12)
    with (
        pytest.raises(ModelError, match="was built with the encoder"),
        SearchPipeline.open(collection, multi_vector=str(other)),
    ):
        pass


def test_one_collection_of_the_benchmark_holds_the_leg(beir: Path, model: Path, tmp_path: Path) -> None:
    command = ["--dataset", str(beir), "--no-timing", "--no-report", "--k", "10", "--late-interaction", str(model)]
    command += ["--systems", "bm25,colbert,hybrid+rerank"]
    assert run_beir.main([*command, "--output", str(tmp_path / "one"), "--index", str(tmp_path / "index")]) == 0
    assert run_beir.main([*command, "--output", str(tmp_path / "each")]) == 0
    assert scored(tmp_path / "one") == scored(tmp_path / "each")
    with Collection.open(tmp_path / "index") as collection:
        assert list(collection.manifest.legs) == ["bm25", "dense", "tokens"]


def test_a_benchmark_reranks_with_the_vectors_that_a_collection_stores(beir: Path, tmp_path: Path) -> None:
    encoder = DenseEncoder(write_bert(tmp_path / "model"), dtype="float32", device="cpu")
    corpus = read_corpus(beir / "corpus.jsonl")
    build_collection(corpus, tmp_path / "without", dense=encoder, show_progress=False)
    build_collection(corpus, tmp_path / "with", dense=encoder, multi_vector=DenseTokens(encoder), show_progress=False)
    command = ["--dataset", str(beir), "--output", str(tmp_path / "out"), "--no-timing", "--no-report"]
    command += ["--systems", "hybrid,hybrid+rerank", "--dense", str(tmp_path / "model"), "--dtype", "float32"]
    bytes_of, measured = {}, {}
    for name in ("without", "with"):
        assert run_beir.main([*command, "--index", str(tmp_path / name)]) == 0
        (dataset,) = json.loads((tmp_path / "out" / "results.json").read_text())["datasets"].values()
        bytes_of[name] = [row["cost"]["index_bytes"] for row in dataset["systems"].values()]
        measured[name] = scored(tmp_path / "out")
    assert bytes_of["without"][0] == bytes_of["without"][1] == bytes_of["with"][0]
    assert bytes_of["with"][1] > bytes_of["with"][0], "what the reranker reads is part of the size"
    assert measured["with"] == pytest.approx(measured["without"], abs=0.01)
    system = System(
        "s", SearchConfig(legs={"bm25": LegConfig(), "dense": LegConfig()}, reranker=RerankerConfig("late-interaction"))
    )
    texts = replace(system, config=replace(system.config, reranker=RerankerConfig("late-interaction", passages="max")))
    models, kinds, identities = Models(), [], []
    for name, one in (("without", system), ("with", system), ("with", texts)):
        with CollectionLegs(tmp_path / name, models) as source:
            legs = {leg: source.open(LegSpec(leg, leg)) for leg in ("bm25", "dense")}
            kinds.append(type(system_reranker(one, legs, models)))
            identities.append(reranker_identity(one, models, legs))
    assert kinds == [LateInteractionReranker, StoredTokenReranker, LateInteractionReranker]
    assert identities[0] == identities[2] == "late-interaction" and identities[1] != identities[0]
