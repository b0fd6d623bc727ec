"""The document store: title, text and metadata by id in one SQLite file, and the journal that keeps all legs in step.

Every write gets the next sequence number, which stands with each document that it wrote or deleted; so the journal is
the documents themselves. A leg that holds all writes up to `s` is brought forward with the documents whose number is
higher. A deleted document stays as a tombstone, text and all, until `purge`: a reader whose legs are older than the
delete can still show what it found.
"""

import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from indexing.collection.shards import Piece
from indexing.collection.sqlite_file import SqliteFile, connect
from indexing.documents import Document, check_ids
from indexing.errors import InputError, StorageError
from indexing.filters import Fields, Filter, sqlite_indexes, sqlite_where

_SCHEMA = """
CREATE TABLE documents (
    number   INTEGER PRIMARY KEY,
    doc_id   TEXT NOT NULL UNIQUE,
    sequence INTEGER NOT NULL,
    deleted  INTEGER NOT NULL DEFAULT 0,
    digest   BLOB,
    title    TEXT NOT NULL,
    metadata TEXT NOT NULL,
    text     TEXT NOT NULL
);
CREATE INDEX changes ON documents (sequence, deleted);
CREATE TABLE pieces (
    leg     TEXT NOT NULL,
    first   INTEGER NOT NULL,
    numbers BLOB NOT NULL,
    shard   TEXT NOT NULL,
    start   INTEGER NOT NULL,
    length  INTEGER NOT NULL,
    crc     INTEGER NOT NULL,
    PRIMARY KEY (leg, first)
) WITHOUT ROWID;
CREATE TABLE state (key TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
INSERT INTO state VALUES ('sequence', 0), ('next', 1), ('documents', 0), ('dead', 0), ('purged', 0);
"""

_IDS_AT_ONCE = 10_000
"""SQLite takes 32,766 parameters in a statement."""
_PAGE = 1000


class Change(NamedTuple):
    """A document as the journal has it, with its number in the shards."""

    number: int
    document: Document


