"""Fine-tune a model of any kind on rows."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines.training.recipes.evaluation import load_evaluation
from pipelines.training.recipes.initial_model import load_initial_model
from pipelines.training.recipes.losses import make_loss
from pipelines.training.recipes.processes import is_main, main_first
from pipelines.training.recipes.rows import read_rows
from pipelines.training.recipes.run import INITIAL_MODEL, TrainReport, claim_folder, load_report, run_training
from pipelines.training.recipes.settings import Kind, TrainSettings

if TYPE_CHECKING:
    from pipelines.model_card import Card


def train(kind: Kind, settings: TrainSettings) -> TrainReport:
    """Fine-tune a model; resume a stopped run, and return the report of a finished one.

    A model that is not yet of this kind is converted first: see `load_initial_model`.

    Raises
    ------
    InputError, ModelError, StorageError
        Before the first step, if settings, data and loss do not fit together, the model cannot be read, or the output
        folder holds another run.
    """
    output = Path(settings.output)
    rows: Any = read_rows(settings.data or "", split=settings.split, columns=settings.columns)
    with main_first():
        claim_folder(output, settings, kind)
        report = load_report(output)
        if report is not None:
            return report
        # The other processes load the model that the first one built.
        is_built = not is_main() and (output / INITIAL_MODEL).is_dir()
        source = replace(settings, model=str(output / INITIAL_MODEL)) if is_built else settings
        encoder = load_initial_model(kind, source, rows, output / INITIAL_MODEL)
    return train_on(kind, encoder, settings, rows)[0]


def train_on(kind: Kind, encoder: Any, settings: TrainSettings, rows: Any) -> "tuple[TrainReport, Card]":
    """Train a loaded model; return the report and the model card."""
    from pipelines.model_card import Card

    card = Card(Path(settings.output).name, base_model=settings.model)
    loss = make_loss(kind, settings, encoder, rows)
    eval_rows, evaluators = load_evaluation(kind, settings)
    report = run_training(
        kind, encoder, settings, rows, loss=loss, eval_rows=eval_rows, evaluators=evaluators, card=card
    )
    return report, card
