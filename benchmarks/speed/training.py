"""Time training beside sentence-transformers, with the same model, rows, order, loss and settings.

Dropout is off on both sides, so that the losses of the steps can be compared.
"""

import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any

import numpy as np

from benchmarks.speed.measure import Job, Row, Side, by_turns, timed_row

SETTINGS: dict[str, Any] = {
    "learning_rate": 2e-5,
    "warmup_steps": 2,
    "logging_steps": 1,
    "save_strategy": "no",
    "report_to": [],
    "disable_tqdm": True,
    "seed": 12,
}

REGULARIZERS = (3e-5, 5e-5)
"""Weights of the document and query regularizers of SPLADE."""


def compare(
    model: str,
    rows: Sequence[tuple[str, str]],
    *,
    sparse: bool = False,
    steps: int,
    batch_size: int,
    device: str,
    repeats: int,
    threads: int | None = None,
) -> list[Row]:
    """Time multiple negatives ranking over (query, document) rows, in float32 and with autocast to bfloat16.

    Trains a dense encoder, or with `sparse` a SPLADE encoder with its regularizers.
    """
    result: list[Row] = []
    for setting, bf16 in (("default", False), ("best", True)):
        arguments = (model, list(rows), steps, batch_size, bf16, device)
        with ExitStack() as stack:
            mine = stack.enter_context(Side(ours_sparse if sparse else ours, *arguments, threads=threads))
            other = stack.enter_context(Side(theirs_sparse if sparse else theirs, *arguments, threads=threads))
            by_turns([mine, other], repeats)
            (losses, peak), (expected, their_peak) = mine.finish(), other.finish()
        detail = (
            f"{steps} steps of {batch_size} rows, {'bf16 autocast' if bf16 else 'float32'}; "
            "agreement: largest difference of a step's loss"
        )
        task, agreement = "train-sparse" if sparse else "train", float(np.abs(losses - expected).max())
        times, peaks = (mine.median, other.median), (peak, their_peak)
        result.append(timed_row(task, "sentence-transformers", setting, *times, agreement, detail, peaks))
    return result


def ours(model: str, rows: list[Any], steps: int, batch_size: int, bf16: bool, device: str) -> Job:
    """Return the job that trains our dense encoder from the checkpoint."""
    from pipelines.training.arguments import DenseTrainingArguments
    from pipelines.training.losses import MultipleNegativesRankingLoss
    from pipelines.training.trainer import DenseTrainer
    from retrieve.encoders import DenseEncoder

    def trainer(folder: str) -> Any:
        encoder = DenseEncoder(model, dtype="float32", device=device)
        arguments = DenseTrainingArguments(folder, dropout=0.0, **_settings(steps, batch_size, bf16, device))
        return DenseTrainer(encoder, arguments, _dataset(rows), loss=MultipleNegativesRankingLoss(encoder))

    return _job(trainer)


def ours_sparse(model: str, rows: list[Any], steps: int, batch_size: int, bf16: bool, device: str) -> Job:
    """Return the job that trains our SPLADE encoder from the checkpoint."""
    from pipelines.training.arguments import SparseTrainingArguments
    from pipelines.training.losses import MultipleNegativesRankingLoss, SpladeLoss
    from pipelines.training.trainer import SparseTrainer
    from retrieve.encoders import SparseEncoder

    def trainer(folder: str) -> Any:
        encoder = SparseEncoder(model, dtype="float32", device=device)
        arguments = SparseTrainingArguments(folder, dropout=0.0, **_settings(steps, batch_size, bf16, device))
        loss = SpladeLoss(encoder, MultipleNegativesRankingLoss(encoder, scale=1.0, similarity="dot"), *REGULARIZERS)
        return SparseTrainer(encoder, arguments, _dataset(rows), loss=loss)

    return _job(trainer)


def theirs(model: str, rows: list[Any], steps: int, batch_size: int, bf16: bool, device: str) -> Job:
    """Return the job that trains their dense encoder from the checkpoint."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss
    from sentence_transformers.sentence_transformer.trainer import SentenceTransformerTrainer
    from sentence_transformers.sentence_transformer.training_args import SentenceTransformerTrainingArguments

    def trainer(folder: str) -> Any:
        encoder = _without_dropout(SentenceTransformer, model, device)
        arguments = SentenceTransformerTrainingArguments(folder, **_settings(steps, batch_size, bf16, device))
        return SentenceTransformerTrainer(
            encoder, arguments, _dataset(rows), loss=MultipleNegativesRankingLoss(encoder)
        )

    return _job(trainer)


def theirs_sparse(model: str, rows: list[Any], steps: int, batch_size: int, bf16: bool, device: str) -> Job:
    """Return the job that trains their SPLADE encoder from the checkpoint."""
    from sentence_transformers import SparseEncoder
    from sentence_transformers.sparse_encoder.losses import SparseMultipleNegativesRankingLoss, SpladeLoss
    from sentence_transformers.sparse_encoder.trainer import SparseEncoderTrainer
    from sentence_transformers.sparse_encoder.training_args import SparseEncoderTrainingArguments

    def trainer(folder: str) -> Any:
        encoder = _without_dropout(SparseEncoder, model, device)
        arguments = SparseEncoderTrainingArguments(folder, **_settings(steps, batch_size, bf16, device))
        loss = SpladeLoss(encoder, SparseMultipleNegativesRankingLoss(encoder), *REGULARIZERS)
        return SparseEncoderTrainer(encoder, arguments, _dataset(rows), loss=loss)

    return _job(trainer)


def _job(trainer: Callable[[str], Any]) -> Job:
    def run() -> Any:
        with tempfile.TemporaryDirectory() as folder:
            fresh = trainer(folder)
            fresh.train()
        return fresh.state.log_history

    return run, _losses


def _settings(steps: int, batch_size: int, bf16: bool, device: str) -> dict[str, Any]:
    return SETTINGS | {
        "max_steps": steps,
        "per_device_train_batch_size": batch_size,
        "batch_sampler": "no_duplicates",
        "bf16": bf16,
        "use_cpu": device == "cpu",
    }


def _without_dropout(kind: Any, model: str, device: str) -> Any:
    import torch

    from retrieve.encoders.modules.transformer import quiet

    with quiet():
        encoder = kind(model, device=device)
    for module in encoder.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    return encoder


def _dataset(rows: list[Any]) -> Any:
    from datasets import Dataset

    return Dataset.from_dict({"query": [query for query, _ in rows], "positive": [text for _, text in rows]})


def _losses(history: list[dict[str, Any]]) -> np.ndarray:
    return np.array([entry["loss"] for entry in history if "loss" in entry])
