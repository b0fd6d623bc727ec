"""The modules that encoders are made of, found by class name."""

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from indexing.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Callable

    from retrieve.encoders.modules.module import LoadOptions, Module

_HOME = {
    "Asym": "router",
    "Dense": "dense",
    "LogitScore": "logit_score",
    "MLMTransformer": "transformer",
    "Normalize": "normalize",
    "Pooling": "pooling",
    "Router": "router",
    "SparseAutoEncoder": "sparse_auto_encoder",
    "SparseStaticEmbedding": "sparse_static_embedding",
    "SpladePooling": "splade_pooling",
    "StaticEmbedding": "static_embedding",
    "Transformer": "transformer",
}


def module_class(reference: str) -> "type[Module]":
    """Give the class that a checkpoint's `type` names.

    sentence-transformers has moved its classes twice, so of its dotted paths only the last part counts. A class of
    any other path is code that the checkpoint brings along, whatever its name.

    Raises
    ------
    ModelError
        For a class that is not one of ours.
    """
    name = reference.rpartition(".")[2]
    if name not in _HOME or not is_known(reference):
        raise ModelError(f"the module {reference!r} is not known here (known: {', '.join(sorted(_HOME))})")
    found: type[Module] = getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    return found


def is_known(reference: str) -> bool:
    """Whether a `type` claims to be one of sentence-transformers' own classes, or names no home at all."""
    home, _, _ = reference.rpartition(".")
    return not home or home.split(".")[0] == "sentence_transformers"


def module_loader(reference: str, home: Path, options: "LoadOptions") -> "Callable[..., Module]":
    """Give what loads a module from its (folder, options, config), for a `type` of the checkpoint in `home`.

    Raises
    ------
    ModelError
        When its class is not known and the checkpoint's code is not trusted, or is not there.
    """
    if is_known(reference):
        return module_class(reference).load
    from retrieve.encoders.modules.custom import custom_loader

    return custom_loader(reference, home, options)


def module_files(reference: str, folder: Path) -> list[Path]:
    """Give the files that decide what a module makes, beside its configuration."""
    if is_known(reference):
        return module_class(reference).files(folder)
    from retrieve.encoders.modules.weights import weight_files

    return weight_files(folder)
