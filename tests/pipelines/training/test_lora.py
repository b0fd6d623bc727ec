"""``retrieve train … --lora``: an adapter is trained and saved alone."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sentence_transformers import CrossEncoder as TheirCrossEncoder
from sentence_transformers import SentenceTransformer

from indexing import Document
from indexing.errors import InputError, ModelError
from pipelines import SearchPipeline, build_collection
from pipelines.cli import main
from pipelines.training.recipes.lora import lora_options
from retrieve.encoders import CrossEncoder, DenseEncoder
from training_rows import SMALL

TEXTS = ["the price of water", "heat is energy"]


def test_an_adapter_is_trained_saved_alone_resumed_and_searched_with(
    bert: Path, triples: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "adapter"
    command = ["train", "dense", "--model", str(bert), "--data", str(triples), "--output", str(output), *SMALL]
    command += ["--lora", "r=4,alpha=8,target=query+value", "--lr", "0.01", "--eval-data", str(triples)]
    assert main(command) == 0, capsys.readouterr().err
    final = output / "final"
    assert (final / "adapter_model.safetensors").is_file() and not (final / "model.safetensors").exists()
    encoder = DenseEncoder(final, dtype="float32")
    vectors = encoder.encode(TEXTS)
    assert not np.allclose(vectors, DenseEncoder(bert, dtype="float32").encode(TEXTS), atol=1e-3)
    np.testing.assert_allclose(SentenceTransformer(str(final), device="cpu").encode(TEXTS), vectors, atol=1e-5)
    assert main([*command, "--max-steps", "6"]) == 0, capsys.readouterr().err
    assert "resumed from step 4" in capsys.readouterr().out

    documents = [Document(str(at), text) for at, text in enumerate(TEXTS)]
    build_collection(documents, tmp_path / "c", dense=DenseEncoder(final), show_progress=False)
    with SearchPipeline.open(tmp_path / "c") as pipeline:
        assert pipeline.search(TEXTS[1], k=1)[0].doc_id == "1"
    with pytest.raises(ModelError, match=r"they differ in adapters"):
        SearchPipeline.open(tmp_path / "c", dense=DenseEncoder(bert))


def test_the_head_of_a_new_cross_encoder_is_trained_and_saved_with_the_adapter(
    bert: Path, triples: Path, tmp_path: Path
) -> None:
    output = tmp_path / "reranker"
    command = ["train", "reranker", "--model", str(bert), "--data", str(triples), "--output", str(output), *SMALL]
    assert main([*command, "--lora", "r=2,target=query"]) == 0
    pairs = [(TEXTS[0], TEXTS[1]), (TEXTS[0], TEXTS[0])]
    scores = CrossEncoder(output / "final", dtype="float32").predict(pairs)
    assert not np.allclose(scores, CrossEncoder(output / "start", dtype="float32").predict(pairs), atol=1e-5)
    np.testing.assert_allclose(TheirCrossEncoder(str(output / "final"), device="cpu").predict(pairs), scores, atol=1e-5)


@pytest.mark.parametrize("wrong", ["rank=4", "r=", "r=0", "r=x", "alpha=-1", "dropout=1"])
def test_wrong_descriptions_are_refused(wrong: Any) -> None:
    with pytest.raises(InputError, match=r"lora: .*write r=16,alpha=32,target=query\+value"):
        lora_options(wrong)
    assert lora_options("r=16, target=query+key") == {"r": 16, "lora_alpha": 16, "target_modules": ["query", "key"]}
