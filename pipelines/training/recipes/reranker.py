"""Fine-tuning a cross-encoder, or making one of an encoder."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines.training.recipes.classification_head import is_cross_encoder, write_cross_start
from pipelines.training.recipes.evaluation import reranking
from pipelines.training.recipes.losses import make_loss
from pipelines.training.recipes.rows import read_rows
from pipelines.training.recipes.run import TrainReport, claim, finished, run_training
from pipelines.training.recipes.settings import TrainSettings

if TYPE_CHECKING:
    from pipelines.training.card import Card

START = "start"


def train_reranker(settings: TrainSettings) -> TrainReport:
    """Fine-tune a cross-encoder on rows; of an encoder that is none, one with a head of new weights is made first.

    Raises
    ------
    InputError, ModelError, StorageError
        As `dense.train_dense`.
    """
    output = Path(settings.output)
    rows: Any = read_rows(settings.data or "", split=settings.split, columns=settings.columns)
    claim(output, settings, "reranker")
    done = finished(output)
    if done is not None:
        return done
    encoder = load_start(settings, output / START)
    eval_rows = None
    if settings.eval_data is not None:
        eval_rows = read_rows(settings.eval_data, columns=settings.columns)
    return train_on_rows(encoder, settings, rows, eval_rows, output.name)[0]


def train_on_rows(
    encoder: Any, settings: TrainSettings, rows: Any, eval_rows: Any, name: str
) -> "tuple[TrainReport, Card]":
    """Train a loaded cross-encoder; gives the card, too."""
    from pipelines.training.card import Card

    card = Card(name, base_model=settings.model)
    report = run_training(
        "reranker",
        encoder,
        settings,
        rows,
        loss=make_loss("reranker", settings, encoder, rows),
        eval_rows=eval_rows,
        evaluators=reranking(eval_rows),
        card=card,
    )
    return report, card


def load_start(settings: TrainSettings, folder: Path) -> Any:
    """Load what is trained, made in `folder` where the model is no cross-encoder."""
    from retrieve.encoders import CrossEncoder

    model: str | Path = settings.model
    if not is_cross_encoder(model):
        model = write_cross_start(model, folder, seed=settings.seed, max_length=settings.max_length)
    return CrossEncoder(model, dtype="float32", max_length=settings.max_length)
