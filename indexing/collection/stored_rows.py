"""Stored rows of single documents, read from the shards of a leg of token vectors without reading whole pieces."""

import os
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from indexing.collection.legs import codec
from indexing.collection.manifest import Leg
from indexing.collection.shards import TokenRows
from indexing.collection.store import DocumentStore
from indexing.errors import StorageError
from indexing.token_vectors import TokenVectors

ATTEMPTS = 5
"""Number of attempts to open files that a compaction replaces meanwhile."""


def stored_rows(store: DocumentStore, path: Path, name: str, leg: Leg) -> "StoredTokenRows | None":
    """Return a reader of the rows of a leg of the collection at `path`; None unless they are token vectors."""
    rows = codec(leg)
    return StoredTokenRows(store, path / "shards" / name, rows) if isinstance(rows, TokenRows) else None


class _Files:
    """Files open for reading, until nothing refers to this object."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self._handles: list[int] = []
        weakref.finalize(self, _close, self._handles)
        for path in paths:
            self._handles.append(os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0)))

    def read(self, file: int, start: int, into: memoryview) -> None:
        """Fill `into` with the bytes of a file from `start` on; raise `EOFError` where it ends before."""
        while len(into):
            count = os.preadv(self._handles[file], [into], start)
            if not count:
                raise EOFError
            into, start = into[count:], start + count


class _Places(NamedTuple):
    """The place of each stored row, in ascending order of `numbers`: its bytes in one of the `files`."""

    files: _Files
    numbers: NDArray[np.int64]
    file: NDArray[np.int32]
    start: NDArray[np.int64]
    tokens: NDArray[np.int32]


class StoredTokenRows:
    """The token vectors of a leg, as `StoredRows` of an index; files are opened when first read.

    Vectors are read, and not mapped into memory, where their pages would count as memory of the process. A checksum
    covers a whole piece, so it is checked by `verify` and not by this reader.

    Parameters
    ----------
    store
        The documents with the places of the pieces.
    folder
        The leg's shards.
    codec
        Their codec.
    """

    def __init__(self, store: DocumentStore, folder: Path, codec: TokenRows) -> None:
        self._store, self._folder, self._codec = store, folder, codec
        self._places: _Places | None = None

    def numbers(self, ids: Sequence[str]) -> NDArray[np.int64]:
        """Return the number of each document, -1 for an unknown one."""
        known = self._store.numbers_of(ids)
        return np.fromiter((known.get(doc_id, -1) for doc_id in ids), np.int64, len(ids))

    def read(self, numbers: NDArray[np.int64]) -> TokenVectors:
        """Return the vectors of these numbers, in their order; raise `StorageError` for a number without any."""
        if not len(numbers):
            return TokenVectors.of([], self._codec.dimension)
        places = self._places or self._opened()
        rows = _find(places, numbers)
        if (rows < 0).any():  # written since
            places = self._opened()
            rows = _find(places, numbers)
        if (rows < 0).any():
            raise StorageError(
                f"{self._folder} has no row for document number {numbers[int(np.argmin(rows))]}: "
                f"run `retrieve verify {self._folder.parents[1]}`"
            )
        offsets = np.zeros(len(rows) + 1, np.int64)
        np.cumsum(places.tokens[rows], out=offsets[1:])
        vectors = np.empty((int(offsets[-1]), self._codec.dimension), np.dtype(self._codec.dtype))
        width = self._codec.dimension * vectors.itemsize
        into = vectors.view(np.uint8).reshape(-1).data
        file, place = places.file[rows], places.start[rows]
        # Rows that follow one another in a file are read together.
        apart = (np.diff(file) != 0) | (np.diff(place) != np.diff(offsets)[:-1] * width)
        firsts = np.concatenate(([0], np.flatnonzero(apart) + 1))[: len(rows)]
        starts = (offsets[firsts] * width).tolist()
        ends = [*starts[1:], len(into)]
        for start, end, number, begin in zip(starts, ends, file[firsts].tolist(), place[firsts].tolist(), strict=True):
            try:
                places.files.read(number, begin, into[start:end])
            except EOFError:
                raise StorageError(
                    f"{self._folder} ends before a row that the collection records: "
                    f"`retrieve verify {self._folder.parents[1]} --repair` encodes its documents again"
                ) from None
        return TokenVectors(offsets, vectors)

    def _opened(self) -> _Places:
        """Open the files of all recorded pieces."""
        for attempt in range(ATTEMPTS):
            try:
                self._places = places = self._open()
            except FileNotFoundError as error:
                if attempt == ATTEMPTS - 1:
                    raise StorageError(
                        f"{error.filename} is missing: run `retrieve verify {self._folder.parents[1]}`"
                    ) from error
                self._store.hold()  # a compaction has replaced the files since
            else:
                break
        return places

    def _open(self) -> _Places:
        pieces = self._store.pieces(self._folder.name)
        names = sorted({piece.shard for piece in pieces})
        files = _Files([self._folder / name for name in names])
        width = self._codec.dimension * np.dtype(self._codec.dtype).itemsize
        file = np.zeros(sum(len(piece.numbers) for piece in pieces), np.int32)
        start, tokens = np.zeros(len(file), np.int64), np.zeros(len(file), np.int32)
        done = 0
        for piece in pieces:
            count, number = len(piece.numbers), names.index(piece.shard)
            ends = np.zeros(count, "<i8")
            try:
                files.read(number, piece.start, ends.view(np.uint8).data)
            except EOFError:
                ends[:] = -1
            begins = np.concatenate(([0], ends[:-1]))
            if (ends < begins).any() or 8 * count + ends[-1] * width != piece.length:
                raise StorageError(
                    f"{self._folder / piece.shard} is damaged between bytes {piece.start} and {piece.end}: "
                    f"`retrieve verify {self._folder.parents[1]} --repair` encodes its documents again"
                )
            part = slice(done, done + count)
            file[part], start[part] = number, piece.start + 8 * count + begins * width
            tokens[part] = ends - begins
            done += count
        numbers = np.concatenate([np.zeros(0, np.int64), *(piece.numbers for piece in pieces)])
        return _Places(files, numbers, file, start, tokens)


def _close(handles: Sequence[int]) -> None:
    for handle in handles:
        os.close(handle)


def _find(places: _Places, numbers: NDArray[np.int64]) -> NDArray[Any]:
    """Return the row of each number, -1 for an unknown one."""
    if not len(places.numbers):
        return np.full(len(numbers), -1)
    rows = np.minimum(np.searchsorted(places.numbers, numbers), len(places.numbers) - 1)
    return np.where(places.numbers[rows] == numbers, rows, -1)
