"""A cross-encoder to begin with: a checkpoint that is one, or an encoder with a head of new weights."""

from pathlib import Path
from typing import Any

from indexing.errors import ModelError
from retrieve.encoders.checkpoint import Checkpoint, Source
from retrieve.encoders.modules.tokenizer import save_tokenizer
from retrieve.encoders.saving import write_into


def is_cross_encoder(model: str | Path) -> bool:
    """Tell whether a checkpoint scores pairs already."""
    checkpoint = Checkpoint.open(model, Source(), organisation="cross-encoder")
    architecture = (checkpoint.config.get("architectures") or [""])[0]
    named = checkpoint.settings.get("model_type") == "CrossEncoder"
    return named or architecture.endswith(("ForSequenceClassification", "ForCausalLM"))


def write_cross_start(model: str | Path, folder: str | Path, *, seed: int, max_length: int | None = None) -> Path:
    """Write an encoder's transformer with a head for one score, of random weights.

    Parameters
    ----------
    model
        A dense encoder's checkpoint, or a plain transformers encoder.
    folder
        Where to; what an older run left there is replaced.
    seed
        Of the head's weights.
    max_length
        Tokens of a pair; by default what the encoder reads of one text.

    Raises
    ------
    ModelError
        When transformers has no sequence classifier of the architecture.
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
            headed = AutoModelForSequenceClassification.from_config(config)
        except ValueError as error:
            raise ModelError(
                f"{encoder.checkpoint.name} is a {config.model_type}, which transformers cannot make a cross-encoder of"
            ) from error
    headed.base_model.load_state_dict(first.model.state_dict(), strict=False)

    def save(aside: Path) -> None:
        headed.save_pretrained(aside)
        save_tokenizer(first.tokenizer, aside, first.max_length)

    write_into(Path(folder), save)
    return Path(folder)
