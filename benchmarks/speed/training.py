"""Time training beside sentence-transformers, with the same model, rows, order, loss and settings.

Dropout is off on both sides, so that the losses of the steps can be compared.
"""

import tempfile
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from benchmarks.speed.measure import Job, Row, measure, measured_row
from retrieve.encoders.modules.transformer import quiet

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
        arguments = (model, list(rows), sparse, steps, batch_size, bf16, device)
        mine, other = measure(((ours, *arguments), (theirs, *arguments)), repeats, threads)
        detail = (
            f"{steps} steps of {batch_size} rows, {'bf16 autocast' if bf16 else 'float32'}; "
            "agreement: largest difference of a step's loss"
        )
        agreement = float(np.abs(mine.result - other.result).max())
        result.append(measured_row("train-sparse" if sparse else "train", setting, mine, other, agreement, detail))
    return result


def ours(model: str, rows: list[Any], sparse: bool, steps: int, batch_size: int, bf16: bool, device: str) -> Job:
    """Return the job that trains our encoder from the checkpoint."""
    from pipelines.training.arguments import DenseTrainingArguments, SparseTrainingArguments
    from pipelines.training.losses import MultipleNegativesRankingLoss, SpladeLoss
    from pipelines.training.trainer import DenseTrainer, SparseTrainer
    from retrieve.encoders import DenseEncoder, SparseEncoder

    settings = {"dropout": 0.0, **_settings(steps, batch_size, bf16, device)}

    def trainer(folder: str) -> Any:
        encoder: Any = (SparseEncoder if sparse else DenseEncoder)(model, dtype="float32", device=device)
        if not sparse:
            loss: Any = MultipleNegativesRankingLoss(encoder)
            return DenseTrainer(encoder, DenseTrainingArguments(folder, **settings), _dataset(rows), loss=loss)
        loss = SpladeLoss(encoder, MultipleNegativesRankingLoss(encoder, scale=1.0, similarity="dot"), *REGULARIZERS)
        return SparseTrainer(encoder, SparseTrainingArguments(folder, **settings), _dataset(rows), loss=loss)

    return _job(trainer)


def theirs(model: str, rows: list[Any], sparse: bool, steps: int, batch_size: int, bf16: bool, device: str) -> Job:
    """Return the job that trains their encoder from the checkpoint."""
    import sentence_transformers as peer
    from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss
    from sentence_transformers.sparse_encoder.losses import SparseMultipleNegativesRankingLoss, SpladeLoss

    name = "SparseEncoder" if sparse else "SentenceTransformer"
    kind, kind_of_trainer, kind_of_arguments = (
        getattr(peer, f"{name}{part}") for part in ("", "Trainer", "TrainingArguments")
    )

    def trainer(folder: str) -> Any:
        encoder = _without_dropout(kind, model, device)
        arguments = kind_of_arguments(folder, **_settings(steps, batch_size, bf16, device))
        if sparse:
            loss: Any = SpladeLoss(encoder, SparseMultipleNegativesRankingLoss(encoder), *REGULARIZERS)
        else:
            loss = MultipleNegativesRankingLoss(encoder)
        return kind_of_trainer(encoder, arguments, _dataset(rows), loss=loss)

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
