"""SqliteFile: a SQLite file that one process writes and any number read, with durable transactions."""

import os
import re
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

from indexing.disk import file_stamp, sync
from indexing.errors import InputError, StorageError
from indexing.resources import Closing, Lifetime

_LOCK_TIMEOUT = 60.0
"""Seconds to wait for the lock of a writer, which holds it briefly."""


class SqliteFile(Closing):
    """An open connection to a SQLite file; several threads can use it in turns.

    Parameters
    ----------
    path
        The file, named in errors.
    connection
        The connection that `connect` returned.
    """

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self.path = path
        self._connection, self._lifetime = connection, Lifetime(f"file {path}")
        self._file = _file_number(path)
        self._lock = threading.RLock()

    @property
    def replaced(self) -> bool:
        """True when another file now stands at the path: the number of an open file is not used again."""
        return _file_number(self.path) != self._file

    def close(self) -> None:
        """Close the file; in a forked process, which must not touch the connection, only refuse further use."""
        if not self._lifetime.forked:
            with self._lock:
                self._connection.close()
        self._lifetime.closed = True

    def _share(self) -> None:
        """Let other processes read committed data while this one writes."""
        with self._translate_errors():
            self._connection.execute("PRAGMA journal_mode = WAL")
            # Each commit must be durable: a leg must never hold a write that the store has lost.
            self._connection.execute("PRAGMA synchronous = FULL")

    def _rows(self, statement: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        with self._translate_errors(), self._lock:
            return self._connection.execute(statement, parameters).fetchall()

    def copy_to(self, path: Path) -> None:
        """Write the state that this reader sees to a new file, durably."""
        target = sqlite3.connect(path)
        try:
            with self._translate_errors(), self._lock:
                self._connection.backup(target)
        finally:
            target.close()
        sync(path)

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._translate_errors(), self._lock:
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise

    @contextmanager
    def _translate_errors(self) -> Iterator[None]:
        """Translate SQLite's errors to `StorageError`; raise as `Lifetime.check`."""
        self._lifetime.check()
        try:
            yield
        except UnicodeEncodeError as error:
            raise InputError(f"{error.object!a:.80} has half of a surrogate pair, which cannot be stored") from None
        except sqlite3.OperationalError as error:
            if re.search("too (large|big|many|deep)|stack overflow", str(error)):
                raise InputError(f"the filter is too large for SQLite ({error}): make it smaller") from error
            self._lifetime.check()
            raise StorageError(f"{self.path}: {error}: {_remedy(error, self.path)}") from error
        except (sqlite3.DatabaseError, UnicodeError, OverflowError) as error:
            self._lifetime.check()
            raise StorageError(f"{self.path}: {error}: {_remedy(error, self.path)}") from error
        except (ValueError, TypeError, IndexError) as error:  # values of other types than those that were written
            if isinstance(error, InputError):
                raise
            raise StorageError(f"{self.path}: {error}: {_remedy(error, self.path)}") from error


def _remedy(error: Exception, path: Path) -> str:
    """Return what to do after an error, by SQLite's name for it."""
    name = getattr(error, "sqlite_errorname", "") or ""
    if name.startswith(("SQLITE_FULL", "SQLITE_IOERR")):
        return "if the disk is full, free some space and run it again"
    if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
        return "another process is writing to it; run it again when it has ended"
    if name.startswith(("SQLITE_READONLY", "SQLITE_CANTOPEN", "SQLITE_PERM")):
        return "the folder is not writable, and the last writer has left a file beside it; copy the collection first"
    return f"`retrieve verify {path.parent}` reports what is damaged"


def _file_number(path: Path) -> tuple[int, ...] | None:
    stamp = file_stamp(path)
    return None if stamp is None else stamp[:2]


def connect(path: Path, mode: str) -> sqlite3.Connection:
    """Open a file in the mode ``"ro"`` (read), ``"rw"`` (write) or ``"rwc"`` (write, create if missing).

    Raises
    ------
    StorageError
        When the file cannot be opened.
    """
    writable = os.access(path.parent, os.W_OK, effective_ids=os.access in os.supports_effective_ids)
    if mode == "ro" and not writable and not path.with_name(f"{path.name}-wal").exists():
        # Readers of a shared file write files beside it, unless it is declared immutable.
        mode = "ro&immutable=1"
    try:
        return sqlite3.connect(
            f"file:{quote(str(path.absolute()))}?mode={mode}",
            uri=True,
            check_same_thread=False,
            isolation_level=None,
            timeout=_LOCK_TIMEOUT,
        )
    except sqlite3.OperationalError as error:
        raise StorageError(f"{path} cannot be opened: {error}") from error
