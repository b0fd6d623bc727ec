"""DocumentStore: title, text and metadata by id in one SQLite file, and the journal from which legs catch up.

Each write gets the next sequence number, which is stored with each document that it wrote or deleted, so the documents
themselves are the journal. A leg that holds all writes up to `s` catches up with the documents of higher sequence
numbers. A deleted document stays as a tombstone with its text until `purge`, so that a reader with legs older than the
delete can still show its hits.
"""

import secrets
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from indexing.collection.digests import digest as digest
from indexing.collection.digests import digest_of, metadata_json
from indexing.collection.rows import SCHEMA, document_of, last_key, piece_of, piece_row, stored_digest
from indexing.collection.shards import Piece
from indexing.collection.sqlite_file import SqliteFile, connect
from indexing.corpora.chunked import CHUNK, PARENT_ID
from indexing.documents import Document, check_ids
from indexing.errors import InputError, StorageError
from indexing.filters import Fields, Filter, sqlite_indexes, sqlite_where
from indexing.inputs import local_path

_IDS_AT_ONCE = 10_000
"""Bounded because SQLite accepts at most 32,766 parameters in a statement."""
_PAGE = 1000
_DOCUMENT = "doc_id, title, text, metadata"
"""The columns that `document_of` takes."""


class Change(NamedTuple):
    """A document in the journal, with its number in the shards."""

    number: int
    document: Document


