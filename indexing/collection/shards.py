"""Shards: the encoded documents of one leg, kept so that changing its index never encodes again.

A shard is a file of pieces, one after another; a piece holds the rows of one write. Which pieces there are, and their
checksums, the document store says: a write appends the piece here, then names it there in the same transaction as the
documents. Bytes that no piece names were left by a crash, and are cut off when a writer opens the collection.
"""

import os
import shutil
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix, vstack

from indexing.disk import sync_folder
from indexing.errors import StorageError

SHARD_BYTES = 256 * 1024 * 1024
"""A shard that is longer than this is ended, and the next one begun."""
PIECE_ROWS = 512
"""Pieces of fewer rows are joined by `Shards.rewrite`."""

Rows: TypeAlias = "NDArray[np.floating] | csr_matrix"


class Codec(Protocol):
    """How rows become the bytes of a piece."""

    def pack(self, rows: Any) -> bytes:
        """Give the bytes."""
        ...

    def unpack(self, data: bytes, count: int) -> Any:
        """Give the rows again."""
        ...

    def stack(self, parts: Sequence[Any]) -> Any:
        """Put rows above one another."""
        ...


@dataclass(frozen=True, slots=True)
class DenseRows:
    """Vectors [n, dimension], little-endian, in the precision that `dtype` names."""

    dimension: int
    dtype: str = "float32"

    def pack(self, rows: NDArray[np.floating]) -> bytes:
        """Give the bytes."""
        return np.ascontiguousarray(rows, dtype=np.dtype(self.dtype).newbyteorder("<")).tobytes()

    def unpack(self, data: bytes, count: int) -> NDArray[np.floating]:
        """Give the rows again."""
        return np.frombuffer(data, dtype=np.dtype(self.dtype).newbyteorder("<")).reshape(count, self.dimension)

    def stack(self, parts: Sequence[NDArray[np.floating]]) -> NDArray[np.floating]:
        """Put rows above one another."""
        return np.concatenate(parts) if parts else np.zeros((0, self.dimension), np.dtype(self.dtype))


@dataclass(frozen=True, slots=True)
class SparseRows:
    """Term weights [n, columns] as CSR: where each row ends (int64), the columns (int32), the weights (float32)."""

    columns: int

    def pack(self, rows: csr_matrix) -> bytes:
        """Give the bytes."""
        matrix = csr_matrix(rows)
        ends = matrix.indptr[1:].astype("<i8")
        return ends.tobytes() + matrix.indices.astype("<i4").tobytes() + matrix.data.astype("<f4").tobytes()

    def unpack(self, data: bytes, count: int) -> csr_matrix:
        """Give the rows again."""
        ends = np.frombuffer(data, "<i8", count=count)
        held = int(ends[-1]) if count else 0
        columns = np.frombuffer(data, "<i4", count=held, offset=8 * count)
        weights = np.frombuffer(data, "<f4", count=held, offset=8 * count + 4 * held)
        return csr_matrix((weights, columns, np.concatenate(([0], ends))), shape=(count, self.columns))

    def stack(self, parts: Sequence[csr_matrix]) -> csr_matrix:
        """Put rows above one another."""
        return vstack(parts, format="csr") if parts else csr_matrix(np.zeros((0, self.columns), np.float32))


@dataclass(frozen=True, slots=True, eq=False)
class Piece:
    """One write: the numbers of its documents (int64, ascending), where its bytes are, and their CRC-32."""

    numbers: NDArray[np.int64]
    shard: str
    start: int
    length: int
    crc: int

    @property
    def end(self) -> int:
        """Where the next piece may begin."""
        return self.start + self.length


