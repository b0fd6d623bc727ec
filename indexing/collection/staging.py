"""Staging directory of a build, which is moved into place when complete, and the lock of the one writer."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from indexing.collection.ownership import check_outside, check_removable, remove
from indexing.disk import sync
from indexing.errors import StorageError
from indexing.inputs import flag, local_path


@contextmanager
def building(path: str | Path, *, overwrite: bool = False) -> Iterator[Path]:
    """Provide a directory to build a collection in, and move it to `path` when the block ends without an error.

    The directory may contain what an earlier, interrupted build left, to resume from. It also stays after an error; the
    caller may remove it.

    Raises
    ------
    StorageError
        When `path` exists (only a collection without foreign files can be replaced, with ``overwrite=True``) or lies
        in another collection, when another process writes there, or when it is not writable.
    """
    path = local_path(path, "path").resolve()
    check_outside(path)
    with write_lock(path):
        recover(path)
        check_free(path, overwrite)
        staging, old = hidden_sibling(path, "building"), hidden_sibling(path, "old")
        for leftover in (old, staging):
            check_removable(leftover, partial=True)
        remove(old)
        staging.mkdir(parents=True, exist_ok=True)
        yield staging
        if not (staging / "manifest.json").is_file():
            raise StorageError(f"the build of {path} wrote no manifest")
        check_free(path, overwrite)
        if path.exists():
            path.rename(old)
        staging.rename(path)
        sync(path.parent)
        remove(old)


def check_free(path: Path, overwrite: bool) -> None:
    """Raise a `StorageError` if a build must not write to `path`: it exists, or lies in another collection."""
    overwrite = flag(overwrite, "overwrite")
    check_outside(path)
    if not path.exists() or (path.is_dir() and not any(path.iterdir())):
        return
    if overwrite or not (path / "manifest.json").is_file():
        check_removable(path)
    else:
        raise StorageError(
            f"{path} already holds a collection: choose another directory, update it (update_collection, --update), "
            "or replace it (overwrite=True, --overwrite)"
        )


@contextmanager
def write_lock(path: Path, *, needed: bool = True) -> Iterator[None]:
    """Hold the lock for writing to the collection at `path`, against other threads and processes.

    Parameters
    ----------
    path
        The collection.
    needed
        False to go on without the lock where its file cannot be written, so that nobody can write.

    Raises
    ------
    StorageError
        When another holds it, or when the parent folder of `path` is not writable.
    """
    import portalocker

    lock = hidden_sibling(path, "lock")
    try:
        lock.parent.mkdir(parents=True, exist_ok=True)
        handle = _open_and_lock(lock)
    except portalocker.LockException:
        raise StorageError(
            f"another process is building or changing {path}: wait for it or stop it; reading is possible meanwhile"
        ) from None
    except OSError as error:
        if not needed and error.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
            yield
            return
        raise StorageError(f"cannot write in {path.parent} ({error.strerror}): choose another directory") from error
    try:
        yield
    finally:
        lock.unlink(missing_ok=True)
        handle.close()


def recover(path: Path) -> None:
    """Restore the old collection if an overwrite was killed between its two renames."""
    old = hidden_sibling(path, "old")
    if (old / "manifest.json").is_file() and not path.exists():
        check_removable(old)
        old.rename(path)


def hidden_sibling(path: Path, role: str) -> Path:
    """Return the path of the hidden file or folder beside a collection that has this role."""
    path = path.resolve()
    return path.with_name(f".{path.name}.{role}")


def _open_and_lock(lock: Path) -> IO[str]:
    """Open and lock the lock file, again if its last holder unlinked it meanwhile."""
    import portalocker

    while True:
        handle = lock.open("w")
        try:
            portalocker.lock(handle, portalocker.LockFlags.EXCLUSIVE | portalocker.LockFlags.NON_BLOCKING)
            if lock.exists() and lock.stat().st_ino == os.fstat(handle.fileno()).st_ino:
                return handle
        except BaseException:
            handle.close()
            raise
        handle.close()
