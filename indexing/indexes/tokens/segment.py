"""Segment: consecutive documents of a token index in files that never change."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from indexing.disk import writing
from indexing.errors import StorageError
from indexing.indexes.array_files import array_file, load_array, save_array, saving_blocks
from indexing.indexes.tokens.codebook import Codebook
from indexing.max_sim import token_blocks
from indexing.plurals import counted
from indexing.token_vectors import TokenVectors

PARTS = ("offsets", "stored", "codes", "starts", "lists")
TOKENS_AT_ONCE = 4096
"""Vectors that are compared with a query at a time: 2 MB in float32 for 128 dimensions, which a cache holds."""


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
    def of(cls, number: int, vectors: TokenVectors, book: Codebook | None, *, keep: bool = True) -> Self:
        """Encode documents; without a codebook, `keep` their vectors in float16 or only the number of them."""
        if book is None:
            none = np.zeros(0, np.int64)
            kept = vectors.vectors if keep else vectors.vectors[:, :0]
            stored = np.ascontiguousarray(kept, np.float16)
            return cls(number, vectors.offsets, stored, none.astype(np.uint16), none, none.astype(np.uint32))
        codes, stored = book.encode(vectors.vectors)
        return cls(number, vectors.offsets, stored, codes, *_invert(vectors.offsets, codes, len(book.centroids)))

    @classmethod
    def join(
        cls,
        folder: Path,
        number: int,
        segments: Sequence["Segment"],
        alive: Sequence[NDArray[np.bool_]] | None = None,
    ) -> Self:
        """Write some documents of segments to one new segment, without encoding them again or holding their vectors.

        Parameters
        ----------
        folder, number
            Place and number of the new segment.
        segments
            At least one.
        alive
            bool [documents] for each segment, which to keep; None for all.
        """
        kept = [np.arange(segment.documents) for segment in segments]
        if alive is not None:
            kept = [np.flatnonzero(mask) for mask in alive]
        lengths = [np.diff(segment.offsets)[one] for segment, one in zip(segments, kept, strict=True)]
        offsets = np.concatenate(([0], np.cumsum(np.concatenate(lengths)))).astype(np.int64)
        starts, lists = _joined_lists(segments, kept)
        coded = any(len(segment.codes) for segment in segments)
        first = segments[0]
        with writing(f"the segment {number} of {folder}"):
            arrays: dict[str, NDArray[Any]] = {"offsets": offsets, "starts": starts, "lists": lists}
            for part, array in arrays.items():
                save_array(folder, number, part, array)
            shape = int(offsets[-1]), first.stored.shape[1]
            with (
                saving_blocks(folder, number, "stored", first.stored.dtype, shape) as add_stored,
                saving_blocks(folder, number, "codes", first.codes.dtype, shape[: int(coded)] or (0,)) as add_codes,
            ):
                for segment, documents in zip(segments, kept, strict=True):
                    for start, stop in segment._blocks(documents):
                        tokens, _ = segment._tokens(documents[start:stop])
                        add_stored(segment.stored[tokens])
                        if coded:
                            add_codes(segment.codes[tokens])
        return cls.load(folder, number)

    @property
    def documents(self) -> int:
        """Number of documents, deleted ones included."""
        return len(self.offsets) - 1

    def one(self, document: int, book: Codebook | None) -> NDArray[np.float32]:
        """Return a document's vectors that scores are computed with, float32 [tokens, dim]."""
        tokens = slice(self.offsets[document], self.offsets[document + 1])
        if book is None:
            return np.asarray(self.stored[tokens], np.float32)
        return book.decode(self.codes[tokens], self.stored[tokens])

    def pieces(self, size: int) -> Iterator[TokenVectors]:
        """Yield all documents in pieces of about `size` bytes of vectors, as they are before centroids are learned."""
        width = max(1, self.stored.shape[1] * self.stored.itemsize)
        for start, stop in self._blocks(np.arange(self.documents), max(1, size // width)):
            tokens = self.stored[self.offsets[start] : self.offsets[stop]]
            yield TokenVectors(self.offsets[start : stop + 1] - self.offsets[start], tokens)

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
            tokens, _ = self._tokens(part)
            stored = self.stored[tokens]
            if book is None or centroid_scores is None:
                similarity = stored.astype(np.float32) @ query.T
            else:
                similarity = book.similarities(query, centroid_scores, self.codes[tokens], stored)
            filled = lengths > 0
            if filled.any():
                rows = np.flatnonzero(filled) + start
                best[rows] = np.maximum.reduceat(similarity, (np.cumsum(lengths) - lengths)[filled], axis=0)
        return best

    def save(self, folder: Path) -> None:
        """Write the files durably."""
        with writing(f"the segment {self.number} of {folder}"):
            for part in PARTS:
                save_array(folder, self.number, part, getattr(self, part))

    @classmethod
    def load(cls, folder: Path, number: int) -> Self:
        """Map the files of a segment into memory; raise `StorageError` if they do not fit together."""
        arrays = {part: load_array(array_file(folder, number, part)) for part in PARTS}
        segment = cls(number, **arrays)
        tokens = int(segment.offsets[-1]) if len(segment.offsets) else -1
        if tokens != len(segment.stored) or len(segment.codes) not in (0, tokens):
            raise StorageError(
                f"{array_file(folder, number, 'stored')} is damaged: it has "
                f"{counted(len(segment.stored), 'vector')} of {tokens}"
            )
        return segment

    def _tokens(self, documents: NDArray[np.int64]) -> tuple[Any, int]:
        """Return the places of the vectors of ascending documents, a slice if they are adjacent, and their number."""
        lengths = self.offsets[documents + 1] - self.offsets[documents]
        ends = np.cumsum(lengths)
        if documents[-1] - documents[0] == len(documents) - 1:
            return slice(self.offsets[documents[0]], self.offsets[documents[-1] + 1]), int(ends[-1])
        return np.arange(ends[-1]) + np.repeat(self.offsets[documents] - (ends - lengths), lengths), int(ends[-1])

    def _blocks(self, documents: NDArray[np.int64], tokens: int = TOKENS_AT_ONCE) -> Iterator[tuple[int, int]]:
        """Yield ranges of `documents` with at most so many vectors, or of one document."""
        lengths = self.offsets[documents + 1] - self.offsets[documents]
        return token_blocks(np.concatenate(([0], np.cumsum(lengths))), tokens)


def _invert(
    offsets: NDArray[np.int64], codes: NDArray[np.integer], centroids: int
) -> tuple[NDArray[np.int64], NDArray[np.uint32]]:
    """Return the documents of each centroid as `starts` and `lists`."""
    documents = np.repeat(np.arange(len(offsets) - 1, dtype=np.int64), np.diff(offsets))
    pairs = np.unique(codes.astype(np.int64) * max(len(offsets) - 1, 1) + documents)
    owners, found = np.divmod(pairs, max(len(offsets) - 1, 1))
    starts = np.searchsorted(owners, np.arange(centroids + 1))
    return starts.astype(np.int64), found.astype(np.uint32)


def _joined_lists(
    segments: Sequence[Segment], kept: Sequence[NDArray[np.int64]]
) -> tuple[NDArray[np.int64], NDArray[np.uint32]]:
    """Return `starts` and `lists` of the documents `kept` of segments, numbered consecutively."""
    parts, counts, first = [], [], 0
    for segment, documents in zip(segments, kept, strict=True):
        numbers = np.full(segment.documents, -1, np.int64)
        numbers[documents] = np.arange(first, first + len(documents))
        found = numbers[segment.lists]
        living = found >= 0
        totals = np.concatenate(([0], np.cumsum(living)))
        counts.append(np.diff(totals[segment.starts]))
        parts.append(found[living].astype(np.uint32))
        first += len(documents)
    if not counts or not len(counts[0]):
        return segments[0].starts[:0], segments[0].lists[:0]
    starts = np.concatenate(([0], np.cumsum(np.sum(counts, axis=0)))).astype(np.int64)
    lists = np.empty(starts[-1], np.uint32)
    filled = starts[:-1].copy()
    for part, count in zip(parts, counts, strict=True):
        lists[np.arange(len(part)) + np.repeat(filled - (np.cumsum(count) - count), count)] = part
        filled += count
    return starts, lists
