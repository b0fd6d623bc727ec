"""Tables and rows of the documents file: documents and pieces as values, and back with a check of each type."""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from indexing.collection.digests import digest_of
from indexing.collection.shards import SHARD_NAME, Piece
from indexing.documents import Document
from indexing.errors import StorageError
from indexing.json_text import parse_json

SCHEMA = """
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
"""The tables of documents, of the places of encoded rows, and of counts."""


def document_of(doc_id: str, title: str, text: str, metadata: str) -> Document:
    """Return the document of a row; raise a `ValueError` for values that no document has."""
    fields = parse_json(metadata)
    if not isinstance(fields, dict) or not all(isinstance(value, str) for value in (doc_id, title, text)):
        raise ValueError(f"the document {doc_id!r} is damaged")
    return Document(doc_id, text, title, fields)


def piece_of(numbers: bytes, shard: str, start: int, length: int, crc: int) -> Piece:
    """Return the piece of a row; raise a `ValueError` or a `TypeError` for values that no piece has."""
    piece = Piece(np.frombuffer(numbers, "<i8"), shard, start, length, crc)
    if not SHARD_NAME.fullmatch(shard) or min(start, length) < 0 or not len(piece.numbers):
        raise ValueError(f"the record of a piece of {shard!r} is damaged")
    if piece.numbers[0] < 0 or (np.diff(piece.numbers) <= 0).any():
        raise ValueError(f"the numbers of a piece of {shard!r} do not ascend")
    return piece


def last_key(rows: Sequence[tuple[Any, ...]], after: tuple[int, ...], path: Path) -> tuple[int, ...]:
    """Return the key of the last row, which begins each; raise a `StorageError` unless they ascend from `after`.

    A damaged tree of SQLite returns rows in another order, and a reader of pages would go in circles.
    """
    keys = [after, *(row[: len(after)] for row in rows)]
    if any(following <= key for key, following in pairwise(keys)):
        raise StorageError(f"{path} is damaged: its documents are out of order: run `retrieve verify {path.parent}`")
    return keys[-1]


def stored_digest(title: object, text: object, metadata: object) -> bytes | None:
    """Return the digest of what a row holds; None if a damaged file has values of other types there."""
    parts = [part for part in (title, text, metadata) if isinstance(part, str)]
    return digest_of(*parts) if len(parts) == 3 else None


def piece_row(leg: str, piece: Piece) -> tuple[Any, ...]:
    """Return the row of a piece."""
    first = int(piece.numbers[0])
    return leg, first, piece.numbers.astype("<i8").tobytes(), piece.shard, piece.start, piece.length, piece.crc
