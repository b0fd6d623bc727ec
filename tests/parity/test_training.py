"""Training from the same weights, data and order ends at sentence-transformers' weights."""

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from datasets import Dataset
from sentence_transformers import CrossEncoder as TheirCrossEncoder
from sentence_transformers import SentenceTransformer
from sentence_transformers.cross_encoder import losses as their_score_losses
from sentence_transformers.cross_encoder.trainer import CrossEncoderTrainer
from sentence_transformers.cross_encoder.training_args import CrossEncoderTrainingArguments
from sentence_transformers.sentence_transformer import losses as their_losses
from sentence_transformers.sentence_transformer.trainer import SentenceTransformerTrainer
from sentence_transformers.sentence_transformer.training_args import SentenceTransformerTrainingArguments
from transformers import BertForSequenceClassification

import training_runs
from checkpoints import write_bert
from pipelines.training import losses
from pipelines.training.arguments import DenseTrainingArguments, RerankerTrainingArguments
from pipelines.training.data import TrainingRows
from pipelines.training.losses import MultipleNegativesRankingLoss
from pipelines.training.losses.cross import BinaryCrossEntropyLoss, ListNetLoss
from pipelines.training.model import trained
from pipelines.training.trainer import DenseTrainer, RerankerTrainer
from retrieve.encoders import CrossEncoder, DenseEncoder
from training_runs import losses_of, no_dropout

WORDS = "alpha beta gamma delta epsilon zeta eta theta iota kappa lamda mu".split()  # noqa: SIM905


def text(draw: random.Random) -> str:
    return " ".join(draw.choice(WORDS) for _ in range(draw.randrange(1, 12)))


def triples(count: int = 40) -> dict[str, list[str]]:
    draw = random.Random(2)
    return {name: [text(draw) for _ in range(count)] for name in ("query", "positive", "negative")}


ARGUMENTS = training_runs.ARGUMENTS | {"num_train_epochs": 2, "warmup_steps": 2, "seed": 7}


@pytest.mark.parametrize(
    ("batch_sampler", "prompts"),
    [("batch_sampler", None), ("no_duplicates", {"query": "find alpha ", "positive": "beta "})],
)
def test_a_dense_encoder(tmp_path: Path, batch_sampler: str, prompts: Any) -> None:
    data = Dataset.from_dict(triples())
    folder = str(write_bert(tmp_path / "bert"))
    theirs = SentenceTransformer(folder, device="cpu")
    no_dropout(theirs)
    reference = SentenceTransformerTrainer(
        theirs,
        SentenceTransformerTrainingArguments(
            str(tmp_path / "theirs"), batch_sampler=batch_sampler, prompts=prompts, **ARGUMENTS
        ),
        data,
        loss=their_losses.MultipleNegativesRankingLoss(theirs),
    )
    reference.train()

    mine = DenseEncoder(folder, dtype="float32", device="cpu")
    arguments = DenseTrainingArguments(
        str(tmp_path / "mine"), batch_sampler=batch_sampler, prompts=prompts, dropout=0.0, **ARGUMENTS
    )
    trainer = DenseTrainer(mine, arguments, data, loss=MultipleNegativesRankingLoss(mine))
    trainer.train()
    np.testing.assert_allclose(losses_of(trainer), losses_of(reference), atol=2e-4)
    texts = data["positive"][:8]
    np.testing.assert_allclose(mine.encode(texts), theirs.encode(texts), atol=2e-4)


def test_a_reranker_by_pairs_and_by_lists(tmp_path: Path) -> None:
    folder = str(write_bert(tmp_path / "bert", BertForSequenceClassification, num_labels=1))
    draw = random.Random(4)
    pairs = Dataset.from_dict(
        {
            "query": [text(draw) for _ in range(40)],
            "document": [text(draw) for _ in range(40)],
            "label": [draw.random() for _ in range(40)],
        }
    )
    lists = Dataset.from_dict(
        {
            "query": [text(draw) for _ in range(24)],
            "documents": [[text(draw) for _ in range(draw.randrange(1, 5))] for _ in range(24)],
        }
    )
    lists = lists.add_column("labels", [[float(draw.randrange(3)) for _ in row["documents"]] for row in lists])
    for data, mine_loss, their_loss in (
        (pairs, BinaryCrossEntropyLoss, their_score_losses.BinaryCrossEntropyLoss),
        (lists, ListNetLoss, their_score_losses.ListNetLoss),
    ):
        theirs = TheirCrossEncoder(folder, device="cpu")
        no_dropout(theirs)
        reference = CrossEncoderTrainer(
            theirs,
            CrossEncoderTrainingArguments(str(tmp_path / "theirs"), **ARGUMENTS),
            data,
            loss=their_loss(theirs),
        )
        reference.train()
        mine = CrossEncoder(folder, dtype="float32", device="cpu")
        arguments = RerankerTrainingArguments(str(tmp_path / "mine"), dropout=0.0, **ARGUMENTS)
        trainer = RerankerTrainer(mine, arguments, data, loss=mine_loss(mine))
        trainer.train()
        np.testing.assert_allclose(losses_of(trainer), losses_of(reference), atol=2e-4)
        some = list(zip(pairs["query"][:8], pairs["document"][:8], strict=True))
        np.testing.assert_allclose(mine.predict(some), theirs.predict(some), atol=2e-4)


@pytest.mark.parametrize("name", ["AdaptiveLayerLoss", "Matryoshka2dLoss"])
def test_losses_over_layers(tmp_path: Path, name: str) -> None:
    folder = str(write_bert(tmp_path / "bert"))
    rows = triples(6)
    theirs, mine = SentenceTransformer(folder, device="cpu"), DenseEncoder(folder, dtype="float32", device="cpu")
    no_dropout(theirs)
    width = mine.dimension
    options: dict[str, Any] = {"matryoshka_dims": [width, width // 2]} if name.startswith("Matryoshka") else {}
    options |= {"n_layers_per_step": -1, "layer_weighting": "log"}
    reference = getattr(their_losses, name)(theirs, their_losses.MultipleNegativesRankingLoss(theirs), **options)
    loss = getattr(losses, name)(mine, MultipleNegativesRankingLoss(mine), **options)
    random.seed(1)
    expected = reference([theirs.preprocess(column) for column in rows.values()], None)
    random.seed(1)
    found = loss(TrainingRows(Dataset.from_dict(rows), trained(mine)).__getitems__(range(6))["columns"])
    assert float(found.detach()) == pytest.approx(float(expected.detach()), rel=1e-5)
    expected.backward()
    found.backward()
    gradient = mine.network[0].model.embeddings.word_embeddings.weight.grad
    wanted = theirs[0].model.embeddings.word_embeddings.weight.grad
    torch.testing.assert_close(gradient, wanted, rtol=1e-3, atol=1e-6)
