"""Losses and training of multi-vector encoders give sentence-transformers' values, gradients and weights."""

import random
import string
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sentence_transformers as theirs
import torch
from datasets import Dataset
from sentence_transformers.base.modules import Dense, Normalize, Transformer
from sentence_transformers.multi_vector_encoder import losses as their_losses
from sentence_transformers.multi_vector_encoder import scoring as their_scores
from sentence_transformers.multi_vector_encoder.modules import HierarchicalTokenPooling, MultiVectorMask
from sentence_transformers.multi_vector_encoder.scoring import colbert as their_colbert
from sentence_transformers.multi_vector_encoder.trainer import MultiVectorEncoderTrainer
from sentence_transformers.multi_vector_encoder.training_args import MultiVectorEncoderTrainingArguments

from checkpoints import write_bert
from pipelines.training.arguments import MultiVectorTrainingArguments
from pipelines.training.data import TrainingRows
from pipelines.training.losses import multi_vector as losses
from pipelines.training.model import trained
from pipelines.training.trainer import MultiVectorTrainer
from retrieve import MultiVectorEncoder
from training_runs import ARGUMENTS, losses_of, no_dropout

WORDS = [*"water energy the of heat wave fire a , . !".split(), "naïve"]  # noqa: SIM905


def text(draw: random.Random) -> str:
    return " ".join(draw.choice(WORDS) for _ in range(draw.randrange(1, 14)))


def columns(count: int, *names: str) -> dict[str, list[str]]:
    draw = random.Random(5)
    return {name: [text(draw) for _ in range(count)] for name in names}


def modules(path: str, name: str) -> list:
    options: dict[str, Any] = {
        "plain": {},
        "expanded": {"query_expansion": {"strategy": "fixed", "length": 12}, "document_length": 9},
        "attended": {"query_expansion": {"strategy": "min", "length": 9, "attend": True}, "query_length": 11},
        "pooled": {},
    }[name]
    found = [
        Transformer(path, **options),
        Dense(32, 8, bias=False, activation_function=torch.nn.Identity(), module_input_name="token_embeddings"),
        MultiVectorMask(list(string.punctuation)),
        Normalize(module_input_name="token_embeddings"),
    ]
    return [*found, HierarchicalTokenPooling(2)] if name == "pooled" else found


def pair(folder: Path, name: str = "plain") -> tuple[theirs.MultiVectorEncoder, MultiVectorEncoder]:
    torch.manual_seed(3)
    theirs.MultiVectorEncoder(modules=modules(str(write_bert(folder / "bert")), name), device="cpu").save(
        str(folder / "model")
    )
    reference = theirs.MultiVectorEncoder(str(folder / "model"), device="cpu")
    no_dropout(reference)
    return reference, MultiVectorEncoder(folder / "model", dtype="float32", device="cpu")


LOSSES: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("MultiVectorMultipleNegativesRankingLoss", {}, {}),
    ("MultiVectorMultipleNegativesRankingLoss", {"scale": 3.0, "mini_batch_size": 2, "score_mini_batch_size": 3}, {}),
    (
        "MultiVectorMultipleNegativesRankingLoss",
        {"similarity_fct": losses.mean_colbert_scores},
        {"similarity_fct": their_colbert.mean_colbert_scores},
    ),
    (
        "MultiVectorMultipleNegativesRankingLoss",
        {"similarity_fct": losses.XTRScores(5)},
        {"similarity_fct": their_scores.XTRScores(5)},
    ),
    ("CachedMultiVectorMultipleNegativesRankingLoss", {"mini_batch_size": 2}, {}),
    ("CachedMultiVectorMultipleNegativesRankingLoss", {"mini_batch_num_tokens": 20, "score_mini_batch_size": 3}, {}),
    ("MultiVectorMarginMSELoss", {}, {}),
    (
        "MultiVectorMarginMSELoss",
        {"similarity_fct": "meanmaxsim"},
        {"similarity_fct": their_colbert.mean_colbert_scores_pairwise},
    ),
    ("MultiVectorDistillKLDivLoss", {"temperature": 0.5}, {}),
    ("MultiVectorDistillKLDivLoss", {"student_temperature": 2.0, "teacher_temperature": 0.25}, {}),
    (
        "MultiVectorDistillKLDivLoss",
        {"similarity_fct": losses.XTRKDScores(5)},
        {"similarity_fct": their_scores.XTRKDScores(5)},
    ),
]


@pytest.mark.parametrize(("name", "options", "other"), LOSSES)
@pytest.mark.parametrize("kind", ["plain", "expanded"])
def test_losses_have_their_values_and_gradients(tmp_path, kind, name, options, other):
    reference, mine = pair(tmp_path, kind)
    check_loss(reference, mine, name, options, other)


@pytest.mark.parametrize("kind", ["attended", "pooled"])
def test_losses_of_attended_expansion_and_of_token_pooling(tmp_path, kind):
    reference, mine = pair(tmp_path, kind)
    check_loss(reference, mine, "MultiVectorMultipleNegativesRankingLoss", {}, {})


def check_loss(reference, mine, name: str, options: dict[str, Any], other: dict[str, Any]) -> None:
    rows = columns(6, "query", "positive", "negative", "more")
    labels = None
    if "Ranking" not in name:
        width = 3
        labels = torch.rand(6, width, generator=torch.Generator().manual_seed(1))
    their_loss = getattr(their_losses, name)(reference, **options | other)
    tasks = ["query", "document", "document", "document"]
    features = [reference.preprocess(column, task=task) for column, task in zip(rows.values(), tasks, strict=True)]
    for column, task in zip(features, tasks, strict=True):
        column["task"] = task
    expected = their_loss(features, labels)
    found = getattr(losses, name)(mine, **options)(
        TrainingRows(Dataset.from_dict(rows), trained(mine)).__getitems__(range(6))["columns"], labels
    )
    assert float(found.detach()) == pytest.approx(float(expected.detach()), rel=1e-5, abs=1e-5)
    expected.backward()
    found.backward()
    for place in (0, 1):
        wanted = dict(reference[place].named_parameters())
        for parameter, value in mine.network[place].named_parameters():
            if wanted[parameter].grad is not None:
                torch.testing.assert_close(value.grad, wanted[parameter].grad, rtol=1e-4, atol=1e-5, msg=parameter)


def test_a_multi_vector_encoder_trains_to_the_same_weights(tmp_path):
    data = Dataset.from_dict(columns(40, "query", "positive", "negative"))
    reference, mine = pair(tmp_path, "expanded")
    arguments = ARGUMENTS | {
        "num_train_epochs": 2,
        "seed": 7,
        "prompts": {"query": "heat ", "positive": "fire ", "negative": "fire "},
        "max_length": {"document": 7},
    }
    other = MultiVectorEncoderTrainer(
        reference,
        MultiVectorEncoderTrainingArguments(str(tmp_path / "theirs"), **arguments),
        data,
        loss=their_losses.MultiVectorMultipleNegativesRankingLoss(reference),
    )
    other.train()
    trainer = MultiVectorTrainer(
        mine,
        MultiVectorTrainingArguments(str(tmp_path / "mine"), dropout=0.0, **arguments),
        data,
        loss=losses.MultiVectorMultipleNegativesRankingLoss(mine),
    )
    trainer.train()
    np.testing.assert_allclose(losses_of(trainer), losses_of(other), atol=2e-4)
    texts = data["positive"][:8]
    found, expected = mine.encode_document(texts, convert_to="list"), reference.encode_document(texts)
    for one, two in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, two.numpy(), atol=2e-4)
