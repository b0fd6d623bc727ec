"""Modules of encoders, looked up by their class names in checkpoints."""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from indexing.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Callable

    from retrieve.encoders.modules.module import LoadOptions, Module

_HOME = {
    "Asym": "router",
    "BoW": "word_embeddings",
    "CNN": "token_layers",
    "ColBERTProjection": "dense",
    "Dense": "dense",
    "Dropout": "vector_layers",
    "HierarchicalTokenPooling": "token_pooling",
    "LSTM": "token_layers",
    "LayerNorm": "vector_layers",
    "LogitScore": "logit_score",
    "MLMTransformer": "transformer",
    "MultiVectorMask": "multi_vector_mask",
    "Normalize": "normalize",
    "Pooling": "pooling",
    "Router": "router",
    "SparseAutoEncoder": "sparse_auto_encoder",
    "SparseStaticEmbedding": "sparse_static_embedding",
    "SpladePooling": "splade_pooling",
    "StaticEmbedding": "static_embedding",
    "Transformer": "transformer",
    "WeightedLayerPooling": "token_layers",
    "WordEmbeddings": "word_embeddings",
    "WordWeights": "token_layers",
}
# Classes of other libraries that equal one of sentence-transformers.
_ALIASES = {"pylate.models.Dense.Dense"}


@dataclass(frozen=True, slots=True)
class Step:
    """Entry of a checkpoint's list of modules: class, folder, and a config to use instead of the folder's."""

    reference: str
    path: str = ""
    config: Mapping[str, Any] | None = None


def module_class(reference: str) -> "type[Module]":
    """Return the class that a checkpoint's `type` names.

    sentence-transformers has moved its classes twice, so only the last part of its dotted paths counts. A class with
    any other path is the checkpoint's own code, whatever its name.

    Raises
    ------
    ModelError
        If the class is not implemented here.
    """
    name = reference.rpartition(".")[2]
    if name not in _HOME or not is_known(reference):
        raise ModelError(f"the module {reference!r} is not known here (known: {', '.join(sorted(_HOME))})")
    module: type[Module] = getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    return module


def is_known(reference: str) -> bool:
    """Return whether a `type` has a path in sentence-transformers or none, or is PyLate's projection."""
    package, _, _ = reference.rpartition(".")
    return not package or package.split(".")[0] == "sentence_transformers" or reference in _ALIASES


def module_loader(reference: str, checkpoint: Path, options: "LoadOptions") -> "Callable[..., Module]":
    """Return a function (folder, options, config) that loads a module of this `type` in a checkpoint.

    Raises
    ------
    ModelError
        If its class is not known here, and the checkpoint's code is not trusted or is missing.
    """
    if is_known(reference):
        return module_class(reference).load
    from retrieve.encoders.modules.custom import custom_loader

    return custom_loader(reference, checkpoint, options)


def module_files(reference: str, folder: Path) -> list[Path]:
    """Return the files, beside its configuration, that determine a module's output."""
    if is_known(reference):
        return module_class(reference).files(folder)
    from retrieve.encoders.modules.weights import weight_files

    return weight_files(folder)
