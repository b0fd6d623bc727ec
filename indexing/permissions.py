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