class DocumentStore(SqliteFile):
    """Documents by id; every `upsert` and `delete` is one transaction, durable when the call returns.

    Use `create` or `open`. Reading is safe from several threads and processes at once, and while another process
    writes; of writers there may be one.
    """

    @classmethod
    def create(cls, path: str | Path, *, fields: Fields | None = None) -> Self:
        """Make an empty store; the file must not be there. Declared `fields` of the metadata get an index each."""
        path = Path(path)
        if path.exists():
            raise StorageError(f"{path} is already there: open it, or remove it first")
        store = cls(path, connect(path, "rwc"))
        with store._transaction() as transaction:
            for statement in (*_SCHEMA.split(";\n"), *sqlite_indexes(fields or {})):
                transaction.execute(statement)
        store._share()
        return store

    @classmethod
    def open(cls, path: str | Path, *, read_only: bool = True) -> Self:
        """Open a store that is there."""
        path = Path(path)
        if not path.is_file():
            raise StorageError(f"{path} is missing: this is no collection, or its build did not end")
        connection = connect(path, "ro" if read_only else "rw")
        try:
            connection.execute("SELECT doc_id, sequence, title, text, metadata FROM documents LIMIT 1")
            connection.execute("SELECT value FROM state WHERE key = 'sequence'").fetchone()
        except sqlite3.DatabaseError as error:
            connection.close()
            raise StorageError(f"{path} is not a document store ({error}): build the collection again") from error
        store = cls(path, connection)
        if not read_only:
            store._share()
        return store

    # Reading.

    @property
    def sequence(self) -> int:
        """The number of the last write."""
        return self._state("sequence")

    @property
    def next_number(self) -> int:
        """The number that the next document will get."""
        return self._state("next")

    @property
    def dead(self) -> int:
        """How many documents were replaced or deleted since `reset_dead`."""
        return self._state("dead")

    @property
    def purged(self) -> int:
        """The last write whose deletes are forgotten: a leg that is older cannot be brought forward."""
        return self._state("purged")

    def get(self, ids: Sequence[str]) -> list[Document]:
        """Give the documents of these ids, in their order; one that was deleted is given until `purge`.

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

    def digests(self, ids: Sequence[str]) -> dict[str, bytes]:
        """Give the content digests of those of these ids that are there and not deleted."""
        found = self._where_id_in("doc_id, digest, deleted", ids)
        return {doc_id: digest for doc_id, digest, deleted in found if digest is not None and not deleted}

    def alive(self, ids: Sequence[str]) -> set[str]:
        """Give those of these ids that are there and not deleted."""
        return {doc_id for doc_id, deleted in self._where_id_in("doc_id, deleted", ids) if not deleted}

    def changes(self, after: int, *, size: int = _PAGE) -> Iterator[tuple[int, list[Change]]]:
        """Give the documents written after this sequence number, those deleted since left out, in batches.

        Yields
        ------
        (int, list of Change)
            The batches together hold each document once, by ascending number. A batch ends where a write ends: with
            the deletes applied before, a leg that has taken it holds everything up to the sequence number given.
        """
        columns = "sequence, number, doc_id, title, text, metadata"
        while True:
            # A write's documents stand together, and a write is small: a batch passes `size` by one write at most.
            last = self._rows(
                "SELECT max(sequence) FROM (SELECT sequence FROM documents WHERE sequence > ? AND deleted = 0 "
                "ORDER BY sequence LIMIT ?)",
                (after, size),
            )[0][0]
            if last is None:
                return
            rows = self._rows(
                f"SELECT {columns} FROM documents WHERE sequence > ? AND sequence <= ? AND deleted = 0 ORDER BY number",
                (after, last),
            )
            yield last, [Change(row[1], Document(row[2], row[4], row[3], json.loads(row[5]))) for row in rows]
            after = last

    def deletes(self, after: int, *, size: int = _IDS_AT_ONCE) -> Iterator[list[str]]:
        """Give the ids deleted after this sequence number and not written again, in batches."""
        last = 0
        while rows := self._rows(
            "SELECT number, doc_id FROM documents WHERE deleted = 1 AND sequence > ? AND number > ? "
            "ORDER BY number LIMIT ?",
            (after, last, size),
        ):
            last = rows[-1][0]
            yield [doc_id for _, doc_id in rows]

    def matching(self, filter: Filter, fields: Fields) -> list[str]:
        """Give the ids of the documents that a filter over declared fields keeps, deleted ones left out."""
        condition, values = sqlite_where(filter, fields)
        return [row[0] for row in self._rows(f"SELECT doc_id FROM documents WHERE deleted = 0 AND {condition}", values)]

    def ids(self) -> Iterator[str]:
        """Every id, deleted ones left out."""
        last = 0
        while rows := self._rows(
            "SELECT number, doc_id FROM documents WHERE number > ? AND deleted = 0 ORDER BY number LIMIT ?",
            (last, _IDS_AT_ONCE),
        ):
            last = rows[-1][0]
            yield from (doc_id for _, doc_id in rows)

    def numbers(self) -> NDArray[np.int64]:
        """Give the numbers of all documents, deleted ones left out, ascending."""
        with self._lock, self._translate_errors():
            found = self._connection.execute("SELECT number FROM documents WHERE deleted = 0 ORDER BY number")
            return np.fromiter((row[0] for row in found), np.int64)

    def by_number(self, numbers: NDArray[np.int64]) -> list[Document]:
        """Give the documents of these numbers, those that are there, by ascending number."""
        found: list[Document] = []
        for start in range(0, len(numbers), _IDS_AT_ONCE):
            some = numbers[start : start + _IDS_AT_ONCE].tolist()
            rows = self._rows(
                "SELECT doc_id, title, text, metadata FROM documents "
                f"WHERE number IN ({','.join('?' * len(some))}) ORDER BY number",
                some,
            )
            found.extend(Document(row[0], row[2], row[1], json.loads(row[3])) for row in rows)
        return found

    def pieces(self, leg: str) -> list[Piece]:
        """Give the pieces of this leg's shards, by ascending number."""
        rows = self._rows(
            "SELECT numbers, shard, start, length, crc FROM pieces WHERE leg = ? ORDER BY first",
            (leg,),
        )
        return [Piece(np.frombuffer(row[0], "<i8"), *row[1:]) for row in rows]

    def integrity_errors(self) -> list[str]:
        """Read everything, and say what SQLite finds wrong and which documents are not what was written."""
        try:
            found = [row[0] for row in self._connection.execute("PRAGMA integrity_check(20)") if row[0] != "ok"]
        except sqlite3.DatabaseError as error:
            found = [str(error)]
        return [f"{self.path} is damaged: {line}" for line in found]

    def corrupt_ids(self) -> list[str]:
        """Give the ids of the documents whose digest is not that of their text, or that have none."""
        found: list[str] = []
        last = 0
        columns = "number, doc_id, digest, title, text, metadata"
        while rows := self._rows(
            f"SELECT {columns} FROM documents WHERE number > ? AND deleted = 0 ORDER BY number LIMIT ?", (last, _PAGE)
        ):
            last = rows[-1][0]
            found.extend(row[1] for row in rows if row[2] != _digest(row[3], row[4], row[5]))
        return found

    def __iter__(self) -> Iterator[Document]:
        """Every document, in the order of insertion; a replaced one stands where it was added last."""
        last = 0
        while rows := self._rows(
            "SELECT number, doc_id, title, text, metadata FROM documents "
            "WHERE number > ? AND deleted = 0 ORDER BY number LIMIT ?",
            (last, _PAGE),
        ):
            last = rows[-1][0]
            for _, doc_id, title, text, metadata in rows:
                yield Document(doc_id, text, title, json.loads(metadata))

    def __len__(self) -> int:
        return self._state("documents")

    def __contains__(self, doc_id: object) -> bool:
        return bool(self._rows("SELECT 1 FROM documents WHERE doc_id = ? AND deleted = 0", (doc_id,)))

    # Writing.

    def upsert(self, documents: Sequence[Document], pieces: Mapping[str, Piece] | None = None) -> int:
        """Store documents, one whose id is there already instead of it, and name the pieces with their rows.

        Returns the sequence number of this write. The documents get the numbers from `next_number` on, in order.

        Raises
        ------
        InputError
            For an id that stands twice in the call, or metadata that JSON cannot hold: nothing of the call is stored.
        StorageError
            When the file cannot be written, a full disk for one.
        """
        ids = [document.doc_id for document in documents]
        check_ids(ids)
        metadata = [_to_json(document) for document in documents]
        with self._transaction() as transaction:
            sequence, first = self.sequence + 1, self.next_number
            replaced = sum(not deleted for _, deleted in self._where_id_in("doc_id, deleted", ids))
            transaction.executemany(
                "INSERT OR REPLACE INTO documents VALUES (?, ?, ?, 0, ?, ?, ?, ?)",
                (
                    (number, d.doc_id, sequence, _digest(d.title, d.text, fields), d.title, fields, d.text)
                    for number, (d, fields) in enumerate(zip(documents, metadata, strict=True), start=first)
                ),
            )
            for leg, piece in (pieces or {}).items():
                transaction.execute("INSERT INTO pieces VALUES (?, ?, ?, ?, ?, ?, ?)", _piece_row(leg, piece))
            self._change(sequence=1, next=len(documents), documents=len(documents) - replaced, dead=replaced)
        return sequence

    def delete(self, ids: Sequence[str]) -> int:
        """Remove these ids; those that are not there are passed over. Returns how many were there."""
        with self._transaction() as transaction:
            sequence = self.sequence + 1
            gone = transaction.executemany(
                "UPDATE documents SET deleted = 1, sequence = ? WHERE doc_id = ? AND deleted = 0",
                [(sequence, doc_id) for doc_id in ids],
            ).rowcount
            if gone:
                self._change(sequence=1, documents=-gone, dead=gone)
        return gone

    def clear_digests(self, ids: Sequence[str]) -> None:
        """Forget the digests of these documents, so that the next update writes them again."""
        with self._transaction() as transaction:
            transaction.executemany("UPDATE documents SET digest = NULL WHERE doc_id = ?", [(i,) for i in ids])

    def replace_pieces(self, pieces: Mapping[str, Sequence[Piece]]) -> None:
        """Name these pieces instead of all that these legs had."""
        with self._transaction() as transaction:
            for leg, named in pieces.items():
                transaction.execute("DELETE FROM pieces WHERE leg = ?", (leg,))
                transaction.executemany(
                    "INSERT INTO pieces VALUES (?, ?, ?, ?, ?, ?, ?)", (_piece_row(leg, piece) for piece in named)
                )

    def purge(self) -> int:
        """Forget what was deleted; returns how many documents. Every leg must hold all writes before."""
        with self._transaction() as transaction:
            gone = transaction.execute("DELETE FROM documents WHERE deleted = 1").rowcount
            transaction.execute("UPDATE state SET value = ? WHERE key = 'purged'", (self.sequence,))
        return gone

    def reset_dead(self) -> None:
        """Begin to count replaced and deleted documents anew."""
        with self._transaction() as transaction:
            transaction.execute("UPDATE state SET value = 0 WHERE key = 'dead'")

    def recount(self) -> int:
        """Count the documents, and write the count down."""
        with self._transaction() as transaction:
            count = int(transaction.execute("SELECT count(*) FROM documents WHERE deleted = 0").fetchone()[0])
            transaction.execute("UPDATE state SET value = ? WHERE key = 'documents'", (count,))
        return count

    def shrink(self) -> None:
        """Give the room of what was removed back to the disk."""
        with self._lock, self._translate_errors():
            self._connection.execute("VACUUM")

    def _state(self, key: str) -> int:
        return int(self._rows("SELECT value FROM state WHERE key = ?", (key,))[0][0])

    def _change(self, **by: int) -> None:
        changes = [(amount, key) for key, amount in by.items()]
        self._connection.executemany("UPDATE state SET value = value + ? WHERE key = ?", changes)

    def _where_id_in(self, columns: str, ids: Sequence[str]) -> Iterable[tuple[Any, ...]]:
        for start in range(0, len(ids), _IDS_AT_ONCE):
            some = ids[start : start + _IDS_AT_ONCE]
            yield from self._rows(
                f"SELECT {columns} FROM documents WHERE doc_id IN ({','.join('?' * len(some))})", some
            )

    def _select(self, columns: str, ids: Sequence[str]) -> Iterable[tuple[Any, ...]]:
        by_id = {row[0]: row for row in self._where_id_in(columns, ids)}
        missing = next((doc_id for doc_id in ids if doc_id not in by_id), None)
        if missing is not None:
            raise InputError(f"the document {missing!r} is not in {self.path}")
        return [by_id[doc_id] for doc_id in ids]


def _digest(title: str, text: str, metadata: str) -> bytes:
    digest = blake2b(f"{len(title)} {len(text)} ".encode(), digest_size=16)
    for part in (title, text, metadata):
        digest.update(part.encode())
    return digest.digest()


def digest(document: Document) -> bytes:
    """Give a digest of all that a document holds but its id (BLAKE2b, 128 bits): equal ones need no update."""
    return _digest(document.title, document.text, _to_json(document))


def _piece_row(leg: str, piece: Piece) -> tuple[Any, ...]:
    first = int(piece.numbers[0])
    return leg, first, piece.numbers.astype("<i8").tobytes(), piece.shard, piece.start, piece.length, piece.crc


def _to_json(document: Document) -> str:
    try:
        text = json.dumps(dict(document.metadata), ensure_ascii=False, allow_nan=False)
        text.encode()
        return text
    except (TypeError, ValueError) as error:  # half a surrogate pair is a ValueError too
        raise InputError(f"document {document.doc_id!r}: its metadata cannot be written as JSON ({error})") from error
