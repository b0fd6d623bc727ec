"""Shards: the encoded documents of a leg, so that a changed index needs no new encoding.

A shard is a file of consecutive pieces, each with the rows of one write. The document store records the pieces and
their checksums: a write appends its piece to the shard, then records it in the same transaction as the documents.
Bytes outside of recorded pieces are left by a crash, and a writer that opens the collection removes them.
"""

import os
import re
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from indexing.disk import sync
from indexing.errors import StorageError
from indexing.plurals import counted
from indexing.token_vectors import TokenVectors

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

SHARD_BYTES = 256 * 1024 * 1024
"""Size from which a new shard is started."""
SHARD_NAME = re.compile(r"\d{6,}\.shard")
PIECE_ROWS = 512
"""`Shards.rewrite` merges pieces with fewer rows."""

Rows: TypeAlias = "NDArray[np.floating] | csr_matrix | TokenVectors"


class Codec(Protocol):
    """Conversion between rows and the bytes of a piece."""

    def pack(self, rows: Any) -> bytes:
        """Convert rows to bytes."""
        ...

    def unpack(self, data: bytes, count: int) -> Any:
        """Convert bytes to rows."""
        ...

    def stack(self, parts: Sequence[Any]) -> Any:
        """Concatenate rows."""
        ...

    def take(self, rows: Any, positions: NDArray[np.int64]) -> Any:
        """Return some of the rows."""
        ...


@dataclass(frozen=True, slots=True)
class DenseRows:
    """Codec of vectors [n, dimension], little-endian, in the precision `dtype`."""

    dimension: int
    dtype: str = "float32"

    def pack(self, rows: NDArray[np.floating]) -> bytes:
        """Convert rows to bytes."""
        return np.ascontiguousarray(rows, dtype=np.dtype(self.dtype).newbyteorder("<")).tobytes()

    def unpack(self, data: bytes, count: int) -> NDArray[np.floating]:
        """Convert bytes to rows."""
        return np.frombuffer(data, dtype=np.dtype(self.dtype).newbyteorder("<")).reshape(count, self.dimension)

    def stack(self, parts: Sequence[NDArray[np.floating]]) -> NDArray[np.floating]:
        """Concatenate rows."""
        return np.concatenate(parts) if parts else np.zeros((0, self.dimension), np.dtype(self.dtype))

    def take(self, rows: NDArray[np.floating], positions: NDArray[np.int64]) -> NDArray[np.floating]:
        """Return some of the rows."""
        return rows[positions]


@dataclass(frozen=True, slots=True)
class SparseRows:
    """Codec of term weights [n, columns] as CSR: the end of each row (int64), columns (int32), weights (float32)."""

    columns: int

    def pack(self, rows: "csr_matrix") -> bytes:
        """Convert rows to bytes."""
        from scipy.sparse import csr_matrix

        matrix = csr_matrix(rows)
        ends = matrix.indptr[1:].astype("<i8")
        return ends.tobytes() + matrix.indices.astype("<i4").tobytes() + matrix.data.astype("<f4").tobytes()

    def unpack(self, data: bytes, count: int) -> "csr_matrix":
        """Convert bytes to rows."""
        from scipy.sparse import csr_matrix

        ends = np.frombuffer(data, "<i8", count=count)
        nonzero = int(ends[-1]) if count else 0
        columns = np.frombuffer(data, "<i4", count=nonzero, offset=8 * count)
        weights = np.frombuffer(data, "<f4", count=nonzero, offset=8 * count + 4 * nonzero)
        matrix = csr_matrix((weights, columns, np.concatenate(([0], ends))), shape=(count, self.columns))
        matrix.check_format(full_check=True)  # a column beyond the width would be written outside of other arrays
        return matrix

    def stack(self, parts: "Sequence[csr_matrix]") -> "csr_matrix":
        """Concatenate rows."""
        from scipy.sparse import csr_matrix, vstack

        return vstack(parts, format="csr") if parts else csr_matrix(np.zeros((0, self.columns), np.float32))

    def take(self, rows: "csr_matrix", positions: NDArray[np.int64]) -> "csr_matrix":
        """Return some of the rows."""
        return rows[positions]


@dataclass(frozen=True, slots=True)
class TokenRows:
    """Codec of token vectors: the end of each document's vectors (int64), then the vectors in the precision `dtype`."""

    dimension: int
    dtype: str = "float16"

    def pack(self, rows: TokenVectors) -> bytes:
        """Convert rows to bytes."""
        vectors = np.ascontiguousarray(rows.vectors, dtype=np.dtype(self.dtype).newbyteorder("<"))
        return rows.offsets[1:].astype("<i8").tobytes() + vectors.tobytes()

    def unpack(self, data: bytes, count: int) -> TokenVectors:
        """Convert bytes to rows."""
        offsets = np.concatenate(([0], np.frombuffer(data, "<i8", count=count))).astype(np.int64)
        if (np.diff(offsets) < 0).any():
            raise ValueError("the ends of the documents' vectors do not ascend")
        vectors = np.frombuffer(data, np.dtype(self.dtype).newbyteorder("<"), offset=8 * count)
        return TokenVectors(offsets, vectors.reshape(int(offsets[-1]), self.dimension))

    def stack(self, parts: Sequence[TokenVectors]) -> TokenVectors:
        """Concatenate rows."""
        return TokenVectors.join(parts, self.dimension, np.dtype(self.dtype))

    def take(self, rows: TokenVectors, positions: NDArray[np.int64]) -> TokenVectors:
        """Return some of the rows."""
        return rows.take(positions)


