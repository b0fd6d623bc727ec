"""Sparse training from the same weights, data and order ends at sentence-transformers' weights."""

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from datasets import Dataset
from sentence_transformers import SparseEncoder as TheirSparseEncoder
from sentence_transformers.sparse_encoder import losses as their_losses
from sentence_transformers.sparse_encoder.modules import SparseAutoEncoder as TheirAutoEncoder
from sentence_transformers.sparse_encoder.trainer import SparseEncoderTrainer
from sentence_transformers.sparse_encoder.training_args import SparseEncoderTrainingArguments
from transformers import BertForMaskedLM

import training_runs
from checkpoints import WORDS, write_bert
from pipelines.training.arguments import SparseTrainingArguments
from pipelines.training.data import TrainingRows
from pipelines.training.losses import CSRLoss, MultipleNegativesRankingLoss, SpladeLoss
from pipelines.training.model import trained
from pipelines.training.recipes.inference_free import write_inference_free_encoder
from pipelines.training.trainer import SparseTrainer
from retrieve.encoders import SparseEncoder
from training_runs import losses_of, no_dropout

ARGUMENTS = training_runs.ARGUMENTS | {"max_steps": 12, "seed": 7}


def triples(count: int = 40) -> Dataset:
    draw = random.Random(2)
    texts = {
        name: [" ".join(draw.choices(WORDS, k=draw.randrange(1, 12))) for _ in range(count)]
        for name in ("query", "positive", "negative")
    }
    return Dataset.from_dict(texts)


def write_autoencoder(folder: Path, *, normalize: bool) -> Path:
    """Write a sparse autoencoder with sentence-transformers; latents die within a few steps."""
    torch.manual_seed(3)
    model = TheirSparseEncoder(str(write_bert(folder.with_name(f"{folder.name}-bert"))), device="cpu")
    kept = [module for module in model if not isinstance(module, TheirAutoEncoder)]
    coder = TheirAutoEncoder(32, hidden_dim=64, k=4, k_aux=8, normalize=normalize, dead_threshold=6)
    TheirSparseEncoder(modules=[*kept, coder]).save(str(folder))
    return folder


@pytest.mark.parametrize("normalize", [False, True])
def test_a_sparse_autoencoder(tmp_path: Path, normalize: bool) -> None:
    folder, rows = str(write_autoencoder(tmp_path / "csr", normalize=normalize)), triples()
    theirs = TheirSparseEncoder(folder, device="cpu")
    no_dropout(theirs)
    reference = SparseEncoderTrainer(
        theirs,
        SparseEncoderTrainingArguments(str(tmp_path / "theirs"), **ARGUMENTS),
        rows,
        loss=their_losses.CSRLoss(theirs),
    )
    reference.train()
    mine = SparseEncoder(folder, dtype="float32", device="cpu")
    arguments = SparseTrainingArguments(str(tmp_path / "mine"), dropout=0.0, **ARGUMENTS)
    trainer = SparseTrainer(mine, arguments, rows, loss=CSRLoss(mine))
    trainer.train()

    logs, expected = ([log for log in one.state.log_history if "loss" in log] for one in (trainer, reference))
    for part in ("loss", "base_loss", "reconstruction_loss_k", "reconstruction_loss_4k", "reconstruction_loss_aux"):
        np.testing.assert_allclose([log[part] for log in logs], [log[part] for log in expected], atol=2e-3, rtol=1e-3)
    assert logs[-1]["reconstruction_loss_aux"] > 0, "some latents have died"
    coder: Any = mine.modules[-1]
    np.testing.assert_array_equal(coder.stats_last_nonzero, theirs[-1].stats_last_nonzero)
    saved = trainer.save(tmp_path / "saved")
    texts = rows["query"][:8]
    weights = theirs.encode(texts).to_dense().numpy()
    np.testing.assert_allclose(mine.encode(texts).toarray(), weights, atol=2e-3)
    again = TheirSparseEncoder(str(saved), device="cpu")
    np.testing.assert_allclose(again.encode(texts).to_dense().numpy(), weights, atol=2e-3)


def test_an_autoencoder_decodes_whole_columns_also_when_batches_are_split(tmp_path: Path) -> None:
    encoder = SparseEncoder(write_autoencoder(tmp_path / "csr", normalize=False), dtype="float32", device="cpu")
    model = trained(encoder)
    rows = Dataset.from_dict({"text": ["water", " ".join(["fire"] * 20), "heat light"] * 30})
    features = TrainingRows(rows, model, show_progress=False).__getitems__(range(90))["columns"][0]
    assert len(model._batches(features["attention_mask"].sum(dim=1).numpy())) > 1
    found = model(features)
    assert {found[name].shape for name in ("decoded_embedding_k", "decoded_embedding_4k")} == {(90, 32)}
    np.testing.assert_allclose(
        found["sentence_embedding"].detach().numpy(), encoder.encode(rows["text"]).toarray(), atol=1e-5
    )


def test_queries_without_a_transformer(tmp_path: Path) -> None:
    rows = triples()
    start = SparseEncoder(write_bert(tmp_path / "mlm", BertForMaskedLM), dtype="float32", device="cpu")
    folder = str(write_inference_free_encoder(start, rows["positive"], tmp_path / "start"))
    routes = {"query": "query", "positive": "document", "negative": "document"}
    theirs = TheirSparseEncoder(folder, device="cpu")
    no_dropout(theirs)
    rates: dict[str, Any] = {"router_mapping": routes, "learning_rate_mapping": {r"\.query\.": 1e-2}}
    reference = SparseEncoderTrainer(
        theirs,
        SparseEncoderTrainingArguments(str(tmp_path / "theirs"), **ARGUMENTS, **rates),
        rows,
        loss=their_losses.SpladeLoss(
            theirs, their_losses.SparseMultipleNegativesRankingLoss(theirs), document_regularizer_weight=3e-3
        ),
    )
    reference.train()
    mine = SparseEncoder(folder, dtype="float32", device="cpu")
    arguments = SparseTrainingArguments(str(tmp_path / "mine"), dropout=0.0, **ARGUMENTS, **rates)
    base = MultipleNegativesRankingLoss(mine, scale=1.0, similarity="dot")
    trainer = SparseTrainer(mine, arguments, rows, loss=SpladeLoss(mine, base, 3e-3))
    trainer.train()
    np.testing.assert_allclose(losses_of(trainer), losses_of(reference), rtol=2e-3)
    texts = rows["query"][:8]
    for name in ("encode_query", "encode_document"):
        wanted = getattr(theirs, name)(texts).to_dense().numpy()
        np.testing.assert_allclose(getattr(mine, name)(texts).toarray(), wanted, atol=5e-3)
    assert abs(mine.encode_query(texts) - SparseEncoder(folder, dtype="float32").encode_query(texts)).max() > 0.02
