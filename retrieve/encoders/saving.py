"""Encoders on disk, in the layout that every release of sentence-transformers reads."""

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

# The release whose layout is written: newer ones read it, and older ones what they know of it.
_LAYOUT = "5.0.0"


def save_modules(
    modules: "Sequence[Module]",
    folder: Path,
    settings: Mapping[str, Any],
    *,
    listed: bool = True,
    card: str | None = None,
) -> None:
    """Write modules and settings as a checkpoint: in full or not at all.

    Parameters
    ----------
    modules
        One after another; the first is written into the folder itself, each other into a folder of its own.
    folder
        Must not be there yet, or be empty.
    settings
        Of config_sentence_transformers.json.
    listed
        Write modules.json; without it the folder is a plain transformers model.
    card
        Text of README.md.

    Raises
    ------
    InputError
        When something is at `folder`.
    """
    from retrieve.encoders.modules.module import write_json

    folder = folder.expanduser().absolute()
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise InputError(f"{folder} is there already: save into a new folder, or delete that one first")
    aside = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(parents=True)
    try:
        entries = []
        for at, module in enumerate(modules):
            path = f"{at}_{module.saved_type.rpartition('.')[2]}" if at else ""
            (aside / path).mkdir(exist_ok=True)
            module.save(aside / path)
            entries.append({"idx": at, "name": str(at), "path": path, "type": module.saved_type})
        versions = {
            "sentence_transformers": _LAYOUT,
            "transformers": version("transformers"),
            "pytorch": version("torch"),
        }
        write_json(aside / "config_sentence_transformers.json", {"__version__": versions, **settings})
        if listed:
            write_json(aside / "modules.json", entries)
        if card is not None:
            (aside / "README.md").write_text(card, "utf-8")
        aside.replace(folder)
    except BaseException:
        shutil.rmtree(aside, ignore_errors=True)
        raise


def write_into(folder: Path, save: Callable[[Path], None], *, keep: Sequence[str] = ()) -> None:
    """Write a checkpoint into a folder that holds other files, or an older one of the same name; `keep` stays."""
    aside = folder.with_name(f".{folder.name}.model")
    shutil.rmtree(aside, ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)
    save(aside)
    for name in keep:
        (aside / name).unlink(missing_ok=True)
    for entry in aside.iterdir():
        target = folder / entry.name
        if target.is_dir():
            shutil.rmtree(target)
        entry.replace(target)
    aside.rmdir()
