"""Modules whose class is the checkpoint's own code, run only if it is trusted."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch

from indexing.errors import ModelError
from retrieve.encoders.modules.module import Features, LoadOptions, Module
from retrieve.encoders.modules.weights import first_line


class Custom(Module):
    """Wrapper of a checkpoint's own module with sentence-transformers' interface.

    That is `load` from a folder, and `forward` from features to features. The first module cannot be custom, because
    reading texts needs a larger interface.
    """

    reentrant = False

    def __init__(self, reference: str, inner: torch.nn.Module) -> None:
        super().__init__()
        self.reference, self.inner = reference, inner

    @property
    def config(self) -> dict[str, Any]:
        """Path of its class; its own settings are not accessible."""
        return {"reference": self.reference}

    def forward(self, features: Features) -> Features:
        """Run the wrapped module."""
        output: Features = self.inner(features)
        return output

    def dimension(self, incoming: int | None) -> int | None:
        """Return the width that the wrapped module states, or else the incoming one."""
        for name in ("get_embedding_dimension", "get_sentence_embedding_dimension"):
            if callable(method := getattr(self.inner, name, None)):
                width: int | None = method()
                return width
        return incoming

    def save(self, folder: Path) -> None:
        """Raise ModelError: the code stays with its checkpoint."""
        raise ModelError(
            f"the module {self.reference!r} is the checkpoint's own code, which is not saved with it: "
            "copy the checkpoint's folder instead"
        )


def custom_loader(reference: str, checkpoint: Path, options: LoadOptions) -> Callable[..., Custom]:
    """Import a class from a checkpoint; return a function (folder, options, config) that loads a module of it.

    Raises
    ------
    ModelError
        If its code is not trusted, is missing, or fails.
    """
    if not options.trust_remote_code:
        raise ModelError(
            f"the module {reference!r} is not known here, and the checkpoint's own code is only run with "
            "trust_remote_code=True"
        )
    from transformers.dynamic_module_utils import get_class_from_dynamic_module

    try:
        kind = get_class_from_dynamic_module(reference, str(checkpoint), local_files_only=options.local_files_only)
    except Exception as error:  # foreign code may raise anything
        raise ModelError(f"the module {reference!r} cannot be imported ({first_line(error)})") from error
    return partial(_load, reference, kind)


def _load(reference: str, kind: Any, folder: Path, options: LoadOptions, config: Any = None) -> Custom:
    try:
        return Custom(reference, kind.load(str(folder)).eval())
    except Exception as error:  # foreign code may raise anything
        raise ModelError(f"{folder}: the module {reference!r} cannot be loaded ({first_line(error)})") from error
