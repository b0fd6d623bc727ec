"""Label accuracy, of a classifier over features as sentence-transformers trains it, and of one over vectors."""

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sentence_transformers import InputExample
from sentence_transformers.sentence_transformer import evaluation as their_dense
from sentence_transformers.sentence_transformer.losses import SoftmaxLoss
from torch.utils.data import DataLoader

from evaluating import assert_same, rows, texts
from indexing.errors import InputError
from pipelines.evaluation import evaluators as ours
from pipelines.training.model import trained


def test_a_dataloader_and_a_softmax_loss(models: Any, tmp_path: Path) -> None:
    mine, theirs = models["dense"]
    labels = [random.Random(at).randrange(3) for at in range(30)]
    examples = [
        InputExample(texts=list(pair), label=label)
        for pair, label in zip(zip(texts(30, 1), texts(30, 2), strict=True), labels, strict=True)
    ]
    losses = [SoftmaxLoss(one, 384, 3) for one in (trained(mine), theirs)]
    torch.nn.init.normal_(losses[1].classifier.weight)
    losses[0].classifier.load_state_dict(losses[1].classifier.state_dict())
    both = [
        module.LabelAccuracyEvaluator(DataLoader(examples, batch_size=8), "nli", loss)
        for module, loss in zip((ours, their_dense), losses, strict=True)
    ]
    found = assert_same(*both, (mine, theirs), tmp_path)
    assert 0 < found["nli_accuracy"] < 1


def test_columns_and_a_classifier_of_vectors(models: Any, tmp_path: Path) -> None:
    encoder = models["dense"][0]
    torch.manual_seed(0)
    layer = torch.nn.Linear(2 * encoder.dimension, 3)
    columns, labels = [texts(30, 1), texts(30, 2)], [at % 3 for at in range(30)]
    vectors = np.concatenate([encoder.encode(column) for column in columns], axis=1)
    expected = (layer(torch.from_numpy(vectors)).argmax(dim=1).numpy() == labels).mean()
    evaluator = ours.LabelAccuracyEvaluator.of_columns(
        columns, labels, lambda found: layer(torch.cat(found, dim=1)), name="nli"
    )
    assert evaluator(encoder, tmp_path) == {"nli_accuracy": pytest.approx(expected)}
    assert rows(tmp_path / "accuracy_evaluation_nli_results.csv")[0] == ["epoch", "steps", "accuracy"]


def test_what_is_missing_is_said(models: Any) -> None:
    with pytest.raises(InputError, match="softmax_model is missing"):
        ours.LabelAccuracyEvaluator(DataLoader([1]))
    with pytest.raises(InputError, match="yielded no row"):
        ours.LabelAccuracyEvaluator(DataLoader([]), softmax_model=print)(models["dense"][0])
