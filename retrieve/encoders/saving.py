"""Saving of encoders in the layout that every release of sentence-transformers reads."""

import logging
import shutil
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from indexing.errors import InputError

if TYPE_CHECKING:
    from retrieve.encoders.modules.module import Module

logger = logging.getLogger(__name__)

# The sentence-transformers release whose layout is written; newer releases read it too.
_LAYOUT = "5.0.0"


def save_modules(
    modules: "Sequence[Module]",
    folder: Path,
    settings: Mapping[str, Any],
    *,
    listed: bool = True,
    card: str | None = None,
) -> None:
    """Save modules and settings as a checkpoint, atomically.

    Parameters
    ----------
    modules
        Sequence of modules; the first is saved in the folder itself, each other one in a folder of its own.
    folder
        Must not exist, or be empty.
    settings
        Content of config_sentence_transformers.json.
    listed
        Write modules.json; without it the folder is a plain transformers model.
    card
        Text of README.md.

    Raises
    ------
    InputError
        If `folder` has content.
    """
    from retrieve.encoders.modules.module import write_json

    folder = folder.expanduser().absolute()
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise InputError(f"{folder} already exists: save into a new folder, or delete that one first")
    staging = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir(parents=True)
    try:
        entries = []
        for at, module in enumerate(modules):
            path = f"{at}_{module.saved_type.rpartition('.')[2]}" if at else ""
            (staging / path).mkdir(exist_ok=True)
            module.save(staging / path)
            entries.append({"idx": at, "name": str(at), "path": path, "type": module.saved_type})
        versions = {
            "sentence_transformers": _LAYOUT,
            "transformers": version("transformers"),
            "pytorch": version("torch"),
        }
        write_json(staging / "config_sentence_transformers.json", {"__version__": versions, **settings})
        if listed:
            write_json(staging / "modules.json", entries)
        if card is not None:
            (staging / "README.md").write_text(card, "utf-8")
        staging.replace(folder)
    except BaseException:
        shutil.rmtree(staging, ignore_errors=True)
        raise


def write_into(folder: Path, save: Callable[[Path], None], *, keep: Sequence[str] = ()) -> Path:
    """Save a checkpoint into a folder, replacing the files of an older one except `keep`; return the folder."""
    staging = folder.with_name(f".{folder.name}.model")
    shutil.rmtree(staging, ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)
    save(staging)
    for name in keep:
        (staging / name).unlink(missing_ok=True)
    for entry in staging.iterdir():
        target = folder / entry.name
        if target.is_dir():
            shutil.rmtree(target)
        entry.replace(target)
    staging.rmdir()
    return folder
