"""Where a collection is built and who may write to it: one writer at a time, and a directory that appears whole."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from indexing.disk import sync_folder
from indexing.errors import StorageError


@contextmanager
def building(path: str | Path, *, overwrite: bool = False) -> Iterator[Path]:
    """Give a directory to build a collection in; move it to `path` when the block ends without an error.

    What an earlier build left in that directory when it was stopped is still there, to go on from; after an error it
    stays as well. Removing it is the caller's affair.

    Raises
    ------
    StorageError
        When something stands at `path` (a collection may be replaced with ``overwrite=True``; anything else never),
        when another process writes there, or when nothing can be written there.
    """
    path = Path(path).absolute()
    with write_lock(path):
        recover(path)
        check_free(path, overwrite)
        staging, old = hidden_sibling(path, "building"), hidden_sibling(path, "old")
        shutil.rmtree(old, ignore_errors=True)
        staging.mkdir(parents=True, exist_ok=True)
        yield staging
        if not (staging / "manifest.json").is_file():
            raise StorageError(f"the build of {path} wrote no manifest")
        check_free(path, overwrite)
        if path.exists():
            path.rename(old)
        staging.rename(path)
        sync_folder(path.parent)
        shutil.rmtree(old, ignore_errors=True)


def check_free(path: Path, overwrite: bool) -> None:
    """Refuse to build where something stands."""
    if not path.exists() or (path.is_dir() and not any(path.iterdir())):
        return
    if not (path / "manifest.json").is_file():
        raise StorageError(f"{path} is there and is not a collection: choose another directory")
    if not overwrite:
        raise StorageError(
            f"{path} already holds a collection: choose another directory, bring it up to date with --update, "
            "or replace it with --overwrite"
        )


@contextmanager
def write_lock(path: Path) -> Iterator[None]:
    """Hold the right to write to the collection at `path`, against other threads and processes.

    Raises
    ------
    StorageError
        When another holds it, or when nothing can be written beside `path`.
    """
    import portalocker

    lock = hidden_sibling(path.resolve(), "lock")
    try:
        lock.parent.mkdir(parents=True, exist_ok=True)
        handle = _open_and_lock(lock)
    except portalocker.LockException:
        raise StorageError(
            f"another process is building or changing {path}: wait for it, or stop it; reading is possible meanwhile"
        ) from None
    except OSError as error:
        raise StorageError(f"cannot write in {path.parent} ({error.strerror}): choose another directory") from error
    try:
        yield
    finally:
        lock.unlink(missing_ok=True)
        handle.close()


def recover(path: Path) -> None:
    """Put back what an overwrite had moved away when it was killed between its two renames."""
    old = hidden_sibling(path.absolute(), "old")
    if old.is_dir() and not path.exists():
        old.rename(path)


def hidden_sibling(path: Path, role: str) -> Path:
    """Name the hidden neighbour of a collection that has this role."""
    return path.with_name(f".{path.name}.{role}")


def _open_and_lock(lock: Path) -> IO[str]:
    """Lock the file that stands at this name: one that its last holder unlinked meanwhile guards nothing."""
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
