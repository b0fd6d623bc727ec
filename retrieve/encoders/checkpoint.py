"""Checkpoints: a folder, or a name on the Hub, in sentence-transformers' or plain transformers' layout."""

import hashlib
import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from indexing.errors import ModelError

if TYPE_CHECKING:
    from retrieve.encoders.modules.module import LoadOptions, Module

logger = logging.getLogger(__name__)

_HUB_FILES = ["*.json", "*.safetensors", "*.txt", "*.model", "*.tiktoken", "*.jinja"]
_HUB_CODE = ["*.py"]
_HUB_PICKLES = ["*pytorch_model*.bin"]
_HUB_FOLDERS_UNUSED = ["onnx/*", "openvino/*", "original/*", "coreml/*"]


@dataclass(frozen=True, slots=True)
class Source:
    """Where a checkpoint may come from.

    Parameters
    ----------
    revision
        Branch, tag or commit on the Hub.
    cache_folder
        The Hub's cache; None for sentence-transformers' own if SENTENCE_TRANSFORMERS_HOME names one, else the usual.
    local_files_only
        Ask no network.
    token
        For private models; True for the stored one.
    allow_bin
        Fetch pickled weights where there are no others.
    with_code
        Fetch Python code too.
    """

    revision: str | None = None
    cache_folder: str | Path | None = None
    local_files_only: bool = False
    token: str | bool | None = None
    allow_bin: bool = False
    with_code: bool = False


@dataclass(frozen=True, slots=True)
class Step:
    """One entry of a checkpoint's list of modules: which class, in which folder, and what stands in for its config."""

    reference: str
    path: str = ""
    config: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint on disk.

    Parameters
    ----------
    name
        By which it is found again: an absolute path, or a Hub name.
    folder
        Where its files are.
    steps
        Its modules; empty for a plain transformers model.
    settings
        What config_sentence_transformers.json says.
    config
        What config.json says, transformers' own.
    revision
        The commit on the Hub it was fetched from, if any.
    """

    name: str
    folder: Path
    steps: Sequence[Step]
    settings: dict[str, Any]
    config: dict[str, Any]
    revision: str | None = None

    @classmethod
    def open(cls, model: str | Path, source: Source, *, organisation: str) -> "Checkpoint":
        """Find a checkpoint and read how it is laid out; loads no weights.

        Parameters
        ----------
        model
            A folder, or a name on the Hub.
        source
            Where it may come from.
        organisation
            Whose a Hub name without a slash is, before it is tried as it stands.

        Raises
        ------
        ModelError
            When it cannot be found or is not a model.
        """
        from retrieve.encoders.modules.module import read_json

        folder, revision = locate(model, source, organisation=organisation)
        layout, settings, config = (
            read_json(folder / name) if (folder / name).is_file() else None
            for name in ("modules.json", "config_sentence_transformers.json", "config.json")
        )
        if layout is None and config is None:
            raise ModelError(f"{folder} is not a model: it has neither modules.json nor config.json")
        steps = [_step(entry, folder) for entry in layout or ()]
        name = str(folder) if revision is None else str(model)
        return cls(name, folder, steps, settings or {}, config or {}, revision)

    def load(self, default: Sequence[Step], options: "LoadOptions") -> "list[Module]":
        """Load the modules, those of `default` when the checkpoint lists none."""
        from retrieve.encoders.modules import is_known, module_loader

        modules: list[Module] = []
        for step in self.steps or default:
            try:
                load = module_loader(step.reference, self.folder, options)
                if not modules and not is_known(step.reference):
                    raise ModelError(f"the first module {step.reference!r} is code of its own; only later ones may be")
            except ModelError as error:
                raise ModelError(f"{self.folder / 'modules.json'}: {error}") from error
            modules.append(load(self.folder / step.path, options, step.config))
        return modules

    @cached_property
    def weights_sha256(self) -> str:
        """The SHA-256 of the weights: of the file where there is one, else of the files' own one after another."""
        from retrieve.encoders.modules import module_files

        steps = self.steps or [Step("Transformer")]
        files = dict.fromkeys(file for step in steps for file in module_files(step.reference, self.folder / step.path))
        digests = [_sha256(path) for path in files]
        return digests[0] if len(digests) == 1 else hashlib.sha256("".join(digests).encode()).hexdigest()


def locate(model: str | Path, source: Source, *, organisation: str) -> tuple[Path, str | None]:
    """Give the folder that holds a checkpoint, fetched from the Hub if need be, and its commit there."""
    path = Path(model).expanduser()
    if path.is_dir():
        return path.absolute(), None
    if path.exists():
        raise ModelError(f"{model} is a file, not a model folder: name the folder that holds it")
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
        raise ModelError(f"{name!r} is neither a folder nor a name that the Hub could have") from error
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
        reached = (
            "asking the network was ruled out"
            if source.local_files_only or constants.HF_HUB_OFFLINE
            else f"{constants.ENDPOINT} could not be reached"
        )
        raise ModelError(
            f"the model {name!r} is not a folder here, not in the cache {cache}, and {reached}. Give the path of a "
            f"folder that holds it; or fetch it where there is a network (`hf download {name}`) and copy that cache, "
            "or set HF_HOME to one that has it"
        ) from error
    return folder, folder.name if folder.parent.name == "snapshots" else None


def _step(entry: Any, folder: Path) -> Step:
    layout = folder / "modules.json"
    if not isinstance(entry, dict) or not isinstance(entry.get("type"), str):
        raise ModelError(f"{layout}: an entry has no 'type': {entry!r}")
    path = entry.get("path", "")
    if not (folder / path).resolve().is_relative_to(folder.resolve()):
        raise ModelError(f"{layout}: the path {path!r} leads out of the model's folder")
    return Step(entry["type"], path)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
