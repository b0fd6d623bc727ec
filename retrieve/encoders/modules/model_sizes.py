"""Comparison of the sizes in a model's configuration with its weights, before memory is taken for them."""

import re
from collections.abc import Mapping
from math import inf
from pathlib import Path
from typing import Any

import torch

from indexing.errors import ModelError
from indexing.plurals import counted
from retrieve.encoders.modules.weights import weight_extent, weight_files

# Numbers in a configuration that decide how much is built.
_LAYERS = re.compile(r"(layers?|blocks?|depths?)$")
_SIZES = re.compile(r"size|dim|width|embd|inner|labels|heads|experts|latents|d_model|d_ff|d_kv|rank|vocab|position")
_POSITIVE = re.compile(r"^(num|n)_.*(layers?|heads?)$|^(hidden|intermediate|vocab)_size$|^d_(model|ff|kv)$")
_MOST_LAYERS, _LARGEST_SIZE, _LARGEST_POSITIONS = 256, 1 << 20, 1 << 24
# A model may have some more numbers than its files have bytes: weights that may be missing, and tables it computes.
_NUMBERS_PER_BYTE, _MORE_NUMBERS = 2, 1 << 24


def check_sizes(folder: Path, settings: Any, key: str = "") -> None:
    """Raise ModelError for a number of layers, or a size, that the weights cannot have.

    A configuration of a few bytes could otherwise ask for years of building. Models that share weights between layers
    may have more layers than tensors, so the limits are generous.
    """
    if isinstance(settings, Mapping):
        for name, value in settings.items():
            check_sizes(folder, value, str(name))
    elif isinstance(settings, list | tuple):
        for value in settings:
            check_sizes(folder, value, key)
    elif isinstance(settings, int | float) and settings < 0 and _POSITIVE.search(key):
        raise ModelError(f"{folder / 'config.json'}: {key} is {settings}, but a number of at least 0 is needed")
    elif isinstance(settings, int | float) and settings > _MOST_LAYERS and not key.endswith("_token_id"):
        tensors, largest = weight_extent(folder)
        limit: float = inf
        if _LAYERS.search(key):
            limit = max(tensors, _MOST_LAYERS)
        elif _SIZES.search(key):
            limit = max(largest, _LARGEST_POSITIONS if "position" in key else _LARGEST_SIZE)
        if settings > limit:
            raise ModelError(
                f"{folder / 'config.json'}: {key} is {settings}, but the weights have {tensors} tensors and no "
                f"dimension above {largest}"
            )


def check_memory(folder: Path, model_class: Any, config: Any, **arguments: Any) -> None:
    """Raise ModelError for a configuration whose model needs much more memory than its weights have bytes.

    transformers takes memory for weights that the files lack before it reports that they are missing.
    """
    from transformers.initialization import no_init_weights

    with torch.device("meta"), no_init_weights():
        build = getattr(model_class, "from_config", model_class)
        model = build(config, **arguments)
    numbers = sum(tensor.numel() for tensor in [*model.parameters(), *model.buffers()])
    stored = sum(path.stat().st_size for path in weight_files(folder))
    if numbers > _NUMBERS_PER_BYTE * stored + _MORE_NUMBERS:
        raise ModelError(
            f"{folder / 'config.json'}: the configuration describes a model of {counted(numbers, 'number')}, but the "
            f"files of its weights have {counted(stored, 'byte')}"
        )
