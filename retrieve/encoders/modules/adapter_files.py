"""PEFT adapters on disk: small weights that change a base model, which their configuration names."""

import logging
from pathlib import Path
from typing import Any

from indexing.errors import InputError, ModelError
from retrieve.encoders.modules.module import read_object
from retrieve.encoders.modules.tokenizer import quiet

logger = logging.getLogger(__name__)

CONFIG = "adapter_config.json"
_WEIGHTS = "adapter_model.safetensors"
_PICKLE = "adapter_model.bin"


def is_adapter(folder: Path) -> bool:
    """Return whether a folder holds an adapter and no whole model."""
    whole = any(path for name in ("model*.safetensors", "pytorch_model*.bin") for path in folder.glob(name))
    return (folder / CONFIG).is_file() and not whole


def adapted_classifier(task: str, model: Any) -> bool:
    """Return whether a model is a classifier with an adapter, whose folder has no configuration that says so."""
    return task == "sequence-classification" and bool(getattr(model, "peft_config", None))


def base_model(folder: Path) -> tuple[str, str | None]:
    """Return the folder or the Hub's name of an adapter's base model, and its revision.

    Raises
    ------
    ModelError
        If the configuration names none.
    """
    config = read_object(folder / CONFIG)
    name, revision = config.get("base_model_name_or_path"), config.get("revision")
    if not isinstance(name, str) or not name:
        raise ModelError(
            f"{folder / CONFIG}: base_model_name_or_path names no base model: load the base model, and then this "
            "folder with load_adapter"
        )
    return name, revision if isinstance(revision, str) else None


def transformer_folder(folder: Path) -> Path:
    """Return the folder of the transformer in a base model, which may be a checkpoint of several modules.

    Raises
    ------
    ModelError
        If there is none, or it is an adapter itself.
    """
    for candidate in (folder, *sorted(folder.glob("0_*"))):
        if (candidate / "config.json").is_file():
            return candidate
    raise ModelError(f"{folder}: the adapter's base model has no config.json, so it is not a whole transformers model")


def require_peft(what: str) -> None:
    """Raise InputError without the package peft."""
    try:
        import peft  # noqa: F401
    except ImportError as error:
        raise InputError(f"{what} needs the package peft: pip install 'retrieve-rerank[lora]'") from error


def apply_adapter(model: Any, folder: Path, name: str = "default", *, allow_bin: bool, trainable: bool = False) -> None:
    """Load an adapter's weights into a transformers model.

    Raises
    ------
    ModelError
        If weights are missing or damaged, or the adapter is for another model.
    """
    require_peft(f"the adapter {folder}")
    if not hasattr(model, "load_adapter"):
        raise ModelError(f"{folder}: {type(model).__name__} takes no adapters")
    if not (folder / _WEIGHTS).is_file() and not (allow_bin and (folder / _PICKLE).is_file()):
        pickled = (folder / _PICKLE).is_file()
        raise ModelError(
            f"{folder}: the adapter's weights exist only as {_PICKLE}, a pickle: pass allow_bin=True to read it"
            if pickled
            else f"{folder}: there are no adapter weights ({_WEIGHTS})"
        )
    before = {key.replace(".base_layer.", ".") for key in model.state_dict()}
    renamed = vars(model).get("_weight_conversions")
    with quiet():  # its report counts weights of the model whose names contain that of the adapter
        report = model.load_adapter(str(folder), adapter_name=name, is_trainable=trainable)
    # transformers keeps the adapter's renaming of weights, by which `save_pretrained` would rename a merged model's.
    model._weight_conversions = renamed
    # Older transformers return nothing; newer ones count weights of the model and of other adapters.
    missing, unexpected = (sorted(getattr(report, f"{kind}_keys", ())) for kind in ("missing", "unexpected"))
    missing = [key for key in missing if key.replace(".base_layer.", ".") not in before]
    if missing or getattr(report, "mismatched_keys", None):
        names = ", ".join(missing[:3]) or ", ".join(str(key) for key in sorted(report.mismatched_keys)[:3])
        raise ModelError(f"{folder}: the adapter does not fit {type(model).__name__} (weights {names})")
    if unexpected:
        logger.warning("%s: %s has no place for the adapter's %s", folder, type(model).__name__, ", ".join(unexpected))
