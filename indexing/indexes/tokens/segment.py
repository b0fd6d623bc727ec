"""Segment: consecutive documents of a token index in files that never change."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from indexing.disk import sync
from indexing.errors import StorageError
from indexing.indexes.tokens.codebook import Codebook
from indexing.token_vectors import TokenVectors

PARTS = ("offsets", "stored", "codes", "starts", "lists")
TOKENS_AT_ONCE = 16_384
"""Vectors that are compared with a query at a time: 8 MB in float32 for 128 dimensions."""


@dataclass(frozen=True, slots=True, eq=False)
class Segment:
    """Documents with their vectors, mapped from files.

    Parameters
    ----------
    offsets
        int64 [documents + 1]; document ``i`` owns the vectors from ``offsets[i]`` to ``offsets[i + 1]``.
    stored
        The vectors in float16, [tokens, dim], or as a `Codebook` encodes them.
    codes
        [tokens], the centroid of each vector; empty before centroids are learned.
    starts, lists
        int64 [centroids + 1] and uint32: the documents with a vector of centroid ``c``, ascending, are
        ``lists[starts[c]:starts[c + 1]]``.
    """

    number: int
    offsets: NDArray[np.int64]
    stored: NDArray[Any]
    codes: NDArray[np.integer]
    starts: NDArray[np.int64]
    lists: NDArray[np.uint32]

    @classmethod
    def of(cls, number: int, vectors: TokenVectors, book: Codebook | None) -> Self:
        """Encode documents."""
        if book is None:
            none = np.zeros(0, np.int64)
            stored = np.ascontiguousarray(vectors.vectors, np.float16)
            return cls(number, vectors.offsets, stored, none.astype(np.uint16), none, none.astype(np.uint32))
        codes, stored = book.encode(vectors.vectors)
        return cls(number, vectors.offsets, stored, codes, *_invert(vectors.offsets, codes, len(book.centroids)))

    @classmethod
    def join(cls, number: int, segments: Sequence["Segment"], book: Codebook | None) -> Self:
        """Concatenate segments without encoding their vectors again."""
        lengths = np.concatenate([np.diff(segment.offsets) for segment in segments])
        offsets = np.concatenate(([0], np.cumsum(lengths)))
        stored = np.concatenate([segment.stored for segment in segments])
        codes = np.concatenate([segment.codes for segment in segments])
        lists = _invert(offsets, codes, len(book.centroids)) if book else (segments[0].starts, segments[0].lists)
        return cls(number, offsets, stored, codes, *lists)

    @property
    def documents(self) -> int:
        """Number of documents, deleted ones included."""
        return len(self.offsets) - 1

    def take(self, number: int, documents: NDArray[np.int64], book: Codebook | None) -> "Segment":
        """Return a segment of some of the documents."""
        tokens = TokenVectors(self.offsets, self.stored).take(documents)
        codes = self.codes
        if book is not None:
            codes = TokenVectors(self.offsets, self.codes[:, None]).take(documents).vectors[:, 0]
        lists = _invert(tokens.offsets, codes, len(book.centroids)) if book else (self.starts, self.lists)
        return Segment(number, tokens.offsets, tokens.vectors, codes, *lists)

    def vectors(self, book: Codebook | None) -> Iterator[TokenVectors]:
        """Yield all documents in blocks, with the vectors that scores are computed with, in float32."""
        for start, stop in self._blocks(np.arange(self.documents)):
            tokens = slice(self.offsets[start], self.offsets[stop])
            stored = self.stored[tokens]
            rows = stored.astype(np.float32) if book is None else book.decode(self.codes[tokens], stored)
            yield TokenVectors(self.offsets[start : stop + 1] - self.offsets[start], rows)

    def maxima(
        self,
        query: NDArray[np.float32],
        centroid_scores: NDArray[np.float32] | None,
        documents: NDArray[np.int64],
        book: Codebook | None,
    ) -> NDArray[np.float32]:
        """Return each query vector's largest inner product with a document's vectors, [documents, query vectors].

        Parameters
        ----------
        query
            float32 [query vectors, dim], of one query or several.
        centroid_scores
            Their products with the centroids, if there are any.
        documents
            Ascending numbers of documents.
        """
        best = np.zeros((len(documents), len(query)), np.float32)
        for start, stop in self._blocks(documents):
            part = documents[start:stop]
            lengths = self.offsets[part + 1] - self.offsets[part]
            ends = np.cumsum(lengths)
            if part[-1] - part[0] == len(part) - 1:
                tokens: Any = slice(self.offsets[part[0]], self.offsets[part[-1] + 1])
            else:
                tokens = np.arange(ends[-1]) + np.repeat(self.offsets[part] - (ends - lengths), lengths)
            stored = self.stored[tokens]
            if book is None or centroid_scores is None:
                similarity = stored.astype(np.float32) @ query.T
            else:
                similarity = book.similarities(query, centroid_scores, self.codes[tokens], stored)
            filled = lengths > 0
            if filled.any():
                rows = np.flatnonzero(filled) + start
                best[rows] = np.maximum.reduceat(similarity, (ends - lengths)[filled], axis=0)
        return best

    def save(self, folder: Path) -> None:
        """Write the files durably."""
        for part in PARTS:
            path = segment_file(folder, self.number, part)
            np.save(path, getattr(self, part))
            sync(path)

    @classmethod
    def load(cls, folder: Path, number: int) -> Self:
        """Map the files of a segment into memory; raise `StorageError` if they do not fit together."""
        arrays = {}
        for part in PARTS:
            path = segment_file(folder, number, part)
            try:
                arrays[part] = np.load(path, mmap_mode="r", allow_pickle=False)
            except FileNotFoundError:
                raise
            except Exception as error:  # numpy raises ValueError, EOFError and others for a damaged file
                raise StorageError(
                    f"{path} is damaged ({type(error).__name__}: {error}): build the index again"
                ) from error
        segment = cls(number, **arrays)
        tokens = int(segment.offsets[-1]) if len(segment.offsets) else -1
        if tokens != len(segment.stored) or len(segment.codes) not in (0, tokens):
            raise StorageError(
                f"{segment_file(folder, number, 'stored')} is damaged: it has {len(segment.stored)} vectors of {tokens}"
            )
        return segment

    def _blocks(self, documents: NDArray[np.int64]) -> Iterator[tuple[int, int]]:
        """Yield ranges of `documents` with at most `TOKENS_AT_ONCE` vectors, or of one document."""
        ends = np.cumsum(self.offsets[documents + 1] - self.offsets[documents])
        start, done = 0, 0
        while start < len(documents):
            stop = max(start + 1, int(np.searchsorted(ends, done + TOKENS_AT_ONCE, side="right")))
            yield start, stop
            start, done = stop, int(ends[stop - 1])


def segment_file(folder: Path, number: int, part: str) -> Path:
    """Return the path of one file of a segment."""
    return folder / f"segment-{number}.{part}.npy"


def _invert(
    offsets: NDArray[np.int64], codes: NDArray[np.integer], centroids: int
) -> tuple[NDArray[np.int64], NDArray[np.uint32]]:
    """Return the documents of each centroid as `starts` and `lists`."""
    documents = np.repeat(np.arange(len(offsets) - 1, dtype=np.int64), np.diff(offsets))
    pairs = np.unique(codes.astype(np.int64) * max(len(offsets) - 1, 1) + documents)
    owners, found = np.divmod(pairs, max(len(offsets) - 1, 1))
    starts = np.searchsorted(owners, np.arange(centroids + 1))
    return starts.astype(np.int64), found.astype(np.uint32)
