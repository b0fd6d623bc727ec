"""The document store: title, text and metadata by id, in one SQLite file."""

import json
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

from indexing.documents import Document, check_ids
from indexing.errors import InputError, StorageError

_TABLE = """
CREATE TABLE documents (
    doc_id   TEXT PRIMARY KEY NOT NULL,
    title    TEXT NOT NULL,
    text     TEXT NOT NULL,
    metadata TEXT NOT NULL
)
"""


_IDS_AT_ONCE = 10_000
"""SQLite takes 32,766 parameters in a statement."""


class DocumentStore:
    """Documents by id; each `add` and `delete` is one transaction.

    Use `create` or `open`. Reading is safe from several threads and processes at once.
    """

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self.path = path
        self._connection = connection
        self._lock = threading.Lock()

    @classmethod
    def create(cls, path: str | Path) -> Self:
        """Make an empty store; the file must not be there."""
        path = Path(path)
        if path.exists():
            raise StorageError(f"{path} is already there: open it, or remove it first")
        store = cls(path, _connect(path, "rwc"))
        store._connection.execute(_TABLE)
        return store

    @classmethod
    def open(cls, path: str | Path, *, read_only: bool = True) -> Self:
        """Open a store that is there."""
        path = Path(path)
        if not path.is_file():
            raise StorageError(f"{path} is missing: this is no collection, or its build did not end")
        connection = _connect(path, "ro" if read_only else "rw")
        try:
            connection.execute("SELECT doc_id, title, text, metadata FROM documents LIMIT 1")
        except sqlite3.DatabaseError as error:
            connection.close()
            raise StorageError(f"{path} is not a document store ({error}): build the collection again") from error
        return cls(path, connection)

    def add(self, documents: Sequence[Document], *, replace: bool = True) -> None:
        """Store documents; one whose id is already there is replaced, or refused with ``replace=False``.

        Raises
        ------
        InputError
            For an id that stands twice in the call (or, where refused, in the store), or metadata that JSON cannot
            hold: nothing of the call is stored.
        """
        check_ids([document.doc_id for document in documents])
        rows = [(d.doc_id, d.title, d.text, _to_json(d)) for d in documents]
        insert = f"INSERT OR {'REPLACE' if replace else 'ABORT'} INTO documents VALUES (?, ?, ?, ?)"
        try:
            with self._lock, self._connection:
                self._connection.executemany(insert, rows)
        except sqlite3.IntegrityError:
            doc_id = next(row[0] for row in rows if row[0] in self)
            raise InputError(f"the id {doc_id!r} stands twice in the corpus: which document counts?") from None

    def delete(self, ids: Sequence[str]) -> int:
        """Remove these ids; returns how many were there."""
        with self._lock, self._connection:
            return self._connection.executemany("DELETE FROM documents WHERE doc_id = ?", [(i,) for i in ids]).rowcount

    def get(self, ids: Sequence[str]) -> list[Document]:
        """Give the documents of these ids, in their order.

        Raises
        ------
        InputError
            For an id that is not there.
        """
        return [
            Document(doc_id, text, title, json.loads(metadata))
            for doc_id, title, text, metadata in self._select("doc_id, title, text, metadata", ids)
        ]

    def contents(self, ids: Sequence[str]) -> list[str]:
        """Give ``Document.contents`` (title, a space, text) of these ids, in their order; errors as `get`."""
        return [f"{title} {text}".strip() for _, title, text in self._select("doc_id, title, text", ids)]

    def __iter__(self) -> Iterator[Document]:
        """Every document, in the order of insertion; a replaced one stands where it was added last."""
        last = 0
        while True:
            with self._lock:
                rows = self._connection.execute(
                    "SELECT rowid, doc_id, title, text, metadata FROM documents "
                    "WHERE rowid > ? ORDER BY rowid LIMIT 1000",
                    (last,),
                ).fetchall()
            if not rows:
                return
            last = rows[-1][0]
            for _, doc_id, title, text, metadata in rows:
                yield Document(doc_id, text, title, json.loads(metadata))

    def __len__(self) -> int:
        with self._lock:
            return int(self._connection.execute("SELECT count(*) FROM documents").fetchone()[0])

    def __contains__(self, doc_id: object) -> bool:
        with self._lock:
            return (
                self._connection.execute("SELECT 1 FROM documents WHERE doc_id = ?", (doc_id,)).fetchone() is not None
            )

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _select(self, columns: str, ids: Sequence[str]) -> Iterable[tuple[Any, ...]]:
        by_id: dict[str, tuple[Any, ...]] = {}
        for start in range(0, len(ids), _IDS_AT_ONCE):
            some = ids[start : start + _IDS_AT_ONCE]
            wanted = ",".join("?" * len(some))
            with self._lock:
                found = self._connection.execute(f"SELECT {columns} FROM documents WHERE doc_id IN ({wanted})", some)
                by_id.update((row[0], row) for row in found)
        missing = next((doc_id for doc_id in ids if doc_id not in by_id), None)
        if missing is not None:
            raise InputError(f"the document {missing!r} is not in {self.path}")
        return [by_id[doc_id] for doc_id in ids]


def _connect(path: Path, mode: str) -> sqlite3.Connection:
    try:
        return sqlite3.connect(f"file:{quote(str(path.absolute()))}?mode={mode}", uri=True, check_same_thread=False)
    except sqlite3.OperationalError as error:
        raise StorageError(f"{path} cannot be opened: {error}") from error


def _to_json(document: Document) -> str:
    try:
        text = json.dumps(dict(document.metadata), ensure_ascii=False, allow_nan=False)
        text.encode()
        return text
    except (TypeError, ValueError) as error:  # half a surrogate pair is a ValueError too
        raise InputError(f"document {document.doc_id!r}: its metadata cannot be written as JSON ({error})") from error
