"""Base classes of the modules of an encoder, and the options to load them."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, make_dataclass
from inspect import Parameter, signature
from pathlib import Path
from typing import Any, ClassVar, Self, get_type_hints

import torch

from indexing.errors import InputError, ModelError
from indexing.inputs import is_possible_path
from indexing.json_text import parse_json
from indexing.settings_files import read_dataclass
from retrieve.encoders.batching import Tokens
from retrieve.encoders.modules.weights import first_line, load_weights, weight_files, write_weights

Features = dict[str, Any]
"""Input and output of modules, under sentence-transformers' names: `input_ids`, `attention_mask`, `token_embeddings`,
`sentence_embedding`, `scores`, `prompt_length`."""


@dataclass(frozen=True, slots=True)
class LoadOptions:
    """Options for loading a module.

    Parameters
    ----------
    dtype
        Type that transformers compute in.
    max_length
        Truncate texts to this many tokens; None for the checkpoint's setting.
    allow_bin
        Read pickled weights if there are no others.
    trust_remote_code
        Run Python code from the checkpoint.
    local_files_only
        Do not use the network, not even for that code.
    query_length, document_length
        Truncate queries, or documents, to this many tokens; None for the checkpoint's setting.
    base
        Folder of the transformer that the checkpoint's adapter changes; None for a whole model.
    """

    dtype: torch.dtype
    max_length: int | None = None
    allow_bin: bool = False
    trust_remote_code: bool = False
    local_files_only: bool = True
    query_length: int | None = None
    document_length: int | None = None
    base: Path | None = None

    @property
    def transformers_options(self) -> dict[str, Any]:
        """Arguments for transformers' automatic classes; the network may be needed for custom code only."""
        # A checkpoint's code may be in another repository, which has not been fetched.
        return {
            "trust_remote_code": self.trust_remote_code,
            "local_files_only": self.local_files_only or not self.trust_remote_code,
        }


class Module(torch.nn.Module):
    """Base class of modules: one step from text to vector, term weights or score.

    A subclass lists its `config_keys` once: they are the attributes that hold its configuration, the arguments of its
    constructor and the keys of its config file.
    """

    config_file: ClassVar[str] = "config.json"
    config_keys: ClassVar[tuple[str, ...]] = ()
    saved_package: ClassVar[str] = "sentence_transformers.models"
    """Package of the class in sentence-transformers, under the name that all its releases know."""
    output: str = "sentence_embedding"
    """Name of the feature that it adds."""
    reentrant: bool = True
    """True if several threads may run it at the same time."""

    @classmethod
    def load(cls, folder: Path, options: LoadOptions, config: Mapping[str, Any] | None = None) -> Self:
        """Load the module from its folder in a checkpoint, with `config` instead of its config file if given."""
        path = folder / cls.config_file
        config = cls.read_config(folder) if config is None else config
        unknown = sorted(set(config) - set(cls.config_keys))
        if unknown:
            raise ModelError(
                f"{path}: {cls.__name__} has no setting {', '.join(map(repr, unknown))} "
                f"(it has {', '.join(cls.config_keys) or 'none'})"
            )
        values = check_settings(_constructor_settings(cls), config, path)
        # Without memory for weights until their sizes are known to be those in the files.
        with torch.device("meta"):
            module = cls(**values)
        if module.state_dict():
            load_weights(module, folder, allow_bin=options.allow_bin)
        return module

    @classmethod
    def files(cls, folder: Path) -> list[Path]:
        """Return the files in its folder, beside the configuration, that determine its output."""
        return weight_files(folder)

    @classmethod
    def read_config(cls, folder: Path) -> dict[str, Any]:
        """Read the module's settings under their current names; {} without a config file."""
        path = folder / cls.config_file
        return cls.upgrade_config(read_object(path)) if path.is_file() else {}

    @classmethod
    def upgrade_config(cls, config: dict[str, Any]) -> dict[str, Any]:
        """Translate the settings of older checkpoint formats into the current ones."""
        return config

    @property
    def config(self) -> dict[str, Any]:
        """Settings of the module."""
        return {key: getattr(self, key) for key in self.config_keys}

    @property
    def saved_type(self) -> str:
        """Dotted path of its class in modules.json."""
        return f"{self.saved_package}.{type(self).__name__}"

    @property
    def saved_config(self) -> dict[str, Any]:
        """Settings under the names that all releases of sentence-transformers read; {} writes no file."""
        return self.config

    def save(self, folder: Path) -> None:
        """Save settings and weights into its folder of a checkpoint."""
        if config := self.saved_config:
            write_json(folder / self.config_file, config)
        if self.state_dict():
            write_weights(self, folder)

    def forward(self, features: Features) -> Features:
        """Add the module's output to `features`."""
        # As in torch, whose modules are not abstract: each module of the project defines it.
        raise NotImplementedError

    def dimension(self, incoming: int | None) -> int | None:
        """Return the width of its output for input vectors of width `incoming`."""
        return incoming

    @property
    def vocabulary(self) -> list[str] | None:
        """Term of each output column; None if the columns are not terms."""
        return None


