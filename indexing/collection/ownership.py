"""The files that belong to a collection: only these are ever deleted, and never beside a foreign one."""

import json
import logging
import os
import re
import shutil
from collections.abc import Container, Iterator
from functools import cache
from pathlib import Path

from indexing.collection.shards import SHARD_NAME
from indexing.errors import StorageError
from indexing.indexes.registry import KINDS, kind_of

logger = logging.getLogger(__name__)

LEG = r"[\w-]+(\.\d+)?"


def foreign(folder: Path, collection: Path | None = None) -> Iterator[Path]:
    """Yield what lies in a folder of a collection (by default its own) and is not the collection's, links among it."""
    collection = collection or folder
    where = folder.relative_to(collection).as_posix()
    if folder.is_symlink() or (folder != collection and not _names(True).fullmatch(where)):
        yield folder
        return
    for root, folders, files in os.walk(folder):
        for name in [*folders, *files]:
            entry = Path(root, name)
            where = entry.relative_to(collection).as_posix()
            if entry.is_symlink() or not _names(name in folders).fullmatch(where):
                yield entry
                if name in folders:
                    folders.remove(name)


def remove(folder: Path, collection: Path | None = None) -> None:
    """Delete a folder of a collection (by default its own); where anything foreign lies in it, all of it stays."""
    for entry in foreign(folder, collection):
        logger.warning("%s is not removed: %s does not belong to a collection", folder, entry)
        return
    # Without its manifest, the rest of an interrupted removal is never taken for a collection.
    (folder / "manifest.json").unlink(missing_ok=True)
    shutil.rmtree(folder, ignore_errors=True)


def leftover_legs(collection: Path, used: Container[str]) -> list[Path]:
    """Return the folders below ``legs`` that a killed job left: called as a leg's are, not in use, nothing foreign."""
    folders = (collection / "legs").glob("*")
    return sorted(f for f in folders if f.is_dir() and f.name not in used and not any(foreign(f, collection)))


def check_removable(folder: Path, *, partial: bool = False) -> None:
    """Check that a folder, if it exists, is a collection and holds nothing else.

    Parameters
    ----------
    partial
        Also accept what an interrupted build or removal leaves: the files of a collection without its manifest.

    Raises
    ------
    StorageError
        If not, naming the foreign entry.
    """
    if not folder.exists() and not folder.is_symlink():
        return
    manifest = folder / "manifest.json"
    if not (partial and not manifest.exists()) and not _is_manifest(manifest):
        raise StorageError(
            f"{folder} exists and is not a collection (no manifest.json of one): choose another directory"
            + (", or remove this one yourself" if partial or manifest.is_file() else "")
        )
    for entry in foreign(folder):
        raise StorageError(
            f"{folder} would be deleted, but {entry} does not belong to a collection: move it away, or choose another "
            "directory"
        )


def check_outside(path: Path) -> None:
    """Raise a `StorageError` if a path lies in the folder of a collection, which could then not be replaced."""
    inside = next((folder for folder in path.absolute().parents if _is_manifest(folder / "manifest.json")), None)
    if inside is not None:
        raise StorageError(f"{path} lies in the collection {inside}: choose a directory outside of it")


def _is_manifest(file: Path) -> bool:
    """Return whether a file reads as the manifest of a collection, of any format and even if its values are damaged."""
    try:
        stored = json.loads(file.read_bytes())
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(stored, dict) and {"format", "legs"} <= stored.keys()


@cache
def _names(is_folder: bool) -> re.Pattern[str]:
    """Return the pattern of the paths of a collection's folders, or of its files."""
    of_kinds = {kind: kind_of(kind) for kind in KINDS}.values()
    engines = "|".join(name for kind in of_kinds for name in kind.folders)
    if is_folder:
        return re.compile(rf"legs|shards|shards/[\w-]+|legs/{LEG}(/({engines})(/.+)?)?")
    names = "|".join(kind.file_names for kind in of_kinds)
    return re.compile(
        r"(\.?(manifest\.json|search\.yaml)(\.partial)?)|documents\.sqlite(-wal|-shm|-journal)?"
        rf"|shards/[\w-]+/({SHARD_NAME.pattern}|\.?vocabulary\.txt(\.partial)?)"
        rf"|legs/{LEG}/(\.?({names})(\.partial)?|({engines})/.+)"
    )
