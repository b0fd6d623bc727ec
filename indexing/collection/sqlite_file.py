"""SqliteFile: a SQLite file that one process writes and any number read, with durable transactions."""

import os
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

from indexing.errors import StorageError
from indexing.resources import Closing

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
        self._connection = connection
        self._lock = threading.RLock()

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._connection.close()

    def _share(self) -> None:
        """Let other processes read committed data while this one writes."""
        with self._translate_errors():
            self._connection.execute("PRAGMA journal_mode = WAL")
            # Each commit must be durable: a leg must never hold a write that the store has lost.
            self._connection.execute("PRAGMA synchronous = FULL")

    def _rows(self, statement: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        with self._lock, self._translate_errors():
            return self._connection.execute(statement, parameters).fetchall()

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._lock, self._translate_errors():
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
        """Translate SQLite's errors to `StorageError`."""
        try:
            yield
        except sqlite3.DatabaseError as error:
            raise StorageError(
                f"{self.path}: {error}: if the disk is full, free some space and run it again; "
                f"otherwise `retrieve verify {self.path.parent}` reports what is damaged"
            ) from error


def connect(path: Path, mode: str) -> sqlite3.Connection:
    """Open a file in the mode ``"ro"`` (read), ``"rw"`` (write) or ``"rwc"`` (write, create if missing).

    Raises
    ------
    StorageError
        When the file cannot be opened.
    """
    if mode == "ro" and not os.access(path.parent, os.W_OK) and not path.with_name(f"{path.name}-wal").exists():
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
