"""Training beside sentence-transformers: the same model, rows, order, loss and settings.

Dropout is off on both sides, so that the losses of the steps can be compared.
"""

import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

import numpy as np

from benchmarks.speed.measure import Job, Row, Side, by_turns

SETTINGS: dict[str, Any] = {
    "learning_rate": 2e-5,
    "warmup_steps": 2,
    "logging_steps": 1,
    "save_strategy": "no",
    "report_to": [],
    "disable_tqdm": True,
    "seed": 12,
}


def compare(
    model: str,
    rows: Sequence[tuple[str, str]],
    *,
    steps: int,
    batch_size: int,
    device: str,
    repeats: int,
    threads: int | None = None,
) -> list[Row]:
    """Time multiple negatives ranking over (query, document) rows, in float32 and with autocast to bfloat16."""
    result: list[Row] = []
    for setting, bf16 in (("default", False), ("best", True)):
        arguments = (model, list(rows), steps, batch_size, bf16, device)
        with ExitStack() as stack:
            mine = stack.enter_context(Side(ours, *arguments, threads=threads))
            other = stack.enter_context(Side(theirs, *arguments, threads=threads))
            by_turns([mine, other], repeats)
            (losses, peak), (expected, their_peak) = mine.finish(), other.finish()
        result.append(
            {
                "task": "train",
                "peer": "sentence-transformers",
                "setting": setting,
                "ratio": other.median / mine.median,
                "agreement": float(np.abs(losses - expected).max()),
                "ours_s": mine.median,
                "theirs_s": other.median,
                "ours_peak_mb": peak,
                "theirs_peak_mb": their_peak,
                "detail": f"{steps} steps of {batch_size} rows, {'bf16 autocast' if bf16 else 'float32'}; "
                "agreement: largest difference of a step's loss",
            }
        )
    return result


def ours(model: str, rows: list[Any], steps: int, batch_size: int, bf16: bool, device: str) -> Job:
    """Train ours, from the checkpoint's weights each time."""
    from pipelines.training.arguments import DenseTrainingArguments
    from pipelines.training.losses import MultipleNegativesRankingLoss
    from pipelines.training.trainer import DenseTrainer
    from retrieve.encoders import DenseEncoder

    data = _dataset(rows)

    def run() -> Any:
        encoder = DenseEncoder(model, dtype="float32", device=device)
        with tempfile.TemporaryDirectory() as folder:
            arguments = DenseTrainingArguments(
                folder,
                max_steps=steps,
                per_device_train_batch_size=batch_size,
                batch_sampler="no_duplicates",
                dropout=0.0,
                bf16=bf16,
                use_cpu=device == "cpu",
                **SETTINGS,
            )
            trainer = DenseTrainer(encoder, arguments, data, loss=MultipleNegativesRankingLoss(encoder))
            trainer.train()
        return trainer.state.log_history

    return run, _losses


def theirs(model: str, rows: list[Any], steps: int, batch_size: int, bf16: bool, device: str) -> Job:
    """Train theirs, from the checkpoint's weights each time."""
    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss
    from sentence_transformers.sentence_transformer.trainer import SentenceTransformerTrainer
    from sentence_transformers.sentence_transformer.training_args import SentenceTransformerTrainingArguments

    from retrieve.encoders.modules.transformer import quiet

    data = _dataset(rows)

    def run() -> Any:
        with quiet():
            encoder = SentenceTransformer(model, device=device)
        for module in encoder.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0
        with tempfile.TemporaryDirectory() as folder:
            arguments = SentenceTransformerTrainingArguments(
                folder,
                max_steps=steps,
                per_device_train_batch_size=batch_size,
                batch_sampler="no_duplicates",
                bf16=bf16,
                use_cpu=device == "cpu",
                **SETTINGS,
            )
            trainer = SentenceTransformerTrainer(encoder, arguments, data, loss=MultipleNegativesRankingLoss(encoder))
            trainer.train()
        return trainer.state.log_history

    return run, _losses


def _dataset(rows: list[Any]) -> Any:
    from datasets import Dataset

    return Dataset.from_dict({"query": [query for query, _ in rows], "positive": [text for _, text in rows]})


def _losses(history: list[dict[str, Any]]) -> np.ndarray:
    return np.array([entry["loss"] for entry in history if "loss" in entry])
