"""Fine-tuning a model of any kind on rows."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines.training.recipes.evaluation import held_out
from pipelines.training.recipes.initial_model import load_start
from pipelines.training.recipes.losses import make_loss
from pipelines.training.recipes.processes import is_main, main_first
from pipelines.training.recipes.rows import read_rows
from pipelines.training.recipes.run import START, TrainReport, claim, finished, run_training
from pipelines.training.recipes.settings import Kind, TrainSettings

if TYPE_CHECKING:
    from pipelines.model_card import Card


def train(kind: Kind, settings: TrainSettings) -> TrainReport:
    """Fine-tune a model; a run that was stopped goes on, one that ended gives its report.

    What is to become a SPLADE encoder or a reranker and is none yet is made one first: see `starts.load_start`.

    Raises
    ------
    InputError, ModelError, StorageError
        Before the first step: settings, data or a loss that do not fit, a model that cannot be read, a folder that
        holds another run.
    """
    output = Path(settings.output)
    rows: Any = read_rows(settings.data or "", split=settings.split, columns=settings.columns)
    with main_first():
        claim(output, settings, kind)
        done = finished(output)
        if done is not None:
            return done
        # What the first process made, the others load.
        made = not is_main() and (output / START).is_dir()
        known = replace(settings, model=str(output / START)) if made else settings
        encoder = load_start(kind, known, rows, output / START)
    return train_on(kind, encoder, settings, rows)[0]


def train_on(kind: Kind, encoder: Any, settings: TrainSettings, rows: Any) -> "tuple[TrainReport, Card]":
    """Train a loaded model; gives the card, too."""
    from pipelines.model_card import Card

    card = Card(Path(settings.output).name, base_model=settings.model)
    loss = make_loss(kind, settings, encoder, rows)
    eval_rows, evaluators = held_out(kind, settings)
    report = run_training(
        kind, encoder, settings, rows, loss=loss, eval_rows=eval_rows, evaluators=evaluators, card=card
    )
    return report, card
