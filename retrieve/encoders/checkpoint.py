"""Checkpoints in the layout of sentence-transformers or plain transformers, from a folder or the Hub."""

import hashlib
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from indexing.errors import ModelError, RetrieveError
from indexing.inputs import local_path
from retrieve.encoders.modules import Step, is_known, module_files, module_loader

if TYPE_CHECKING:
    from retrieve.encoders.modules.module import LoadOptions, Module

logger = logging.getLogger(__name__)

_HUB_FILES = ["*.json", "*.safetensors", "*.txt", "*.model", "*.tiktoken", "*.jinja", "artifact.metadata"]
_HUB_CODE = ["*.py"]
_HUB_PICKLES = ["*pytorch_model*.bin", "*adapter_model.bin"]
_HUB_FOLDERS_UNUSED = ["onnx/*", "openvino/*", "original/*", "coreml/*"]


@dataclass(frozen=True, slots=True)
class Source:
    """Options for fetching a checkpoint from the Hub.

    Parameters
    ----------
    revision
        Branch, tag or commit.
    cache_folder
        Cache of the Hub; by default SENTENCE_TRANSFORMERS_HOME if that is set, or else the Hub's usual cache.
    local_files_only
        Do not use the network.
    token
        Access token for private models; True for the stored one.
    allow_bin
        Fetch pickled weights if there are no others.
    with_code
        Also fetch Python code.
    """

    revision: str | None = None
    cache_folder: str | Path | None = None
    local_files_only: bool = False
    token: str | bool | None = None
    allow_bin: bool = False
    with_code: bool = False


@dataclass(frozen=True, slots=True)
class _Entry:
    """Entry of modules.json."""

    type: str = field(metadata={"is": "the class of a module"})
    path: str = ""


@dataclass(frozen=True, slots=True)
class _Settings:
    """Settings in config_sentence_transformers.json."""

    model_type: str | None = None
    prompts: Mapping[str, str | None] | None = None
    default_prompt_name: str | None = None
    similarity_fn_name: str | None = None
    truncate_dim: int | None = field(default=None, metadata={"min": 1})
    max_active_dims: int | None = field(default=None, metadata={"min": 1})
    activation_fn: str | None = None


@dataclass(frozen=True, slots=True)
class _Config:
    """Settings in transformers' config.json that are read here; transformers checks the others."""

    model_type: str | None = None
    architectures: Sequence[str] | None = None
    is_causal: bool | None = None
    sentence_transformers: Mapping[str, Any] | None = None
    sbert_ce_default_activation_function: str | None = None
    latent_attention_config: Mapping[str, Any] | None = None
    text_config: Mapping[str, Any] | None = None


@contextmanager
def loading(folder: str | Path, what: str = "the model") -> Iterator[None]:
    """Raise ModelError, with the folder and the cause, for anything that other libraries raise while loading."""
    try:
        yield
    except RetrieveError:
        raise
    except Exception as error:
        from retrieve.encoders.modules.weights import first_line

        raise ModelError(f"{folder}: {what} cannot be loaded ({type(error).__name__}: {first_line(error)})") from error


@dataclass(frozen=True)
class Checkpoint:
    """Checkpoint on disk.

    Parameters
    ----------
    name
        Absolute path, or name on the Hub.
    folder
        Folder of its files.
    steps
        Its modules; empty for a plain transformers model.
    settings
        Content of config_sentence_transformers.json.
    config
        Content of transformers' config.json.
    revision
        Commit that was fetched from the Hub; None for a local folder.
    base
        Folder of the transformer that an adapter changes; None for a whole model.
    """

    name: str
    folder: Path
    steps: Sequence[Step]
    settings: dict[str, Any]
    config: dict[str, Any]
    revision: str | None = None
    base: Path | None = None

    @classmethod
    def open(cls, model: str | Path, source: Source, *, organisation: str) -> "Checkpoint":
        """Find a checkpoint and read its configuration, without loading weights.

        Parameters
        ----------
        model
            A folder, or a name on the Hub.
        source
            Options for fetching it.
        organisation
            Organisation that is tried first for a name without a slash.

        Raises
        ------
        ModelError
            If it cannot be found or is not a model.
        """
        from retrieve.encoders.modules.adapter_files import base_model, is_adapter, transformer_folder
        from retrieve.encoders.modules.module import check_settings, read_json

        folder, revision = locate(model, source, organisation=organisation)
        entries, settings, config = (
            read_json(folder / name) if (folder / name).is_file() else None
            for name in ("modules.json", "config_sentence_transformers.json", "config.json")
        )
        if entries is None and config is None and not is_adapter(folder):
            raise ModelError(f"{folder} is not a model: it has neither modules.json nor config.json")
        if not isinstance(entries, list | None):
            raise ModelError(f"{folder / 'modules.json'}: the content must be a list of modules, not {entries!r:.80}")
        steps = [_step(entry, folder) for entry in entries or ()]
        name = str(folder) if revision is None else str(model)
        base = None
        if is_adapter(adapter := folder / (steps[0].path if steps else "")):
            base_name, base_revision = base_model(adapter)
            found, _ = locate(base_name, replace(source, revision=base_revision), organisation=organisation)
            base = transformer_folder(found)
            config = read_json(base / "config.json")
        settings = check_settings(_Settings, settings or {}, folder / "config_sentence_transformers.json")
        config = check_settings(_Config, {} if config is None else config, folder / "config.json")
        return cls(name, folder, steps, settings, config, revision, base)

    def load(self, default: Sequence[Step], options: "LoadOptions") -> "list[Module]":
        """Load the listed modules, or those of `default` if the checkpoint lists none."""
        options = replace(options, base=self.base)
        modules: list[Module] = []
        for step in self.steps or default:
            try:
                load = module_loader(step.reference, self.folder, options)
                if not modules and not is_known(step.reference):
                    raise ModelError(f"the first module {step.reference!r} is custom code; only later modules may be")
            except ModelError as error:
                raise ModelError(f"{self.folder / 'modules.json'}: {error}") from error
            with loading(self.folder / step.path, f"the module {step.reference}"):
                modules.append(load(self.folder / step.path, options, step.config))
        return modules

    @cached_property
    def weights_sha256(self) -> str:
        """SHA-256 of the weights' file; of several files, the SHA-256 of their concatenated hex digests."""
        steps = self.steps or [Step("Transformer")]
        # An adapter has its own place in the identity: here its base model counts.
        folders = [self.folder / step.path for step in steps]
        folders = [folders[0] if self.base is None else self.base, *folders[1:]]
        files = dict.fromkeys(
            file for step, folder in zip(steps, folders, strict=True) for file in module_files(step.reference, folder)
        )
        digests = [_sha256(path) for path in files]
        return digests[0] if len(digests) == 1 else hashlib.sha256("".join(digests).encode()).hexdigest()


