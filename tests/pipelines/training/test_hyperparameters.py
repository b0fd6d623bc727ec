"""Search of hyperparameters: each trial trains a new model, and the best one is returned."""

from pathlib import Path
from typing import Any

import pytest

from indexing.errors import InputError
from pipelines.training.arguments import DenseTrainingArguments
from pipelines.training.hyperparameters import hyperparameter_search
from pipelines.training.losses import MultipleNegativesRankingLoss
from training_runs import ARGUMENTS, dense, triples


def search(bert: Path, folder: Path, space: Any) -> Any:
    arguments = DenseTrainingArguments(str(folder), max_steps=2, **ARGUMENTS)
    rows = triples(16)
    return hyperparameter_search(
        lambda trial: dense(bert), arguments, rows, rows, loss=MultipleNegativesRankingLoss, hp_space=space, n_trials=2
    )


def test_the_best_of_two_learning_rates_is_returned(bert: Path, tmp_path: Path) -> None:
    best = search(bert, tmp_path, lambda trial: {"learning_rate": (1e-9, 1e-3)[trial.number]})
    values = [trial.value for trial in best.study.trials]
    assert len(values) == 2 and best.objective == min(values) and values[0] != values[1]
    assert best.run_id == str(values.index(min(values)))


def test_a_space_with_an_unknown_argument_is_refused(bert: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="hp_space sets 'learning_rat'"):
        search(bert, tmp_path, lambda trial: {"learning_rat": 1.0})
