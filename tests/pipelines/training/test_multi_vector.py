"""``retrieve train multi-vector``: ColBERTs from a dense encoder, from a ColBERT, and from a teacher's scores."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sentence_transformers as theirs
import torch
from datasets import Dataset

from corpus_files import write_lines
from indexing.errors import InputError, ModelError
from indexing.max_sim import max_sim
from pipelines.cli import main
from pipelines.training.losses.multi_vector import (
    CachedMultiVectorMultipleNegativesRankingLoss,
    MultiVectorMarginMSELoss,
    MultiVectorMultipleNegativesRankingLoss,
)
from pipelines.training.recipes.losses import default_loss, make_loss
from pipelines.training.recipes.projection import write_multi_vector_encoder
from pipelines.training.recipes.run import task_prompts
from pipelines.training.recipes.settings import TrainSettings
from retrieve import DenseEncoder, MultiVectorEncoder
from training_rows import SMALL


@pytest.fixture
def colbert(bert: Path, tmp_path: Path) -> Path:
    """A tiny ColBERT with markers before queries and documents."""
    encoder = DenseEncoder(bert, dtype="float32", device="cpu")
    encoder.prompts = {"query": "fire ", "document": "heat "}
    return write_multi_vector_encoder(encoder, ["water heat", "light of the wave"], tmp_path / "colbert", dimension=8)


def test_a_colbert_is_trained_from_a_dense_encoder_and_resumed(
    bert: Path, triples: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "out"
    command = ["train", "multi-vector", "--model", str(bert), "--data", str(triples), "--output", str(output), *SMALL]
    command += ["--eval-data", str(triples), "--dimension", "8", "--query-length", "9", "--document-length", "12"]
    assert main([*command, "--query-expansion"]) == 0
    said = capsys.readouterr().out
    assert "4 steps over 24 rows" in said and "MultiVectorMultipleNegativesRankingLoss" in said
    assert "held-out_maxsim_ndcg@10" in said and f"--late-interaction {output}/final" in said
    found = MultiVectorEncoder(output / "final", dtype="float32", device="cpu")
    assert found.dimension == 8 and found.encode_query(["water"]).lengths.tolist() == [9]
    assert found.encode_document(["heat, " * 20]).lengths.tolist() == [7], "twelve tokens without five commas"
    other = theirs.MultiVectorEncoder(str(output / "final"), device="cpu")
    np.testing.assert_allclose(
        found.encode_query("water heat"), other.encode_query("water heat", convert_to_numpy=True), atol=1e-5
    )
    card = (output / "final" / "README.md").read_text("utf-8")
    for line in (
        "Multi-Vector Encoder",
        "late-interaction",
        "Similarity: MaxSim",
        "Maximum length of a query: 9 tokens",
    ):
        assert line in card
    assert "MultiVectorEncoder" in card and "max_sim(queries, documents)" in card
    assert main([*command, "--query-expansion"]) == 0, "a finished run is reported again"
    assert "4 steps over 24 rows" in capsys.readouterr().out
    assert main([*command, "--query-expansion", "--max-steps", "6"]) == 0
    assert "6 steps over 24 rows" in (said := capsys.readouterr().out) and "resumed from step 4" in said


def test_the_projection_starts_as_the_dense_encoders_token_vectors(minilm_path: Path, tmp_path: Path) -> None:
    dense = DenseEncoder(minilm_path, dtype="float32", device="cpu")
    texts = ["Vaccines train the immune system", "The stock market fell", "A wave carries energy through water"]
    asked = ["how do vaccines work", "why do shares lose value", "what moves water"]
    wanted = max_sim(dense.encode_tokens(asked), dense.encode_tokens(texts), mean=True)
    for width, tolerance in ((384, 1e-4), (128, 0.3)):
        folder = write_multi_vector_encoder(dense, texts, tmp_path / str(width), dimension=width)
        started = MultiVectorEncoder(folder, dtype="float32", device="cpu")
        found = max_sim(started.encode_query(asked), started.encode_document(texts), mean=True)
        np.testing.assert_allclose(found, wanted, atol=tolerance)
        assert (found.argmax(axis=1) == [0, 1, 2]).all()


def test_prompts_of_the_checkpoint_are_used_in_training(colbert: Path) -> None:
    encoder = MultiVectorEncoder(colbert, dtype="float32", device="cpu")
    assert task_prompts(encoder, ["query", "positive"]) == {"query": "fire ", "positive": "heat "}


def test_the_columns_choose_the_loss(colbert: Path) -> None:
    encoder = MultiVectorEncoder(colbert, dtype="float32", device="cpu")

    def chosen(rows: Any, **settings: Any) -> Any:
        return make_loss("multi-vector", TrainSettings("m", "o", **settings), encoder, Dataset.from_list(rows))

    pairs = [{"query": "fire", "positive": "heat"}]
    assert type(chosen(pairs)) is MultiVectorMultipleNegativesRankingLoss
    assert type(chosen(pairs * 2560)) is CachedMultiVectorMultipleNegativesRankingLoss
    scored = [{"query": "fire", "positive": "heat", "negative": "wave", "scores": [1.0, 0.5]}]
    assert type(chosen(scored)) is MultiVectorMarginMSELoss
    mean = chosen(pairs, loss_options={"similarity_fct": "meanmaxsim"})
    assert mean.scale == 32 and mean.settings["similarity_fct"] == "mean_colbert_scores"
    for name in ("DistillKLDiv", "multi-vector-distill-kl-div", "MultiVectorDistillKLDivLoss"):
        assert chosen(scored, loss=name).student_temperature == 1.0
    with pytest.raises(InputError, match="there is no loss 'CoSENT' for this kind of model"):
        chosen(pairs, loss="CoSENT")
    with pytest.raises(InputError, match="cannot infer a loss"):
        default_loss("multi-vector", Dataset.from_list([{"query": "a", "document": "b", "label": 1.0}]))


def test_a_teachers_scores_are_learned_from_a_colbert(colbert: Path, tmp_path: Path) -> None:
    rows = [
        {"query": f"fire {word}", "positive": f"{word} heat", "negative": "a wave", "scores": [0.9, 0.1 * at]}
        for at, word in enumerate(["water", "light", "energy", "the"])
    ]
    data = write_lines(tmp_path / "scored.jsonl", rows)
    command = ["train", "multi-vector", "--model", str(colbert), "--data", str(data), "--loss", "DistillKLDiv", *SMALL]
    assert main([*command, "--output", str(tmp_path / "kl"), "--loss-option", "temperature=0.25"]) == 0
    assert json.loads((tmp_path / "kl" / "summary.json").read_text())["loss"] == "MultiVectorDistillKLDivLoss"
    found = MultiVectorEncoder(tmp_path / "kl" / "final", dtype="float32", device="cpu")
    assert found.prompts["query"] == "fire "


def test_what_does_not_fit_is_refused(
    bert: Path, colbert: Path, triples: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    common = ["--data", str(triples), "--output", str(tmp_path / "out"), *SMALL]
    assert main(["train", "multi-vector", "--model", str(colbert), "--dimension", "4", *common]) == 1
    assert "is a multi-vector encoder already" in capsys.readouterr().err
    assert main(["train", "multi-vector", "--model", str(bert), "--dimension", "64", *common]) == 1
    assert "dimension must be from 1 to 32" in capsys.readouterr().err
    assert main(["train", "dense", "--model", str(colbert), *common]) == 1
    assert "MultiVectorEncoder" in capsys.readouterr().err, "the class that reads it is named"
    encoder = MultiVectorEncoder(colbert, dtype="float32", device="cpu")
    with pytest.raises(InputError, match="unknown similarity_fct 'cosine': there are maxsim, meanmaxsim"):
        MultiVectorMarginMSELoss(encoder, similarity_fct="cosine")
    with pytest.raises(InputError, match="needs the teacher's scores"):
        MultiVectorMarginMSELoss(encoder).loss_from_embeddings([torch.ones(1, 2, 8)] * 3)
    with pytest.raises(ModelError, match="not a late-interaction model"):
        MultiVectorEncoder(bert)