def locate(model: str | Path, source: Source, *, organisation: str) -> tuple[Path, str | None]:
    """Return a checkpoint's folder, fetching it from the Hub if needed, and its commit there."""
    path = local_path(model, "model").expanduser()
    if path.is_dir():
        return path.absolute(), None
    if path.exists():
        raise ModelError(f"{model} is a file, not a model folder: give the folder that contains it")
    name = str(model)
    if isinstance(model, Path) or name.startswith((".", "/", "~")) or name.count("/") > 1 or "\\" in name:
        raise ModelError(f"there is no model folder {model}")
    names = [name] if "/" in name else [f"{organisation}/{name}", name]
    for candidate in names[:-1]:
        try:
            return _fetch(candidate, source)
        except ModelError as error:
            logger.debug("%s", error)
    return _fetch(names[-1], source)


def _fetch(name: str, source: Source) -> tuple[Path, str | None]:
    from huggingface_hub import constants, snapshot_download
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        HFValidationError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    cache = source.cache_folder or os.environ.get("SENTENCE_TRANSFORMERS_HOME") or constants.HF_HUB_CACHE
    download = partial(
        snapshot_download,
        name,
        revision=source.revision,
        cache_dir=cache,
        local_files_only=source.local_files_only,
        token=source.token,
        ignore_patterns=_HUB_FOLDERS_UNUSED,
    )
    try:
        folder = Path(download(allow_patterns=[*_HUB_FILES, *(_HUB_CODE if source.with_code else ())]))
        if source.allow_bin and not any(folder.rglob("*.safetensors")):
            download(allow_patterns=_HUB_PICKLES)
    except HFValidationError as error:
        raise ModelError(f"{name!r} is neither a folder nor a valid name on the Hub") from error
    except GatedRepoError as error:
        raise ModelError(
            f"the model {name!r} on {constants.ENDPOINT} is gated: accept its terms there, then give token=..."
        ) from error
    except RepositoryNotFoundError as error:
        raise ModelError(
            f"there is no folder {name!r} and no model of that name on {constants.ENDPOINT} "
            "(a private one needs token=...)"
        ) from error
    except RevisionNotFoundError as error:
        raise ModelError(f"the model {name!r} on {constants.ENDPOINT} has no revision {source.revision!r}") from error
    except (LocalEntryNotFoundError, HfHubHTTPError, OSError) as error:
        reason = (
            "the network was ruled out"
            if source.local_files_only or constants.HF_HUB_OFFLINE
            else f"{constants.ENDPOINT} could not be reached"
        )
        raise ModelError(
            f"the model {name!r} is not a local folder and not in the cache {cache}, and {reason}. Give the path of a "
            f"folder that contains it; or run `hf download {name}` on a machine with a network and copy that cache, "
            "or set HF_HOME to one that has it"
        ) from error
    return folder, folder.name if folder.parent.name == "snapshots" else None


def _step(entry: Any, folder: Path) -> Step:
    from retrieve.encoders.modules.module import check_settings, subfolder

    entry = check_settings(_Entry, entry, folder / "modules.json")
    subfolder(folder, path := entry.get("path", ""))
    return Step(entry["type"], path)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
