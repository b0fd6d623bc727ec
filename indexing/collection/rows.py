"""Rows of the documents file: from documents and pieces to their values, and back with a check of each type."""

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


def last_number(rows: Sequence[tuple[Any, ...]], after: int, path: Path) -> int:
    """Return the number of the last row, which begins each; raise a `StorageError` unless they ascend from `after`.

    A damaged tree of SQLite returns rows in another order, and a reader of pages would go in circles.
    """
    if any(following <= number for number, following in pairwise([after, *(row[0] for row in rows)])):
        raise StorageError(f"{path} is damaged: its documents are out of order: run `retrieve verify {path.parent}`")
    return int(rows[-1][0])


def stored_digest(title: object, text: object, metadata: object) -> bytes | None:
    """Return the digest of what a row holds; None if a damaged file has values of other types there."""
    parts = [part for part in (title, text, metadata) if isinstance(part, str)]
    return digest_of(*parts) if len(parts) == 3 else None


def piece_row(leg: str, piece: Piece) -> tuple[Any, ...]:
    """Return the row of a piece."""
    first = int(piece.numbers[0])
    return leg, first, piece.numbers.astype("<i8").tobytes(), piece.shard, piece.start, piece.length, piece.crc
