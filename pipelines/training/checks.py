"""Checks before the first step: of the loss on the first rows, and of saving the model and loading it again."""

import logging
import shutil
from pathlib import Path
from typing import Any

import torch
from torch import nn

from indexing.errors import InputError
from pipelines.training import TRIAL
from pipelines.training.data import MultiDatasetRows, TrainingRows
from pipelines.training.losses.base import WrapperLoss
from pipelines.training.losses.cross.multiple_negatives_ranking import MultipleNegativesRankingLoss as CrossRankingLoss
from pipelines.training.losses.gist import GISTEmbedLoss
from pipelines.training.losses.multi_vector.multiple_negatives_ranking import MultiVectorMultipleNegativesRankingLoss
from pipelines.training.losses.multiple_negatives_ranking import (
    MultipleNegativesRankingLoss,
    MultipleNegativesSymmetricRankingLoss,
)
from pipelines.training.streams import ChainedRows, StreamedRows

logger = logging.getLogger(__name__)

_ROWS_TRIED = 4
_IN_BATCH = (
    MultipleNegativesRankingLoss,
    MultipleNegativesSymmetricRankingLoss,
    MultiVectorMultipleNegativesRankingLoss,
    GISTEmbedLoss,
    CrossRankingLoss,
)
"""Losses whose negatives are the documents of other rows."""


def try_losses(trainer: Any, rows: Any) -> None:
    """Compute each loss on the first rows, and warn of data on which a loss cannot learn anything.

    Raises
    ------
    InputError
        For data that does not fit its loss, or a stream without rows.
    """
    if rows is None:
        return
    for dataset in rows.datasets if isinstance(rows, MultiDatasetRows) else [rows]:
        batch = dataset.first(_ROWS_TRIED)
        if batch is None:
            raise InputError("the training data is a stream without rows")
        with torch.random.fork_rng(), torch.no_grad():
            value = trainer.compute_loss(trainer.model, trainer._prepare_inputs(batch))
        if not torch.isfinite(value):
            logger.warning("the loss of the first rows is %s", float(value))
        if isinstance(dataset, TrainingRows):
            loss = trainer.losses[dataset.name if None not in trainer.losses else None]
            warn_of_missing_negatives(loss, dataset, trainer.args.train_batch_size)


def warn_of_missing_negatives(loss: nn.Module, rows: TrainingRows, batch_size: int) -> None:
    """Warn if the negatives of a loss are the documents of other rows, and no batch has any."""
    while isinstance(loss, WrapperLoss):
        loss = loss.loss
    if not isinstance(loss, _IN_BATCH) or len(rows.roles.inputs) != 2:
        return
    anchors, positives = (rows.distinct_texts(column) for column in (0, 1))
    reason = ""
    if batch_size == 1:
        reason = "a batch has one row"
    elif anchors == 1 or positives == 1:
        column = rows.roles.inputs[int(anchors > 1)]
        reason = "there is one row" if len(rows) == 1 else f"all rows have the same text in column {column!r}"
    if reason:
        logger.warning(
            "%s learns nothing here: %s, so no row has a negative; add other rows or a column of negatives%s",
            type(loss).__name__,
            reason,
            ", or raise the batch size" if batch_size == 1 else "",
        )


def warn_of_idle_workers(arguments: Any, rows: Any) -> None:
    """Warn if worker processes are asked for and no rows are streamed: one batch of tokens takes less than sending it.

    docs/training.md has the times.
    """
    if arguments.dataloader_num_workers and not any(isinstance(part, StreamedRows | ChainedRows) for part in rows):
        logger.warning(
            "dataloader_num_workers=%d has no effect: rows in memory are tokenized once, before the first step, and "
            "making a batch of them takes less time than sending it between processes",
            arguments.dataloader_num_workers,
        )


def try_metric(trainer: Any) -> None:
    """Evaluate once if the run needs a figure that only an evaluation names: `metric_for_best_model`.

    Raises
    ------
    InputError
        For a figure that no evaluation of the run returns; the message lists those that it returns.
    """
    arguments = trainer.args
    wanted = arguments.metric_for_best_model
    if wanted is None or arguments.eval_strategy == "no" or arguments.save_strategy == "no":
        return
    names = trainer.eval_dataset if isinstance(trainer.eval_dataset, dict) else ()
    figures = {f"eval_{name}_loss" for name in names} or {"eval_loss"}
    name = wanted if wanted.startswith("eval_") else f"eval_{wanted}"
    if name not in figures:
        figures |= trainer.figures_of_evaluators() if trainer.evaluators else set()
    if name not in figures:
        raise InputError(
            f"metric_for_best_model={wanted!r} is no figure of this run's evaluations; there are "
            f"{', '.join(sorted(figures))}"
        )


def try_saving(trainer: Any) -> None:
    """Save the model as a checkpoint does, and load it again if the run will do so at its end.

    A run that saves nothing, and any process but the main one, tries nothing.
    """
    arguments = trainer.args
    if arguments.save_strategy == "no" or not arguments.should_save:
        return
    folder = Path(str(arguments.output_dir)) / TRIAL
    try:
        trainer._save(str(folder))
        if arguments.load_best_model_at_end:
            trainer.saved_weights(folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
