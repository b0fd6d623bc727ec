"""Loading of the transformers model in a checkpoint."""

import logging
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from indexing.errors import ModelError
from retrieve.encoders.modules.model_sizes import check_memory, check_sizes
from retrieve.encoders.modules.module import LoadOptions, read_object, read_settings, subfolder
from retrieve.encoders.modules.weights import first_line, require_weights

logger = logging.getLogger(__name__)

# Stored arguments that the caller decides: ignored.
_IGNORED = {
    "trust_remote_code",
    "torch_dtype",
    "dtype",
    "attn_implementation",
    "device_map",
    "low_cpu_mem_usage",
    "use_safetensors",
}
# The only stored arguments that reach transformers; those of the configuration are its architecture's own fields.
_MODEL_ARGUMENTS = {"add_pooling_layer"}
_CONFIG_ARGUMENTS = {"num_labels", "is_decoder", "pad_token_id", "tie_word_embeddings"}
TOKENIZER_ARGUMENTS = {
    *("model_max_length", "padding_side", "truncation_side", "do_lower_case", "strip_accents", "add_prefix_space"),
    *("tokenize_chinese_chars", "clean_up_tokenization_spaces", "legacy", "split_special_tokens", "max_length"),
    *("add_bos_token", "add_eos_token", "use_fast", "fix_mistral_regex", "min_pixels", "max_pixels"),
    *(f"{name}_token" for name in ("bos", "eos", "unk", "sep", "pad", "cls", "mask")),
}
# Implementations of attention and experts in torch or an installed package; any other is fetched from the Hub.
_IMPLEMENTATIONS = {"eager", "sdpa", "flex_attention", "grouped_mm", "batched_mm"}
_FLASH_PACKAGES = {"flash_attention_2": "flash_attn", "flash_attention_3": "flash_attn_interface"}
# Quantizations that run installed packages only; others fetch kernels from the Hub.
_QUANTIZATION = {"awq", "bitsandbytes", "compressed-tensors", "gptq", "torchao"}
# Encoder-decoder models: model_type -> transformers' class of the encoder alone.
_ENCODERS = {
    "t5": "T5EncoderModel",
    "mt5": "MT5EncoderModel",
    "umt5": "UMT5EncoderModel",
    "longt5": "LongT5EncoderModel",
    "switch_transformers": "SwitchTransformersEncoderModel",
}


@dataclass(frozen=True, slots=True)
class _WeightIndex:
    """Index of weights in several files: {name of a weight: file}."""

    weight_map: Mapping[str, str] = field(metadata={"is": "the file of each weight"})


def stored_arguments(settings: Mapping[str, Any], *names: str) -> dict[str, Any]:
    """Return the arguments for transformers stored under the first of `names`, without those the caller decides."""
    stored: Mapping[str, Any] = next((settings[name] for name in names if settings.get(name)), {})
    return {name: value for name, value in stored.items() if name not in _IGNORED}


def require_accepted(
    stored: Mapping[str, Any], accepted: Collection[str], folder: Path, options: LoadOptions, part: str
) -> None:
    """Raise ModelError for a stored argument that is not accepted; a trusted checkpoint may pass any."""
    refused = sorted(set(stored) - set(accepted))
    if refused and not options.trust_remote_code:
        raise ModelError(
            f"{folder}: the checkpoint's settings pass {', '.join(map(repr, refused))} to the {part}, which is not "
            f"accepted (accepted: {', '.join(sorted(accepted))}); trust_remote_code=True accepts any argument"
        )


