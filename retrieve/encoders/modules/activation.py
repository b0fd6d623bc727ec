"""Activation functions, looked up by their dotted paths in checkpoints."""

from importlib import import_module

import torch


def torch_activation(reference: object) -> torch.nn.Module | None:
    """Create the torch module of this name; return None for any other name, which could run arbitrary code."""
    package, _, name = str(reference).rpartition(".")
    if package != "torch.nn" and not package.startswith("torch.nn.modules."):
        return None
    try:
        kind = getattr(import_module(package), name, None)
        return kind() if isinstance(kind, type) and issubclass(kind, torch.nn.Module) else None
    except (ImportError, TypeError):  # no such module, or a layer that needs arguments
        return None


def activation_path(activation: object) -> str:
    """Return the dotted path of an activation's class, or of a function."""
    kind = activation if hasattr(activation, "__qualname__") else type(activation)
    return f"{kind.__module__}.{kind.__qualname__}"
