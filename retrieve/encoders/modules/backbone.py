"""A transformers model, from the files of a checkpoint."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from indexing.errors import ModelError
from retrieve.encoders.modules.module import LoadOptions, read_json
from retrieve.encoders.modules.weights import first_line, require_weights

logger = logging.getLogger(__name__)

# Stored arguments that are ours to decide, or that would run code from the checkpoint.
_OURS = {"trust_remote_code", "torch_dtype", "dtype", "attn_implementation", "device_map", "use_safetensors"}
# Encoder-decoder models by model_type, and transformers' class of their encoder alone.
_ENCODERS = {
    "t5": "T5EncoderModel",
    "mt5": "MT5EncoderModel",
    "umt5": "UMT5EncoderModel",
    "longt5": "LongT5EncoderModel",
    "switch_transformers": "SwitchTransformersEncoderModel",
}


def stored_arguments(settings: Mapping[str, Any], *names: str) -> dict[str, Any]:
    """Give the arguments that a checkpoint stores for transformers, less those that are ours to decide."""
    stored: Mapping[str, Any] = next((settings[name] for name in names if settings.get(name)), {})
    return {name: value for name, value in stored.items() if name not in _OURS}


def load_config(folder: Path, options: LoadOptions, stored: Mapping[str, Any]) -> Any:
    """Load a transformers configuration.

    Raises
    ------
    ModelError
        When there is none, or none that can be read without running the checkpoint's own code, which is named.
    """
    from transformers import AutoConfig

    if not (folder / "config.json").is_file():
        raise ModelError(f"{folder}: there is no config.json, so this is not a transformers model")
    own = custom_classes(read_json(folder / "config.json"))
    try:
        config = AutoConfig.from_pretrained(folder, **options.reading, **stored)
    except Exception as error:  # code of the checkpoint may raise anything
        if own and not options.trust_remote_code:
            raise custom_code_error(folder, own) from error
        raise ModelError(f"{folder / 'config.json'}: transformers cannot read it ({first_line(error)})") from error
    if own and not options.trust_remote_code:
        logger.warning(
            "%s brings its own classes (%s), which are not run: transformers' own %s stands in, whose vectors may "
            "differ; trust_remote_code=True runs them",
            folder,
            ", ".join(own),
            config.model_type,
        )
    return config


def load_model(
    model_class: Any,
    folder: Path,
    config: Any,
    options: LoadOptions,
    *,
    stored: Mapping[str, Any] | None = None,
    prefix: str = "",
    optional: str | None = None,
    without: str = "",
) -> Any:
    """Load a transformers model with all of its weights.

    Parameters
    ----------
    model_class
        Of transformers, an automatic one or not.
    folder, config, options, stored
        Where from, and how; `stored` are further arguments that the checkpoint names.
    prefix
        Of the weights' names, where they stand beside others.
    optional
        Weights with this in their name may be missing.
    without
        Said, beside the names, of a checkpoint that lacks weights.

    Raises
    ------
    ModelError
        When weights are missing, damaged or of other shapes.
    """
    from safetensors import SafetensorError

    _check_shards(folder)
    pickled = require_weights(folder, allow_bin=options.allow_bin)
    arguments: dict[str, Any] = {"key_mapping": {f"^{prefix}".replace(".", r"\."): ""}} if prefix else {}
    if hasattr(model_class, "_model_mapping"):  # only the automatic ones look for code
        arguments |= options.reading
    try:
        model, report = model_class.from_pretrained(
            folder,
            config=config,
            dtype=options.dtype,
            use_safetensors=not pickled,
            output_loading_info=True,
            **({"local_files_only": True} | arguments),
            **(stored or {}),
        )
    except (ValueError, KeyError, OSError, RuntimeError, SafetensorError) as error:
        own = custom_classes(read_json(folder / "config.json"))
        if own and not options.trust_remote_code and "trust_remote_code" in str(error):
            raise custom_code_error(folder, own) from error
        raise ModelError(f"{folder}: the weights cannot be loaded ({first_line(error)})") from error
    missing = sorted(name for name in report["missing_keys"] if optional is None or optional not in name)
    if missing:
        shown = ", ".join(prefix + name for name in missing[:3])
        shown += f" and {len(missing) - 3} more" if len(missing) > 3 else ""
        raise ModelError(f"{folder}: the checkpoint lacks the weights {shown}{without}")
    return model


def encoder_class(config: Any) -> Any:
    """Give the class of the encoder alone of an encoder-decoder model (sentence-t5 and its kin); None for others."""
    import transformers

    name = _ENCODERS.get(config.model_type)
    return getattr(transformers, name) if name is not None else None


def usable_length(asked: int | None, tokenizer: Any, model: Any) -> int | None:
    """Give the tokens that a text may have: as asked or as the tokenizer says, but no more than the model can place."""
    length = int(asked) if asked else int(tokenizer.model_max_length)
    places = getattr(model.config, "max_position_embeddings", None)
    if places and places > 0:
        length = min(length, places - _reserved_positions(model))
    # Tokenizers without a limit of their own carry 1e30.
    return length if length < 1 << 30 else None


def reentrant(model: Any) -> bool:
    """Whether several threads may run a model at once: not one with its own code, nor one that stretches positions.

    Rotary positions that depend on the longest text seen are changed in place.
    """
    config = model.config
    ropes = [getattr(config, name, None) or {} for name in ("rope_parameters", "rope_scaling")]
    kinds = {str(rope.get("rope_type") or rope.get("type")) for rope in ropes}
    kinds |= {str(part.get("rope_type")) for rope in ropes for part in rope.values() if isinstance(part, dict)}
    return type(model).__module__.startswith(("transformers.", "retrieve.")) and not kinds & {"dynamic", "longrope"}


def custom_classes(config: Mapping[str, Any]) -> list[str]:
    """Give the classes of its own that a checkpoint's config.json names, in the file that it brings."""
    named = config.get("auto_map")
    return sorted({str(name) for name in named.values() if name}) if isinstance(named, dict) else []


def custom_code_error(folder: Path, own: list[str]) -> ModelError:
    """Say that a checkpoint needs code of its own, and whose."""
    return ModelError(
        f"{folder}: this model brings its own Python code ({', '.join(own)}), which is not run unless "
        "trust_remote_code=True says so; or use a checkpoint whose architecture transformers knows"
    )


def _check_shards(folder: Path) -> None:
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        shards = sorted(set(read_json(index)["weight_map"].values()))
        lost = [name for name in shards if not (folder / name).is_file()]
        if lost:
            raise ModelError(f"{folder}: the weights {', '.join(lost)} named by {index.name} are missing")


def _reserved_positions(model: Any) -> int:
    """How many positions never hold a token: RoBERTa and its kin count from behind the padding id."""
    for module in model.modules():
        positions = getattr(module, "position_embeddings", None)
        if isinstance(getattr(module, "padding_idx", None), int) and isinstance(positions, torch.nn.Embedding):
            return int(module.padding_idx) + 1
    return 0