def load_config(folder: Path, options: LoadOptions, stored: Mapping[str, Any]) -> Any:
    """Load a transformers configuration.

    Raises
    ------
    ModelError
        If there is none, or reading it would run the checkpoint's own code, which the message names.
    """
    from transformers import AutoConfig, PreTrainedConfig

    if not (folder / "config.json").is_file():
        raise ModelError(f"{folder}: there is no config.json, so this is not a transformers model")
    content = read_object(folder / "config.json")
    custom = custom_classes(content)
    check_sizes(folder, [content, stored])
    try:
        config = AutoConfig.from_pretrained(folder, **options.transformers_options)
        if stored:
            fields = set(config.to_dict()) - set(PreTrainedConfig().to_dict()) | _CONFIG_ARGUMENTS
            require_accepted(stored, fields, folder, options, "configuration")
            config = AutoConfig.from_pretrained(folder, **options.transformers_options, **stored)
    except ModelError:
        raise
    except Exception as error:  # code of the checkpoint may raise anything
        if custom and not options.trust_remote_code:
            raise custom_code_error(folder, custom) from error
        raise ModelError(f"{folder / 'config.json'}: transformers cannot read it ({first_line(error)})") from error
    if not options.trust_remote_code:
        _require_local_code(folder, config)
    if custom and not options.trust_remote_code:
        logger.warning(
            "%s has its own classes (%s), which are not run: using transformers' %s instead, whose vectors may differ; "
            "trust_remote_code=True runs them",
            folder,
            ", ".join(custom),
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
    hint: str = "",
) -> Any:
    """Load a transformers model with all of its weights.

    Parameters
    ----------
    model_class
        Class of transformers, which may be an automatic one.
    folder, config, options, stored
        Folder of the checkpoint, its configuration, how to load it, and further arguments that it stores.
    prefix
        Prefix of the model's weights, if the files have weights of other models too.
    optional
        Weights with this in their name may be missing.
    hint
        Added to the error about missing weights.

    Raises
    ------
    ModelError
        If weights are missing, damaged or of the wrong shape.
    """
    require_accepted(stored or {}, _MODEL_ARGUMENTS, folder, options, "model")
    if (folder / "adapter_config.json").is_file() and find_spec("peft") is not None:
        # transformers would load the base model that the adapter names, from anywhere.
        raise ModelError(f"{folder}: remove adapter_config.json; adapters are not read here, only whole models")
    _check_shards(folder)
    pickled = require_weights(folder, allow_bin=options.allow_bin)
    arguments: dict[str, Any] = {"key_mapping": {f"^{prefix}".replace(".", r"\."): ""}} if prefix else {}
    if hasattr(model_class, "_model_mapping"):  # only automatic classes take these arguments
        arguments |= options.transformers_options
    try:
        if not options.trust_remote_code and getattr(config, "quantization_config", None) is None:
            check_memory(folder, model_class, config, **(stored or {}))
        model, report = model_class.from_pretrained(
            folder,
            config=config,
            dtype=options.dtype,
            use_safetensors=not pickled,
            output_loading_info=True,
            **({"local_files_only": True} | arguments),
            **(stored or {}),
        )
    except ModelError:
        raise
    except Exception as error:  # a configuration may make transformers raise anything
        custom = custom_classes(read_object(folder / "config.json"))
        if custom and not options.trust_remote_code and "trust_remote_code" in str(error):
            raise custom_code_error(folder, custom) from error
        raise ModelError(f"{folder}: the weights cannot be loaded ({first_line(error)})") from error
    missing = sorted(name for name in report["missing_keys"] if optional is None or optional not in name)
    if missing:
        names = ", ".join(prefix + name for name in missing[:3])
        names += f" and {len(missing) - 3} more" if len(missing) > 3 else ""
        raise ModelError(f"{folder}: the checkpoint lacks the weights {names}{hint}")
    return model


def encoder_class(config: Any) -> Any:
    """Return the class of the encoder alone for an encoder-decoder model such as sentence-t5; None for others."""
    import transformers

    name = _ENCODERS.get(config.model_type)
    return getattr(transformers, name) if name is not None else None


def usable_length(requested: int | None, tokenizer: Any, model: Any) -> int | None:
    """Return the maximum tokens of a text: `requested` or the tokenizer's limit, bounded by the model's positions."""
    length = int(requested) if requested else int(tokenizer.model_max_length)
    positions = getattr(model.config, "max_position_embeddings", None)
    if positions and positions > 0:
        length = min(length, positions - _reserved_positions(model))
    # Tokenizers without a limit have 1e30.
    return length if length < 1 << 30 else None


