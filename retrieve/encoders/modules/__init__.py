"""The modules that encoders are made of, found by class name."""

from importlib import import_module
from typing import TYPE_CHECKING

from indexing.errors import ModelError

if TYPE_CHECKING:
    from retrieve.encoders.modules.module import Module

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

    sentence-transformers has moved its classes twice, so only the last part of the dotted path counts, and code
    that a checkpoint brings along is never run.

    Raises
    ------
    ModelError
        For a class that is not one of ours.
    """
    name = reference.rpartition(".")[2]
    if name not in _HOME:
        raise ModelError(f"the module {reference!r} is not known here (known: {', '.join(sorted(_HOME))})")
    found: type[Module] = getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    return found