class InputModule(Module):
    """Base class of modules that come first and tokenize texts."""

    max_length: int | None
    unpadded: bool = False
    """True if it computes no padding."""
    reads_mask: bool = True
    """True if its model reads the mask of a batch although it computes no padding."""

    def tokenize(self, texts: Sequence[Any], prompt: str = "", task: str | None = None) -> Tokens:
        """Tokenize texts (or pairs of texts) of a task, each with `prompt` before it, without padding."""
        # As `forward`: each module that comes first defines it.
        raise NotImplementedError


def read_json(path: Path) -> Any:
    """Read a JSON file of a checkpoint.

    Raises
    ------
    ModelError
        If it is not JSON.
    """
    try:
        return parse_json(path.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise ModelError(f"{path}: not valid JSON ({first_line(error)}); fetch the checkpoint again") from error


def read_object(path: Path) -> dict[str, Any]:
    """Read a JSON file of a checkpoint that holds keys and values; raise ModelError for anything else."""
    content = read_json(path)
    if not isinstance(content, dict):
        raise ModelError(f"{path}: the content must be keys with values, not {repr(content)[:80]}")
    return content


def read_settings(kind: type, path: Path) -> dict[str, Any]:
    """Read a JSON file of keys and values, and check those that `kind` has; raise ModelError for a wrong one."""
    return check_settings(kind, read_object(path), path)


def check_settings(kind: type, content: Mapping[str, Any], where: Path) -> dict[str, Any]:
    """Check the values of the keys that the dataclass `kind` has; return all keys, with these values converted.

    Raises
    ------
    ModelError
        If a required key is missing or a value has the wrong type; the message has the file and the key.
    """
    if not isinstance(content, Mapping):
        raise ModelError(f"{where}: the content must be keys with values, not {repr(content)[:80]}")
    known = {field.name for field in fields(kind)} & set(content)
    try:
        values: Any = read_dataclass(kind, {name: content[name] for name in known}, str(where))
    except InputError as error:
        message = str(error)
        raise ModelError(message if len(message) < 500 else f"{message[:500]}...") from error
    return dict(content) | {name: getattr(values, name) for name in known}


def subfolder(folder: Path, name: str, *, strict: bool = False) -> Path:
    """Return a module's folder in a checkpoint; raise ModelError if it is outside `folder`, or is it if `strict`."""
    try:
        if not is_possible_path(name):
            raise ValueError("no file can be called so")
        home, path = folder.resolve(), (folder / name).resolve()
    except (OSError, ValueError) as error:
        raise ModelError(f"{folder}: {repr(name)[:80]} is not a path ({first_line(error)})") from error
    if not path.is_relative_to(home) or (strict and path == home):
        raise ModelError(f"{folder}: the module path {name!r} leads out of the model's folder, or back to it")
    return folder / name


def _constructor_settings(kind: type[Module]) -> type:
    """Return a dataclass of the settings of a module, which are the arguments of its constructor."""
    hints = get_type_hints(kind.__init__)
    parameters = [signature(kind).parameters[name] for name in kind.config_keys]
    required = [each for each in parameters if each.default is Parameter.empty]
    return make_dataclass(
        kind.__name__,
        [(each.name, hints[each.name]) for each in required]
        + [(each.name, hints[each.name], field(default=each.default)) for each in parameters if each not in required],
    )


def write_json(path: Path, value: Any) -> None:
    """Write a JSON file of a checkpoint."""
    path.write_text(json.dumps(value, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
