"""What every module of an encoder is: a torch module whose config keys are declared once, then read and written."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import torch

from indexing.errors import ModelError
from retrieve.encoders.batching import Tokens
from retrieve.encoders.modules.weights import load_weights, weight_files, write_weights

Features = dict[str, Any]
"""What modules hand on to each other, under sentence-transformers' names: `input_ids`, `attention_mask`,
`token_embeddings`, `sentence_embedding`, `scores`, `prompt_length`."""


@dataclass(frozen=True, slots=True)
class LoadOptions:
    """How to load a module.

    Parameters
    ----------
    dtype
        In which transformers compute.
    max_length
        Cut texts to this many tokens; None for what the checkpoint says.
    allow_bin
        Read weights that are there only as a pickle.
    trust_remote_code
        Run Python code that the checkpoint brings.
    local_files_only
        Ask no network for that code either.
    """

    dtype: torch.dtype
    max_length: int | None = None
    allow_bin: bool = False
    trust_remote_code: bool = False
    local_files_only: bool = True

    @property
    def reading(self) -> dict[str, Any]:
        """Give what transformers' automatic classes need to know: the files are here, code of theirs may not be."""
        # A checkpoint's code may stand in another repository, of which nothing is here yet.
        return {
            "trust_remote_code": self.trust_remote_code,
            "local_files_only": self.local_files_only or not self.trust_remote_code,
        }


class Module(torch.nn.Module):
    """One step from text to vector, term weights or score.

    A subclass names its `config_keys` once: they are the attributes that hold its configuration, the arguments of
    its constructor and the keys of its config file.
    """

    config_file: ClassVar[str] = "config.json"
    config_keys: ClassVar[tuple[str, ...]] = ()
    home: ClassVar[str] = "sentence_transformers.models"
    """Where sentence-transformers has the class, under the name that all its releases know."""
    output: str = "sentence_embedding"
    """The name under which it leaves what it made."""
    reentrant: bool = True
    """Whether several threads may run it at once."""

    @classmethod
    def load(cls, folder: Path, options: LoadOptions, config: Mapping[str, Any] | None = None) -> Self:
        """Make the module from its folder in a checkpoint; `config` stands in for a config file."""
        config = cls.read_config(folder) if config is None else config
        unknown = sorted(set(config) - set(cls.config_keys))
        if unknown:
            raise ModelError(
                f"{folder / cls.config_file}: {cls.__name__} has no setting {', '.join(map(repr, unknown))} "
                f"(it has {', '.join(cls.config_keys) or 'none'})"
            )
        try:
            module = cls(**config)
        except TypeError as error:
            raise ModelError(f"{folder / cls.config_file}: a setting of {cls.__name__} is missing ({error})") from error
        if module.state_dict():
            load_weights(module, folder, allow_bin=options.allow_bin)
        return module

    @classmethod
    def files(cls, folder: Path) -> list[Path]:
        """Give the files in its folder, beside the configuration, that decide what it makes."""
        return weight_files(folder)

    @classmethod
    def read_config(cls, folder: Path) -> dict[str, Any]:
        """Read the module's settings in today's names; none when it has no config file."""
        path = folder / cls.config_file
        return cls.upgrade_config(read_json(path)) if path.is_file() else {}

    @classmethod
    def upgrade_config(cls, config: dict[str, Any]) -> dict[str, Any]:
        """Translate the settings of older checkpoint generations into today's."""
        return config

    @property
    def config(self) -> dict[str, Any]:
        """The module's settings."""
        return {key: getattr(self, key) for key in self.config_keys}

    @property
    def saved_type(self) -> str:
        """The dotted path that a list of modules names it by."""
        return f"{self.home}.{type(self).__name__}"

    @property
    def saved_config(self) -> dict[str, Any]:
        """Its settings under the names that all releases of sentence-transformers read; none needs no file."""
        return self.config

    def save(self, folder: Path) -> None:
        """Write settings and weights into its folder of a checkpoint."""
        if config := self.saved_config:
            write_json(folder / self.config_file, config)
        if self.state_dict():
            write_weights(self, folder)

    def forward(self, features: Features) -> Features:
        """Add to `features` what this module makes of them."""
        raise NotImplementedError

    def dimension(self, incoming: int | None) -> int | None:
        """Give the width of the vectors it makes from vectors of width `incoming`."""
        return incoming

    @property
    def vocabulary(self) -> list[str] | None:
        """The term of each column, of a module whose columns are terms; None for any other."""
        return None


class InputModule(Module):
    """A module that stands first: it turns texts into tokens."""

    max_length: int | None
    unpadded: bool = False
    """Whether padding costs it nothing."""

    def tokenize(self, texts: Sequence[Any], prompt: str = "") -> Tokens:
        """Cut texts (or pairs of texts) into tokens, without padding, `prompt` before each."""
        raise NotImplementedError


def read_json(path: Path) -> Any:
    """Read a JSON file of a checkpoint.

    Raises
    ------
    ModelError
        When it is not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ModelError(f"{path}: not valid JSON ({error}); fetch the checkpoint again") from error


def write_json(path: Path, value: Any) -> None:
    """Write a JSON file of a checkpoint."""
    path.write_text(json.dumps(value, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
