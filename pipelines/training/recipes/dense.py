"""Fine-tuning a dense encoder."""

from pathlib import Path
from typing import Any

from pipelines.training.recipes.evaluation import held_out
from pipelines.training.recipes.losses import make_loss
from pipelines.training.recipes.rotation import TEXTS_READ, write_rotated_start
from pipelines.training.recipes.rows import read_rows
from pipelines.training.recipes.run import TrainReport, claim, finished, run_training
from pipelines.training.recipes.settings import TrainSettings
from pipelines.training.roles import roles

START = "start"
"""The folder of the model to begin with, where it had to be made."""


def train_dense(settings: TrainSettings) -> TrainReport:
    """Fine-tune a dense encoder; a run that was stopped goes on, one that ended gives its report.

    With Matryoshka widths its vectors are turned first, see `write_rotated_start`.

    Raises
    ------
    InputError, ModelError, StorageError
        Before the first step: settings, data or a loss that do not fit, a model that cannot be read, a folder that
        holds another run.
    """
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
    if any(width < encoder.dimension for width in settings.matryoshka or ()):
        start = write_rotated_start(encoder, _documents(rows), output / START)
        encoder = DenseEncoder(start, dtype="float32", max_length=settings.max_length)
        loss = make_loss("dense", settings, encoder, rows)
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


def _documents(rows: Any) -> list[str]:
    """Give the texts of the last column, which are documents as a rule, each once."""
    column = rows[roles(rows.column_names).inputs[-1]]
    return list(dict.fromkeys(text for text, _ in zip(column, range(4 * TEXTS_READ), strict=False)))