@dataclass(frozen=True, slots=True, eq=False)
class Piece:
    """Rows of one write: the numbers of its documents (int64, ascending), and the position and CRC-32 of its bytes."""

    numbers: NDArray[np.int64]
    shard: str
    start: int
    length: int
    crc: int

    @property
    def end(self) -> int:
        """Offset of the byte after the piece."""
        return self.start + self.length


class Shards:
    """The pieces of one leg.

    Parameters
    ----------
    folder
        Folder of the files, created with the first piece.
    codec
        Conversion between rows and bytes.
    pieces
        The recorded pieces, in ascending order of numbers.
    """

    def __init__(self, folder: Path, codec: Codec, pieces: Sequence[Piece] = ()) -> None:
        self.folder, self.codec = folder, codec
        self._firsts: NDArray[np.int64] | None = None
        self._set(pieces)

    @property
    def pieces(self) -> Sequence[Piece]:
        """The recorded pieces, in ascending order of numbers."""
        return self._pieces

    def append(self, numbers: NDArray[np.int64], rows: Any) -> Piece:
        """Write rows durably after the last piece; call `accept` with the piece once the store has recorded it."""
        shard, end = self._tail
        if not shard or end >= SHARD_BYTES:
            return self._write(self._new_shard(), 0, numbers, rows)
        return self._write(shard, end, numbers, rows)

    def accept(self, piece: Piece) -> None:
        """Add a piece that the store has recorded."""
        self._pieces.append(piece)
        self._tail, self._firsts = (piece.shard, piece.end), None

    def read(self, numbers: NDArray[np.int64]) -> Any:
        """Return the rows of these documents [n], given by their numbers in ascending order.

        Raises
        ------
        StorageError
            For a number without a row, or a damaged piece.
        """
        # Another thread may accept a piece meanwhile.
        firsts = self._firsts
        if firsts is None:
            pieces = list(self._pieces)
            firsts = self._firsts = np.fromiter((piece.numbers[0] for piece in pieces), np.int64, len(pieces))
        piece_of = np.searchsorted(firsts, numbers, side="right") - 1
        bounds = np.flatnonzero(np.diff(piece_of, prepend=-2, append=-2)).tolist()
        parts = []
        for start, stop in pairwise(bounds):
            piece = self._pieces[piece_of[start]] if piece_of[start] >= 0 else None
            wanted = numbers[start:stop]
            if piece is None or not _is_in(wanted, piece.numbers).all():
                raise StorageError(
                    f"{self.folder} has no row for document number {wanted[0]}: "
                    f"run `retrieve verify {self.folder.parents[1]}`"
                )
            rows = self.load(piece)
            parts.append(
                rows
                if len(wanted) == len(piece.numbers)
                else self.codec.take(rows, np.searchsorted(piece.numbers, wanted))
            )
        return self.codec.stack(parts)

    def load(self, piece: Piece) -> Any:
        """Read the rows of a piece; raise a `StorageError` if it is damaged."""
        data = self._bytes(piece)
        try:
            return self.codec.unpack(data, len(piece.numbers))
        except (ValueError, TypeError, OverflowError, MemoryError) as error:
            raise StorageError(
                f"{self.folder / piece.shard}: bytes {piece.start} to {piece.end} are not "
                f"{counted(len(piece.numbers), 'row')} as "
                f"the manifest describes them ({error!s:.200}): `retrieve verify {self.folder.parents[1]}`"
            ) from error

    def is_intact(self, piece: Piece) -> bool:
        """Return whether a piece is readable and matches its checksum."""
        try:
            self._bytes(piece)
        except StorageError:
            return False
        return True

    def needs_rewrite(self, alive: int) -> bool:
        """Return whether `rewrite` would gain anything: there are rows of deleted documents, or many small pieces."""
        return sum(len(piece.numbers) for piece in self._pieces) != alive or (
            len(self._pieces) > 2 * (alive // PIECE_ROWS + 1)
        )

    def check_lengths(self) -> None:
        """Raise a `StorageError` for a missing or truncated file, without reading any."""
        for shard, end in self._ends().items():
            path = self.folder / shard
            length = path.stat().st_size if path.is_file() else 0
            if length < end:
                raise StorageError(f"{path} has {counted(length, 'byte')} of {end:,}: {self._remedy()}")

    def leftovers(self) -> dict[Path, int]:
        """Return the files with bytes outside of recorded pieces, each with the number of bytes to keep."""
        ends = self._ends()
        return {file: ends.get(file.name, 0) for file in self._files() if file.stat().st_size > ends.get(file.name, 0)}

    def remove_leftovers(self) -> None:
        """Remove the bytes and files outside of recorded pieces."""
        named = {piece.shard for piece in self._pieces}
        for file, length in self.leftovers().items():
            if file.name in named:
                os.truncate(file, length)
        for file in self._files():
            if file.name not in named:
                file.unlink()

    def rewrite(self, alive: NDArray[np.int64]) -> list[Piece]:
        """Write new files with only the rows of the documents `alive` (their numbers, ascending).

        The old files stay: record the new pieces in the store, then call `replace`.
        """
        pieces: list[Piece] = []
        shard, end = self._new_shard(), 0
        for numbers, rows in self._merged(alive):
            if end >= SHARD_BYTES:
                shard, end = f"{int(shard.removesuffix('.shard')) + 1:06d}.shard", 0
            pieces.append(self._write(shard, end, numbers, rows))
            end = pieces[-1].end
        return pieces

    def replace(self, pieces: Sequence[Piece]) -> None:
        """Replace the pieces by these, and remove the files of the old ones."""
        self._set(pieces)
        self.remove_leftovers()

    def _set(self, pieces: Sequence[Piece]) -> None:
        self._pieces = list(pieces)
        self._tail = max(self._ends().items(), default=("", 0))
        self._firsts = None

    def _ends(self) -> dict[str, int]:
        ends: dict[str, int] = {}
        for piece in self._pieces:
            ends[piece.shard] = max(ends.get(piece.shard, 0), piece.end)
        return ends

    def _merged(self, alive: NDArray[np.int64]) -> Iterator[tuple[NDArray[np.int64], Any]]:
        numbers: list[NDArray[np.int64]] = []
        parts: list[Any] = []
        for piece in self._pieces:
            keep = _is_in(piece.numbers, alive)
            if keep.any():
                rows = self.load(piece)
                numbers.append(piece.numbers[keep])
                parts.append(rows if keep.all() else self.codec.take(rows, np.flatnonzero(keep)))
            if sum(map(len, numbers)) >= PIECE_ROWS:
                yield np.concatenate(numbers), self.codec.stack(parts)
                numbers, parts = [], []
        if numbers:
            yield np.concatenate(numbers), self.codec.stack(parts)

    def _write(self, shard: str, start: int, numbers: NDArray[np.int64], rows: Any) -> Piece:
        data = self.codec.pack(rows)
        path = self.folder / shard
        is_new = not path.exists()
        self.folder.mkdir(parents=True, exist_ok=True)
        try:
            with path.open("wb" if is_new else "r+b") as file:
                # Overwrite what a failed write left after the last piece.
                file.seek(start)
                file.truncate()
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise StorageError(
                f"{path} cannot be written ({error.strerror}): free some disk space and run it again"
            ) from error
        if is_new:
            sync(self.folder)
        return Piece(np.asarray(numbers, np.int64), shard, start, len(data), zlib.crc32(data))

    def _bytes(self, piece: Piece) -> bytes:
        path = self.folder / piece.shard
        try:
            with path.open("rb") as file:
                file.seek(piece.start)
                data = file.read(max(0, min(piece.length, os.fstat(file.fileno()).st_size - piece.start)))
        except OSError as error:
            raise StorageError(f"{path} cannot be read ({error.strerror}): {self._remedy()}") from error
        if len(data) < piece.length:
            raise StorageError(f"{path} ends at byte {piece.start + len(data):,} of {piece.end:,}: {self._remedy()}")
        if zlib.crc32(data) != piece.crc:
            raise StorageError(f"{path} is damaged between bytes {piece.start} and {piece.end}: {self._remedy()}")
        return data

    def _remedy(self) -> str:
        return f"`retrieve verify {self.folder.parents[1]} --repair` encodes its documents again"

    def _files(self) -> list[Path]:
        return sorted(file for file in self.folder.glob("*.shard") if SHARD_NAME.fullmatch(file.name))

    def _new_shard(self) -> str:
        """Return the name of a new file."""
        taken = [file.name for file in self._files()]
        taken.extend(piece.shard for piece in self._pieces)
        return f"{max((int(name.removesuffix('.shard')) for name in taken), default=-1) + 1:06d}.shard"


def _is_in(numbers: NDArray[np.int64], others: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return the mask of the numbers that are among others; both ascend."""
    positions = np.searchsorted(others, numbers)
    return others[np.minimum(positions, len(others) - 1)] == numbers if len(others) else np.zeros(len(numbers), bool)
