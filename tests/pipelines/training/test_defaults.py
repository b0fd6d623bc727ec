"""Default arguments of a training run."""

from pathlib import Path
from typing import Any

import pytest
from transformers import BertForSequenceClassification

from checkpoints import write_bert
from pipelines.training.recipes.run import LEARNING_RATE, NEW_HEAD_LEARNING_RATE, make_arguments
from pipelines.training.recipes.settings import TrainSettings
from retrieve.encoders import CrossEncoder, DenseEncoder


class Rows(list[dict[str, str]]):
    column_names = ("query", "positive")


ROWS = Rows([{"query": "a", "positive": "b"}])


def arguments(kind: Any, encoder: Any, model: Path, output: Path, **settings: Any) -> Any:
    return make_arguments(
        kind, encoder, TrainSettings(str(model), str(output), **settings), None, ROWS, greater_is_better=True
    )


def test_a_cross_encoder_made_from_an_encoder_has_a_higher_learning_rate(tmp_path: Path) -> None:
    encoder = write_bert(tmp_path / "bert")
    scorer = write_bert(tmp_path / "scorer", BertForSequenceClassification, num_labels=1)
    cross = CrossEncoder(scorer, dtype="float32", device="cpu")
    assert arguments("reranker", cross, encoder, tmp_path).learning_rate == NEW_HEAD_LEARNING_RATE
    assert arguments("reranker", cross, scorer, tmp_path).learning_rate == LEARNING_RATE
    assert arguments("reranker", cross, encoder, tmp_path, lr=1e-6).learning_rate == 1e-6
    dense = DenseEncoder(encoder, dtype="float32", device="cpu")
    assert arguments("dense", dense, encoder, tmp_path).learning_rate == LEARNING_RATE


@pytest.mark.parametrize(("given", "used"), [(None, 0.0), (0.1, 0.1)])
def test_on_a_cpu_dropout_is_off_by_default(tmp_path: Path, given: float | None, used: float) -> None:
    model = write_bert(tmp_path / "bert")
    dense = DenseEncoder(model, dtype="float32", device="cpu")
    assert arguments("dense", dense, model, tmp_path, dropout=given).dropout == used
