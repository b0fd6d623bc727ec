"""LoRA: train a few small matrices beside frozen weights, and save them alone.

References
----------
Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models", 2021.
"""

import logging
from typing import Any

from indexing.errors import InputError
from retrieve.encoders.modules.adapter_files import require_peft

logger = logging.getLogger(__name__)

_NAMES = {"r": "r", "alpha": "lora_alpha", "dropout": "lora_dropout", "target": "target_modules"}
_HEADS = ("classifier", "score")
_EXAMPLE = "r=16,alpha=32,target=query+value"


def add_lora(encoder: Any, description: str) -> None:
    """Add an adapter to train to an encoder, whose transformer is frozen otherwise.

    Parameters
    ----------
    description
        As in ``r=16,alpha=32,target=query+value,dropout=0.1``; see `lora_options`.
    """
    options = lora_options(description)
    require_peft("--lora")
    from peft import LoraConfig

    if encoder.output == "scores":
        # A classification head has to be trained whole: it is small, and new for a cross-encoder made from an encoder.
        heads = [name for name in _HEADS if hasattr(encoder._transformers()[0].model, name)]
        options |= {"modules_to_save": heads} if heads else {}
    try:
        encoder.add_adapter(LoraConfig(**options))
    except Exception as error:
        if "target_modules" in options and "specify" not in str(error):
            raise
        encoder.add_adapter(LoraConfig(**options | {"target_modules": "all-linear"}))
    weights = list(encoder.network.parameters())
    trained = sum(weight.numel() for weight in weights if weight.requires_grad)
    logger.info("LoRA trains %s of %s weights", f"{trained:,}", f"{sum(weight.numel() for weight in weights):,}")


def lora_options(description: str) -> dict[str, Any]:
    """Return the arguments of peft's ``LoraConfig``.

    ``r`` is the rank of the matrices (8), ``alpha`` their scale times r (16), ``dropout`` that of their input (0), and
    ``target`` the names of the layers, joined by ``+`` (those that peft knows for the architecture, else all linear
    ones).

    Raises
    ------
    InputError
        For an unknown name or a wrong value.
    """
    options: dict[str, Any] = {"r": 8, "lora_alpha": 16}
    for part in filter(None, (part.strip() for part in description.split(","))):
        name, _, value = part.partition("=")
        if name not in _NAMES or not value:
            raise InputError(f"lora: {part!r} is none of {', '.join(_NAMES)} with a value: write {_EXAMPLE} (--lora)")
        options[_NAMES[name]] = value.split("+") if name == "target" else _number(name, value)
    return options


def _number(name: str, value: str) -> float:
    try:
        number = float(value) if name == "dropout" else int(value)
    except ValueError:
        number = -1
    if number < 0 or (name == "r" and not number) or (name == "dropout" and number >= 1):
        raise InputError(f"lora: {name} cannot be {value!r}: write {_EXAMPLE} (--lora)")
    return number
