"""Fine-tuning a SPLADE encoder, or making one of a dense encoder."""

from pathlib import Path
from typing import Any

from pipelines.training.recipes.evaluation import held_out
from pipelines.training.recipes.losses import make_loss
from pipelines.training.recipes.mlm_head import TEXTS_READ, write_mlm_start
from pipelines.training.recipes.rows import read_rows
from pipelines.training.recipes.run import TrainReport, claim, finished, run_training
from pipelines.training.recipes.settings import TrainSettings
from pipelines.training.roles import roles

_SPARSE = {"SpladePooling", "SparseAutoEncoder", "SparseStaticEmbedding"}

START = "start"
"""The folder of the model to begin with, where it had to be made."""


def train_sparse(settings: TrainSettings) -> TrainReport:
    """Fine-tune a SPLADE encoder; of an encoder without a masked-language-model head one is made first.

    Raises
    ------
    InputError, ModelError, StorageError
        As `dense.train_dense`.
    """
    from pipelines.training.card import Card
    from retrieve.encoders import SparseEncoder

    output = Path(settings.output)
    rows: Any = read_rows(settings.data or "", split=settings.split, columns=settings.columns)
    claim(output, settings, "sparse")
    done = finished(output)
    if done is not None:
        return done
    model = settings.model if has_sparse_head(settings.model) else str(_start(settings, rows, output / START))
    encoder = SparseEncoder(model, dtype="float32", max_length=settings.max_length)
    loss = make_loss("sparse", settings, encoder, rows)
    eval_rows, evaluators = held_out(settings)
    return run_training(
        "sparse",
        encoder,
        settings,
        rows,
        loss=loss,
        eval_rows=eval_rows,
        evaluators=evaluators,
        card=Card(output.name, base_model=settings.model),
    )


def has_sparse_head(model: str | Path) -> bool:
    """Tell whether a checkpoint is a sparse encoder, or a masked language model that one can be made of."""
    from retrieve.encoders.checkpoint import Checkpoint, Source

    checkpoint = Checkpoint.open(model, Source(), organisation="sparse-encoder")
    architecture = (checkpoint.config.get("architectures") or [""])[0]
    is_sparse = checkpoint.settings.get("model_type") == "SparseEncoder"
    plain = not checkpoint.steps and architecture.endswith("ForMaskedLM")
    return is_sparse or plain or any(step.reference.rpartition(".")[2] in _SPARSE for step in checkpoint.steps)


def _start(settings: TrainSettings, rows: Any, folder: Path) -> Path:
    from retrieve.encoders import DenseEncoder

    some = rows.select(range(min(len(rows), TEXTS_READ)))
    column = roles(rows.column_names).inputs[-1]
    texts = [text for value in some[column] for text in (value if isinstance(value, list) else [value])]
    encoder = DenseEncoder(settings.model, dtype="float32", device="cpu", max_length=settings.max_length)
    return write_mlm_start(encoder, texts, folder)