class Shards:
    """The pieces of one leg.

    Parameters
    ----------
    folder
        Where the files are; made when the first piece is written.
    codec
        How rows become bytes.
    pieces
        The pieces that the store names, in ascending order of numbers.
    """

    def __init__(self, folder: Path, codec: Codec, pieces: Sequence[Piece] = ()) -> None:
        self.folder, self.codec = folder, codec
        self._firsts: NDArray[np.int64] | None = None
        self._set(pieces)

    @property
    def pieces(self) -> Sequence[Piece]:
        """All pieces, in ascending order of numbers."""
        return self._pieces

    def append(self, numbers: NDArray[np.int64], rows: Any) -> Piece:
        """Write rows behind the last piece, safe on disk; `accept` the piece once the store names it."""
        shard, end = self._tail
        if not shard or end >= SHARD_BYTES:
            return self._write(self._fresh(), 0, numbers, rows)
        return self._write(shard, end, numbers, rows)

    def accept(self, piece: Piece) -> None:
        """Count a piece that the store names now."""
        self._pieces.append(piece)
        self._tail, self._firsts = (piece.shard, piece.end), None

    def read(self, numbers: NDArray[np.int64]) -> Any:
        """Give the rows of these documents [n], by their numbers in ascending order.

        Raises
        ------
        StorageError
            For a number without a row, or a damaged piece.
        """
        if self._firsts is None:
            self._firsts = np.fromiter((piece.numbers[0] for piece in self._pieces), np.int64, len(self._pieces))
        places = np.searchsorted(self._firsts, numbers, side="right") - 1
        bounds = np.flatnonzero(np.diff(places, prepend=-2, append=-2)).tolist()
        parts = []
        for start, stop in pairwise(bounds):
            piece = self._pieces[places[start]] if places[start] >= 0 else None
            wanted = numbers[start:stop]
            if piece is None or not _held(wanted, piece.numbers).all():
                raise StorageError(
                    f"{self.folder} has no row for the document number {wanted[0]}: "
                    f"run `retrieve verify {self.folder.parents[1]}`"
                )
            rows = self.load(piece)
            whole = len(wanted) == len(piece.numbers)
            parts.append(rows if whole else rows[np.searchsorted(piece.numbers, wanted)])
        return self.codec.stack(parts)

    def load(self, piece: Piece) -> Any:
        """Read the rows of one piece; a `StorageError` when they are not what was written."""
        return self.codec.unpack(self._bytes(piece), len(piece.numbers))

    def is_intact(self, piece: Piece) -> bool:
        """Say whether a piece can be read as it was written."""
        try:
            self._bytes(piece)
        except StorageError:
            return False
        return True

    def needs_rewrite(self, alive: int) -> bool:
        """Say whether rewriting gains anything: rows that are not alive, or many small pieces."""
        return sum(len(piece.numbers) for piece in self._pieces) != alive or (
            len(self._pieces) > 2 * (alive // PIECE_ROWS + 1)
        )

    def check_lengths(self) -> None:
        """Refuse a file that is missing or too short; quick: nothing is read."""
        for shard, end in self._ends().items():
            path = self.folder / shard
            length = path.stat().st_size if path.is_file() else 0
            if length < end:
                raise StorageError(f"{path} has {length} bytes of {end}: {self._way_out()}")

    def leftovers(self) -> dict[Path, int]:
        """Find what no piece names: each file that is too long, and how many of its bytes count."""
        ends = self._ends()
        files = sorted(self.folder.glob("*.shard")) if self.folder.is_dir() else []
        return {file: ends.get(file.name, 0) for file in files if file.stat().st_size > ends.get(file.name, 0)}

    def remove_leftovers(self) -> None:
        """Remove the leftovers."""
        named = {piece.shard for piece in self._pieces}
        for file, length in self.leftovers().items():
            if file.name in named:
                os.truncate(file, length)
        for file in self.folder.glob("*.shard"):
            if file.name not in named:
                file.unlink()

    def rewrite(self, alive: NDArray[np.int64]) -> list[Piece]:
        """Write all pieces anew, in new files, with the rows of the documents `alive` (their numbers, ascending) only.

        Nothing is removed: name the new pieces in the store, then `replace` the old ones.
        """
        fresh: list[Piece] = []
        shard, end = self._fresh(), 0
        for numbers, rows in self._joined(alive):
            if end >= SHARD_BYTES:
                shard, end = f"{int(shard.removesuffix('.shard')) + 1:06d}.shard", 0
            fresh.append(self._write(shard, end, numbers, rows))
            end = fresh[-1].end
        return fresh

    def replace(self, pieces: Sequence[Piece]) -> None:
        """Count these pieces instead, and remove the files of the others."""
        self._set(pieces)
        self.remove_leftovers()

    def remove(self) -> None:
        """Remove everything."""
        self._set(())
        shutil.rmtree(self.folder, ignore_errors=True)

    def _set(self, pieces: Sequence[Piece]) -> None:
        self._pieces = list(pieces)
        self._tail = max(self._ends().items(), default=("", 0))
        self._firsts = None

    def _ends(self) -> dict[str, int]:
        ends: dict[str, int] = {}
        for piece in self._pieces:
            ends[piece.shard] = max(ends.get(piece.shard, 0), piece.end)
        return ends

    def _joined(self, alive: NDArray[np.int64]) -> Iterator[tuple[NDArray[np.int64], Any]]:
        numbers: list[NDArray[np.int64]] = []
        parts: list[Any] = []
        for piece in self._pieces:
            kept = _held(piece.numbers, alive)
            if kept.any():
                rows = self.load(piece)
                numbers.append(piece.numbers[kept])
                parts.append(rows if kept.all() else rows[np.flatnonzero(kept)])
            if sum(map(len, numbers)) >= PIECE_ROWS:
                yield np.concatenate(numbers), self.codec.stack(parts)
                numbers, parts = [], []
        if numbers:
            yield np.concatenate(numbers), self.codec.stack(parts)

    def _write(self, shard: str, start: int, numbers: NDArray[np.int64], rows: Any) -> Piece:
        data = self.codec.pack(rows)
        path = self.folder / shard
        fresh = not path.exists()
        self.folder.mkdir(parents=True, exist_ok=True)
        try:
            with path.open("wb" if fresh else "r+b") as file:
                # What a failed write left behind the last piece is written over.
                file.seek(start)
                file.truncate()
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise StorageError(f"{path} cannot be written ({error.strerror}): make room, and run it again") from error
        if fresh:
            sync_folder(self.folder)
        return Piece(np.asarray(numbers, np.int64), shard, start, len(data), zlib.crc32(data))

    def _bytes(self, piece: Piece) -> bytes:
        path = self.folder / piece.shard
        try:
            with path.open("rb") as file:
                file.seek(piece.start)
                data = file.read(piece.length)
        except OSError as error:
            raise StorageError(f"{path} cannot be read ({error.strerror}): {self._way_out()}") from error
        if len(data) < piece.length:
            raise StorageError(f"{path} ends at byte {piece.start + len(data)} of {piece.end}: {self._way_out()}")
        if zlib.crc32(data) != piece.crc:
            raise StorageError(f"{path} is damaged between bytes {piece.start} and {piece.end}: {self._way_out()}")
        return data

    def _way_out(self) -> str:
        return f"`retrieve verify {self.folder.parents[1]} --repair` encodes its documents again"

    def _fresh(self) -> str:
        """Name a file that is not there."""
        taken = [file.name for file in self.folder.glob("*.shard")] if self.folder.is_dir() else []
        taken.extend(piece.shard for piece in self._pieces)
        return f"{max((int(name.removesuffix('.shard')) for name in taken), default=-1) + 1:06d}.shard"


def _held(numbers: NDArray[np.int64], by: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Say which numbers are among others; both ascend."""
    places = np.searchsorted(by, numbers)
    return by[np.minimum(places, len(by) - 1)] == numbers if len(by) else np.zeros(len(numbers), bool)
