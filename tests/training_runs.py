"""Short runs of the trainers over random words, for tests of training."""

import random
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset

from retrieve.encoders import DenseEncoder

ARGUMENTS: dict[str, Any] = {
    "per_device_train_batch_size": 8,
    "learning_rate": 1e-3,
    "logging_steps": 1,
    "save_strategy": "no",
    "report_to": [],
    "use_cpu": True,
    "disable_tqdm": True,
}
WORDS = ["water", "fire", "heat", "light", "wave", "cell", "energy", "stock", "market"]


def text(draw: random.Random) -> str:
    return " ".join(draw.choice(WORDS) for _ in range(draw.randrange(1, 12)))


def triples(count: int = 40) -> Dataset:
    draw = random.Random(2)
    return Dataset.from_dict({name: [text(draw) for _ in range(count)] for name in ("query", "positive", "negative")})


def dense(folder: Path) -> DenseEncoder:
    return DenseEncoder(folder, dtype="float32", device="cpu")


def losses_of(trainer: Any) -> list[float]:
    """Return the loss of each step that a trainer has logged."""
    return [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]


def no_dropout(model: torch.nn.Module) -> None:
    """Switch dropout off also in training, so that two runs can be compared."""
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
