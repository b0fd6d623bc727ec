"""Activation functions by the dotted path that checkpoints name them by."""

from importlib import import_module

import torch


def torch_activation(reference: str) -> torch.nn.Module | None:
    """Make the torch module that a checkpoint names; None for anything else, which could be any code."""
    home, _, name = reference.rpartition(".")
    if not home.startswith("torch.nn"):
        return None
    found = getattr(import_module(home), name, None)
    return found() if isinstance(found, type) and issubclass(found, torch.nn.Module) else None


def activation_path(activation: object) -> str:
    """Give the dotted path of an activation's class, or of the function itself."""
    named = activation if hasattr(activation, "__qualname__") else type(activation)
    return f"{named.__module__}.{named.__qualname__}"