class DocumentStore(SqliteFile):
    """Documents by id; each `upsert` and `delete` is one transaction, durable when the call returns.

    Use `create` or `open`. Any number of threads and processes may read, also while one process writes; only one
    process may write.
    """

    @classmethod
    def create(cls, path: str | Path, *, fields: Fields | None = None) -> Self:
        """Create an empty store in a new file, with an index for each declared field of the metadata."""
        path = local_path(path, "path")
        if path.exists():
            raise StorageError(f"{path} already exists: open it, or remove it first")
        store = cls(path, connect(path, "rwc"))
        with store._transaction() as transaction:
            for statement in (*SCHEMA.split(";\n"), *sqlite_indexes(fields or {})):
                transaction.execute(statement)
        store.begin_journal()
        store._share()
        return store

    @classmethod
    def open(cls, path: str | Path, *, read_only: bool = True) -> Self:
        """Open an existing store."""
        path = local_path(path, "path")
        if not path.is_file():
            raise StorageError(f"{path} is missing: this is not a collection, or its build was not completed")
        connection = connect(path, "ro" if read_only else "rw")
        try:
            connection.execute("SELECT doc_id, sequence, title, text, metadata FROM documents LIMIT 1")
            connection.execute("SELECT value FROM state WHERE key = 'sequence'").fetchone()
        except (sqlite3.DatabaseError, UnicodeError) as error:
            connection.close()
            raise StorageError(f"{path} is not a document store ({error}): build the collection again") from error
        store = cls(path, connection)
        if not read_only:
            store._share()
            if not store.journal:
                store.begin_journal()
        return store

    # Reading.

    def hold(self) -> None:
        """Let every later read see the present state, until this is called again or the store is closed.

        Other processes can write meanwhile; what they replace stays in the file until this store is closed.
        """
        with self._translate_errors(), self._lock:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            self._connection.execute("BEGIN")
            # SQLite chooses the state at the first read.
            self._connection.execute("SELECT value FROM state WHERE key = 'sequence'").fetchone()

    @property
    def sequence(self) -> int:
        """Sequence number of the last write."""
        return self._state("sequence")

    @property
    def journal(self) -> int:
        """Random number of the journal, another one in a copy; 0 until a version that has it opens it for writing."""
        rows = self._rows("SELECT value FROM state WHERE key = 'journal'")
        return int(rows[0][0]) if rows else 0

    @property
    def next_number(self) -> int:
        """Number of the next document to be written."""
        return self._state("next")

    @property
    def dead(self) -> int:
        """Number of documents replaced or deleted since `reset_dead`."""
        return self._state("dead")

    @property
    def purged(self) -> int:
        """Sequence number of the last write with purged deletes; a leg older than it cannot catch up."""
        return self._state("purged")

    def get(self, ids: Sequence[str]) -> list[Document]:
        """Return the documents of these ids, in their order; deleted ones are returned until `purge`.

        Raises
        ------
        InputError
            For an unknown id.
        """
        with self._translate_errors():
            return [document_of(*row) for row in self._select(_DOCUMENT, ids)]

    def contents(self, ids: Sequence[str]) -> list[str]:
        """Return ``Document.contents`` (title, a space, text) of these ids, in their order; errors as in `get`."""
        with self._translate_errors():
            return [" ".join((title, text)).strip() for _, title, text in self._select("doc_id, title, text", ids)]

    def digests(self, ids: Sequence[str]) -> dict[str, bytes]:
        """Return the content digests of those of these ids that exist and are not deleted."""
        rows = self._where_id_in("doc_id, digest, deleted", ids)
        return {doc_id: digest for doc_id, digest, deleted in rows if digest is not None and not deleted}

    def alive(self, ids: Sequence[str]) -> set[str]:
        """Return those of these ids that exist and are not deleted."""
        return {doc_id for doc_id, deleted in self._where_id_in("doc_id, deleted", ids) if not deleted}

    def known(self, ids: Sequence[str]) -> set[str]:
        """Return those of these ids that `get` returns a document for."""
        return {doc_id for (doc_id,) in self._where_id_in("doc_id", ids)}

    def numbers_by_contents(self, ids: Sequence[str]) -> dict[str, int]:
        """Return the number of a document by its contents, for those of these ids that are stored and sound."""
        rows = self._where_id_in("number, title, text, digest", ids)
        return {f"{title} {text}".strip(): number for number, title, text, digest in rows if digest is not None}

    def numbers_of(self, ids: Sequence[str]) -> dict[str, int]:
        """Return the number of those of these ids that are stored; of deleted ones until `purge`."""
        return dict(self._where_id_in("doc_id, number", ids))

    def parents(self, ids: Sequence[str]) -> dict[str, str]:
        """Return the parent's id of those of these ids that exist, are not deleted and are chunks."""
        columns = f"doc_id, json_extract(metadata, '$.{PARENT_ID}'), json_type(metadata, '$.{CHUNK}'), deleted"
        rows = self._where_id_in(columns, ids)
        return {doc_id: str(parent) for doc_id, parent, chunk, deleted in rows if chunk == "object" and not deleted}

    def changes(self, after: int, *, size: int = _PAGE) -> Iterator[tuple[int, list[Change]]]:
        """Yield batches of the documents written after this sequence number and not deleted since.

        Yields
        ------
        (int, list of Change)
            The batches together contain each document once, by ascending number. A batch ends at the end of a write:
            a leg that has applied the batches and the deletes up to the yielded sequence number holds all its writes.
        """
        while True:
            # A write is never split, and it is small: a batch exceeds `size` by at most one write.
            last = self._rows(
                "SELECT max(sequence) FROM (SELECT sequence FROM documents WHERE sequence > ? AND deleted = 0 "
                "ORDER BY sequence LIMIT ?)",
                (after, size),
            )[0][0]
            if last is None:
                return
            rows = self._rows(
                f"SELECT number, {_DOCUMENT} FROM documents "
                "WHERE sequence > ? AND sequence <= ? AND deleted = 0 ORDER BY number",
                (after, last),
            )
            with self._translate_errors():
                changes = [Change(number, document_of(*row)) for number, *row in rows]
            yield last, changes
            after = last

    def deletes(self, after: int, upto: int | None = None, *, size: int = _IDS_AT_ONCE) -> Iterator[list[str]]:
        """Yield batches of the ids deleted after one sequence number, up to another, and not written again."""
        last: tuple[int, ...] = (after + 1, 0)
        end = self.sequence if upto is None else upto
        statement = (
            "SELECT sequence, number, doc_id FROM documents WHERE deleted = 1 AND (sequence, number) > (?, ?) "
            "AND sequence <= ? ORDER BY sequence, number LIMIT ?"
        )
        while rows := self._rows(statement, (*last, end, size)):
            last = last_key(rows, last, self.path)
            yield [row[2] for row in rows]

    def matching(self, filter: Filter, fields: Fields) -> list[str]:
        """Return the ids of the documents that match a filter over declared fields, without deleted ones."""
        condition, values = sqlite_where(filter, fields)
        return [row[0] for row in self._rows(f"SELECT doc_id FROM documents WHERE deleted = 0 AND {condition}", values)]

    def ids(self) -> Iterator[str]:
        """Yield every id, without deleted ones."""
        for rows in self._pages("doc_id", size=_IDS_AT_ONCE):
            yield from (doc_id for _, doc_id in rows)

    def metadata_values(self, *paths: str) -> Iterator[tuple[Any, ...]]:
        """Yield the values at these JSON paths of each document's metadata, as in ``$.year``, without deleted ones."""
        for rows in self._pages(", ".join(f"json_extract(metadata, '{path}')" for path in paths)):
            yield from (row[1:] for row in rows)

    def numbers(self) -> NDArray[np.int64]:
        """Return the numbers of all documents, without deleted ones, ascending."""
        with self._translate_errors(), self._lock:
            rows = self._connection.execute("SELECT number FROM documents WHERE deleted = 0 ORDER BY number")
            return np.fromiter((row[0] for row in rows), np.int64)

    def by_number(self, numbers: NDArray[np.int64]) -> list[Document]:
        """Return the documents of those of these numbers that exist, by ascending number."""
        documents: list[Document] = []
        for start in range(0, len(numbers), _IDS_AT_ONCE):
            batch = numbers[start : start + _IDS_AT_ONCE].tolist()
            rows = self._rows(
                f"SELECT {_DOCUMENT} FROM documents WHERE number IN ({','.join('?' * len(batch))}) ORDER BY number",
                batch,
            )
            with self._translate_errors():
                documents.extend(document_of(*row) for row in rows)
        return documents

    def pieces(self, leg: str) -> list[Piece]:
        """Return the pieces of this leg's shards, by ascending number."""
        rows = self._rows(
            "SELECT numbers, shard, start, length, crc FROM pieces WHERE leg = ? ORDER BY first",
            (leg,),
        )
        with self._translate_errors():
            return [piece_of(*row) for row in rows]

    def integrity_errors(self) -> list[str]:
        """Read the whole file and return the errors that SQLite finds; an empty list if it is sound."""
        try:
            errors = [row[0] for row in self._connection.execute("PRAGMA integrity_check(20)") if row[0] != "ok"]
        except (sqlite3.DatabaseError, UnicodeError) as error:
            errors = [str(error)]
        return [f"{self.path} is damaged: {line}" for line in errors]

    def corrupt_ids(self) -> list[str]:
        """Return the ids of the documents whose digest is missing or does not match their contents."""
        pages = self._pages("doc_id, digest, title, text, metadata")
        return [str(row[1]) for rows in pages for row in rows if row[2] is None or row[2] != stored_digest(*row[3:])]

    def __iter__(self) -> Iterator[Document]:
        """Yield every document in the order of insertion; a replaced one counts as inserted last."""
        for rows in self._pages(_DOCUMENT):
            with self._translate_errors():
                documents = [document_of(*row) for _, *row in rows]
            yield from documents

    def __len__(self) -> int:
        return self._state("documents")

    def __contains__(self, doc_id: object) -> bool:
        return bool(self._rows("SELECT 1 FROM documents WHERE doc_id = ? AND deleted = 0", (doc_id,)))

    # Writing.

    def upsert(self, documents: Sequence[Document], pieces: Mapping[str, Piece] | None = None) -> int:
        """Store documents, replacing those with the same ids, and record the pieces with their rows.

        Return the sequence number of this write. The documents get the numbers from `next_number` on, in order.

        Raises
        ------
        InputError
            For an id that occurs twice in the call, or metadata that JSON cannot represent: nothing is stored.
        StorageError
            When the file cannot be written, e.g. on a full disk.
        """
        ids = [document.doc_id for document in documents]
        check_ids(ids)
        metadata = [metadata_json(document) for document in documents]
        with self._transaction() as transaction:
            sequence, first = self.sequence + 1, self.next_number
            replaced = sum(not deleted for _, deleted in self._where_id_in("doc_id, deleted", ids))
            transaction.executemany(
                "INSERT OR REPLACE INTO documents VALUES (?, ?, ?, 0, ?, ?, ?, ?)",
                (
                    (number, d.doc_id, sequence, digest_of(d.title, d.text, fields), d.title, fields, d.text)
                    for number, (d, fields) in enumerate(zip(documents, metadata, strict=True), start=first)
                ),
            )
            for leg, piece in (pieces or {}).items():
                transaction.execute("INSERT INTO pieces VALUES (?, ?, ?, ?, ?, ?, ?)", piece_row(leg, piece))
            self._change(sequence=1, next=len(documents), documents=len(documents) - replaced, dead=replaced)
        return sequence

    def delete(self, ids: Sequence[str]) -> int:
        """Delete these ids, ignoring unknown ones; return the number of deleted documents."""
        with self._transaction() as transaction:
            sequence = self.sequence + 1
            count = transaction.executemany(
                "UPDATE documents SET deleted = 1, sequence = ? WHERE doc_id = ? AND deleted = 0",
                [(sequence, doc_id) for doc_id in ids],
            ).rowcount
            if count:
                self._change(sequence=1, documents=-count, dead=count)
        return count

    def begin_journal(self) -> None:
        """Draw a new random number for the journal, so that sequence numbers of an earlier one are recognised."""
        with self._transaction() as transaction:
            number = secrets.randbits(62) + 1
            transaction.execute("INSERT OR REPLACE INTO state VALUES ('journal', ?)", (number,))

    def clear_digests(self, ids: Sequence[str]) -> None:
        """Clear the digests of these documents, so that the next update writes them again."""
        with self._transaction() as transaction:
            transaction.executemany("UPDATE documents SET digest = NULL WHERE doc_id = ?", [(i,) for i in ids])

    def replace_pieces(self, pieces: Mapping[str, Sequence[Piece]]) -> None:
        """Replace all recorded pieces of these legs."""
        with self._transaction() as transaction:
            for leg, named in pieces.items():
                transaction.execute("DELETE FROM pieces WHERE leg = ?", (leg,))
                transaction.executemany(
                    "INSERT INTO pieces VALUES (?, ?, ?, ?, ?, ?, ?)", (piece_row(leg, piece) for piece in named)
                )

    def purge(self) -> int:
        """Remove the deleted documents and return their number; every leg must hold all writes before."""
        with self._transaction() as transaction:
            count = transaction.execute("DELETE FROM documents WHERE deleted = 1").rowcount
            transaction.execute("UPDATE state SET value = ? WHERE key = 'purged'", (self.sequence,))
        return count

    def reset_dead(self) -> None:
        """Reset the count of replaced and deleted documents."""
        with self._transaction() as transaction:
            transaction.execute("UPDATE state SET value = 0 WHERE key = 'dead'")

    def recount(self) -> int:
        """Count the documents and store the count."""
        with self._transaction() as transaction:
            count = int(transaction.execute("SELECT count(*) FROM documents WHERE deleted = 0").fetchone()[0])
            transaction.execute("UPDATE state SET value = ? WHERE key = 'documents'", (count,))
        return count

    def shrink(self) -> None:
        """Return the space of removed documents to the file system."""
        with self._translate_errors(), self._lock:
            self._connection.execute("VACUUM")

    def _state(self, key: str) -> int:
        rows = self._rows("SELECT value FROM state WHERE key = ?", (key,))
        with self._translate_errors():
            return int(rows[0][0])

    def _change(self, **by: int) -> None:
        changes = [(amount, key) for key, amount in by.items()]
        self._connection.executemany("UPDATE state SET value = value + ? WHERE key = ?", changes)

    def _pages(
        self, columns: str, condition: str = "deleted = 0", parameters: Sequence[Any] = (), *, size: int = _PAGE
    ) -> Iterator[list[tuple[Any, ...]]]:
        """Yield pages of rows (number, *columns) that meet the condition, by ascending number."""
        last: tuple[int, ...] = (0,)
        statement = f"SELECT number, {columns} FROM documents WHERE {condition} AND number > ? ORDER BY number LIMIT ?"
        while rows := self._rows(statement, (*parameters, *last, size)):
            last = last_key(rows, last, self.path)
            yield rows

    def _where_id_in(self, columns: str, ids: Sequence[str]) -> Iterable[tuple[Any, ...]]:
        for start in range(0, len(ids), _IDS_AT_ONCE):
            batch = ids[start : start + _IDS_AT_ONCE]
            yield from self._rows(
                f"SELECT {columns} FROM documents WHERE doc_id IN ({','.join('?' * len(batch))})", batch
            )

    def _select(self, columns: str, ids: Sequence[str]) -> Iterable[tuple[Any, ...]]:
        by_id = {row[0]: row for row in self._where_id_in(columns, ids)}
        missing = next((doc_id for doc_id in ids if doc_id not in by_id), None)
        if missing is not None:
            raise InputError(f"the document {missing!r} is not in {self.path}")
        return [by_id[doc_id] for doc_id in ids]
