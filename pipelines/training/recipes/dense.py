"""Fine-tuning a dense encoder."""

from typing import Any

from pipelines.training.recipes.evaluation import held_out
from pipelines.training.recipes.losses import make_loss
from pipelines.training.recipes.rows import read_rows
from pipelines.training.recipes.run import TrainReport, claim, finished, run_training
from pipelines.training.recipes.settings import TrainSettings


def train_dense(settings: TrainSettings) -> TrainReport:
    """Fine-tune a dense encoder; a run that was stopped goes on, one that ended gives its report.

    Raises
    ------
    InputError, ModelError, StorageError
        Before the first step: settings, data or a loss that do not fit, a model that cannot be read, a folder that
        holds another run.
    """
    from pathlib import Path

    from pipelines.training.card import Card
    from retrieve.encoders import DenseEncoder

    output = Path(settings.output)
    rows: Any = read_rows(settings.data or "", split=settings.split, columns=settings.columns)
    encoder = DenseEncoder(settings.model, dtype="float32", max_length=settings.max_length)
    loss = make_loss("dense", settings, encoder, rows)
    claim(output, settings, "dense")
    done = finished(output)
    if done is not None:
        return done
    eval_rows, evaluators = held_out(settings, dimensions=settings.matryoshka or ())
    return run_training(
        "dense",
        encoder,
        settings,
        rows,
        loss=loss,
        eval_rows=eval_rows,
        evaluators=evaluators,
        card=Card(output.name, base_model=settings.model),
    )