def padding_id(tokenizer: Any, model: Any) -> int:
    """Return the one id to pad with: the tokenizer's, or else the configuration's, or its end of text, or 0."""
    config = model.config.get_text_config()
    rows = getattr(config, "vocab_size", len(tokenizer))
    stored = [getattr(config, name, None) for name in ("pad_token_id", "eos_token_id")]
    for candidate in (tokenizer.pad_token_id, stored[0], tokenizer.eos_token_id, stored[1]):
        token = candidate[0] if isinstance(candidate, list) and candidate else candidate
        if isinstance(token, int) and 0 <= token < rows:
            return token
    return 0


def reentrant(model: Any) -> bool:
    """Return whether several threads may run a model at once.

    Not if it has custom code, or rotary positions that are changed in place as longer texts are seen.
    """
    config = model.config
    ropes = [getattr(config, name, None) or {} for name in ("rope_parameters", "rope_scaling")]
    kinds = {str(rope.get("rope_type") or rope.get("type")) for rope in ropes}
    kinds |= {str(part.get("rope_type")) for rope in ropes for part in rope.values() if isinstance(part, dict)}
    return type(model).__module__.startswith(("transformers.", "retrieve.")) and not kinds & {"dynamic", "longrope"}


def custom_classes(config: Mapping[str, Any]) -> list[str]:
    """Return the custom classes that a checkpoint's config.json names."""
    auto_map = config.get("auto_map")
    return sorted({str(name) for name in auto_map.values() if name}) if isinstance(auto_map, dict) else []


def custom_code_error(folder: Path, custom: list[str]) -> ModelError:
    """Create the error for a checkpoint that needs its own code."""
    return ModelError(
        f"{folder}: this model has its own Python code ({', '.join(custom)}), which is only run with "
        "trust_remote_code=True; or use a checkpoint whose architecture transformers knows"
    )


def _require_local_code(folder: Path, config: Any) -> None:
    """Raise ModelError for a configuration that makes transformers fetch code for attention or quantization."""
    requested: set[str] = set()
    configs = [config, *(getattr(config, name, None) for name in getattr(config, "sub_configs", {}))]
    for part in configs:
        for name in ("_attn_implementation", "_experts_implementation"):
            value = getattr(part, name, None)
            requested |= set(map(str, value.values() if isinstance(value, dict) else [value] if value else []))
    packages = {name for name, package in _FLASH_PACKAGES.items() if find_spec(package) is not None}
    foreign = sorted(name for name in requested if name.removeprefix("paged|") not in _IMPLEMENTATIONS | packages)
    if foreign:
        raise ModelError(
            f"{folder / 'config.json'}: the attention implementation {foreign[0]!r} is code from the Hub or from a "
            f"package that is not installed (available: {', '.join(sorted(_IMPLEMENTATIONS | packages))}); it is only "
            "used with trust_remote_code=True"
        )
    quantization = getattr(config, "quantization_config", None)
    method = quantization.get("quant_method") if isinstance(quantization, Mapping) else None
    if quantization is not None and method not in _QUANTIZATION:
        raise ModelError(
            f"{folder / 'config.json'}: the quantization {method or quantization!r} may run code from the Hub, so it "
            f"is only used with trust_remote_code=True (others: {', '.join(sorted(_QUANTIZATION))})"
        )


def _check_shards(folder: Path) -> None:
    for index in sorted(folder.glob("*.index.json")):
        shards = sorted(set(read_settings(_WeightIndex, index)["weight_map"].values()))
        # A file may be a link, as in the Hub's cache, but its folder must lie within the model's.
        missing = [
            name for name in shards if not (subfolder(folder, str(Path(name).parent)) / Path(name).name).is_file()
        ]
        if missing:
            raise ModelError(f"{folder}: the weights {', '.join(missing)} named by {index.name} are missing")


def _reserved_positions(model: Any) -> int:
    """Return the number of positions that no token uses: models like RoBERTa count from after the padding id."""
    for module in model.modules():
        positions = getattr(module, "position_embeddings", None)
        if isinstance(getattr(module, "padding_idx", None), int) and isinstance(positions, torch.nn.Embedding):
            return int(module.padding_idx) + 1
    return 0
