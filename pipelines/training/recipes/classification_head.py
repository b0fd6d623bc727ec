"""Initial model for rerankers: an encoder with a new classification head."""

from pathlib import Path
from typing import Any

from indexing.errors import ModelError
from retrieve.encoders.checkpoint import Checkpoint, Source
from retrieve.encoders.modules.tokenizer import save_tokenizer
from retrieve.encoders.saving import write_into


def is_cross_encoder(model: str | Path) -> bool:
    """Return whether a checkpoint is a cross-encoder."""
    checkpoint = Checkpoint.open(model, Source(), organisation="cross-encoder")
    architecture = (checkpoint.config.get("architectures") or [""])[0]
    is_declared = checkpoint.settings.get("model_type") == "CrossEncoder"
    return is_declared or architecture.endswith(("ForSequenceClassification", "ForCausalLM"))


def write_cross_encoder(model: str | Path, folder: str | Path, *, seed: int, max_length: int | None = None) -> Path:
    """Write an encoder's transformer with a head of random weights for one score.

    Parameters
    ----------
    model
        A dense encoder's checkpoint, or a plain transformers encoder.
    folder
        Target folder; existing content is replaced.
    seed
        Seed of the head's weights.
    max_length
        Maximum tokens of a pair; by default the encoder's maximum for one text.

    Raises
    ------
    ModelError
        If transformers has no sequence classifier of the architecture.
    """
    import torch
    from transformers import AutoModelForSequenceClassification

    from retrieve.encoders import DenseEncoder

    encoder = DenseEncoder(model, dtype="float32", device="cpu", max_length=max_length)
    first: Any = encoder.modules[0]
    config = type(first.model.config).from_dict(first.model.config.to_dict() | {"num_labels": 1})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        try:
            classifier = AutoModelForSequenceClassification.from_config(config)
        except ValueError as error:
            raise ModelError(
                f"{encoder.checkpoint.name}: transformers has no sequence classifier for a {config.model_type} model"
            ) from error
    classifier.base_model.load_state_dict(first.model.state_dict(), strict=False)

    def save(staging: Path) -> None:
        classifier.save_pretrained(staging)
        save_tokenizer(first.tokenizer, staging, first.max_length)

    return write_into(Path(folder), save)
