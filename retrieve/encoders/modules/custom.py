"""A module whose class the checkpoint brings along, run only where its code is trusted."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch

from indexing.errors import ModelError
from retrieve.encoders.modules.module import Features, LoadOptions, Module
from retrieve.encoders.modules.weights import first_line


class Custom(Module):
    """Stands for a module of the checkpoint's own, with sentence-transformers' interface.

    That is `load` from a folder, and `forward` from features to features. It may stand anywhere but first: what reads
    texts has more of an interface than can be stood in for.
    """

    reentrant = False

    def __init__(self, reference: str, inner: torch.nn.Module) -> None:
        super().__init__()
        self.reference, self.inner = reference, inner

    @property
    def config(self) -> dict[str, Any]:
        """Which class it is: its settings are known to itself only."""
        return {"reference": self.reference}

    def forward(self, features: Features) -> Features:
        """Have it add to the features."""
        output: Features = self.inner(features)
        return output

    def dimension(self, incoming: int | None) -> int | None:
        """Give the width that it says it makes, else the incoming one."""
        for name in ("get_embedding_dimension", "get_sentence_embedding_dimension"):
            if callable(says := getattr(self.inner, name, None)):
                width: int | None = says()
                return width
        return incoming

    def save(self, folder: Path) -> None:
        """Refuse: the code belongs to the checkpoint it came from."""
        raise ModelError(
            f"the module {self.reference!r} is the checkpoint's own code, which is not saved with it: "
            "copy the checkpoint's folder instead"
        )


def custom_loader(reference: str, home: Path, options: LoadOptions) -> Callable[..., Custom]:
    """Import a class from the checkpoint in `home`; gives what loads a module of it from (folder, options, config).

    Raises
    ------
    ModelError
        When its code is not trusted, is not there, or fails.
    """
    if not options.trust_remote_code:
        raise ModelError(
            f"the module {reference!r} is not known here, and the checkpoint's own code is not run unless "
            "trust_remote_code=True says so"
        )
    from transformers.dynamic_module_utils import get_class_from_dynamic_module

    try:
        found = get_class_from_dynamic_module(reference, str(home), local_files_only=options.local_files_only)
    except Exception as error:  # it is anyone's code
        raise ModelError(f"the module {reference!r} cannot be imported ({first_line(error)})") from error
    return partial(_load, reference, found)


def _load(reference: str, found: Any, folder: Path, options: LoadOptions, config: Any = None) -> Custom:
    try:
        return Custom(reference, found.load(str(folder)).eval())
    except Exception as error:  # it is anyone's code
        raise ModelError(f"{folder}: the module {reference!r} cannot be loaded ({first_line(error)})") from error
