"""Permissions of files: what may not be read or written is named before an engine fails on it in words of its own."""

import os
from collections.abc import Iterable
from pathlib import Path

from indexing.errors import StorageError


def check_permissions(paths: Iterable[Path], *, write: bool = False) -> None:
    """Raise a `StorageError` that names the first of these files and folders without the permission to use it.

    Paths that do not exist are left out.
    """
    mode = os.R_OK | (os.W_OK if write else 0)
    for path in paths:
        if path.exists() and not os.access(path, mode):
            action = "change" if write and os.access(path, os.R_OK) else "read"
            raise StorageError(
                f"no permission to {action} {path}: run this as the owner of the file, or change its permissions"
            )


def check_output(path: str | Path, *, folder: bool = False) -> None:
    """Raise a `StorageError` if no file, or folder of files, can be written at `path`: before the work, not after it.

    Folders above it that are missing are made when it is written.
    """
    path = Path(path)
    if path.exists() and path.is_dir() != folder:
        raise StorageError(f"{path} is a {'file' if folder else 'folder'}: choose another path")
    inside = path if folder else path.parent
    while not inside.exists() and inside != inside.parent:
        inside = inside.parent
    if not inside.is_dir():
        raise StorageError(f"{inside} is a file, so nothing can be written in it: choose another path than {path}")
    if not os.access(inside, os.W_OK | os.X_OK):
        raise StorageError(f"no permission to write in {inside}: choose another path than {path}")
