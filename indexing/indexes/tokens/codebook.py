"""Codebook: token vectors as the nearest of many centroids, and what remains in a few bits a dimension.

Santhanam et al., "PLAID: An Efficient Engine for Late Interaction Retrieval", 2022.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from indexing.disk import sync
from indexing.errors import StorageError
from indexing.token_vectors import TokenVectors

FULL = 16
CODES_ONLY = 0
"""Keep the number of the nearest centroid and no vector."""
STEPS = {2: 0.9957, 4: 0.3352, 8: 0.0308}
"""Step of the best uniform quantizer of a normal distribution, in standard deviations, by bits (Max, 1960)."""
SAMPLES_PER_CENTROID = 64
"""Vectors that k-means learns one centroid from."""
ITERATIONS = 6
SAMPLE_BYTES = 256 * 1024 * 1024
"""Largest sample that k-means learns from; beyond it a centroid has fewer samples."""
_ROWS_AT_ONCE = 32_768


@dataclass(frozen=True, slots=True, eq=False)
class Codebook:
    """Centroids, and the quantizer of the differences from them.

    Parameters
    ----------
    centroids
        float32 [centroids, dim].
    steps
        float32 [dim], step of the quantizer; not used with `FULL` bits.
    bits
        Bits a dimension: 2, 4 or 8; `FULL` keeps the vectors in float16, `CODES_ONLY` none.
    """

    centroids: NDArray[np.float32]
    steps: NDArray[np.float32]
    bits: int

    @classmethod
    def train(cls, sample: NDArray[np.float32], centroids: int, bits: int) -> Self:
        """Learn from a sample of vectors [n, dim], in the same way each time."""
        import faiss

        means = faiss.Kmeans(
            sample.shape[1],
            centroids,
            niter=ITERATIONS,
            seed=0,
            min_points_per_centroid=1,
            max_points_per_centroid=SAMPLES_PER_CENTROID,
        )
        means.train(np.ascontiguousarray(sample))
        book = cls(np.array(means.centroids, np.float32), np.ones(sample.shape[1], np.float32), bits)
        part = sample[:: max(1, len(sample) // 100_000)]
        deviation = (part - book.centroids[book.assign(part)]).std(axis=0)
        return cls(book.centroids, np.maximum(deviation * STEPS.get(bits, 1.0), 1e-6).astype(np.float32), bits)

    @classmethod
    def learn(cls, pieces: Iterable[TokenVectors], tokens: int, centroids: int, bits: int) -> Self:
        """Learn from a random sample of all vectors.

        Parameters
        ----------
        pieces, tokens
            All vectors, and their number.
        centroids
            Number of centroids; 0 for the power of two next to ``4 * sqrt(tokens)``.
        bits
            As of the codebook.
        """
        count = min(centroids or 1 << max(4, round(np.log2(4 * max(tokens, 1) ** 0.5))), max(1, tokens))
        rng = np.random.default_rng(0)
        sample = np.empty((0, 0), np.float32)
        for piece in pieces:
            size = min(SAMPLES_PER_CENTROID * count, SAMPLE_BYTES // (4 * piece.dimension))
            part = piece.vectors[rng.random(len(piece.vectors)) < size / max(tokens, 1)]
            # In memory that grows in place: the sample never exists twice.
            filled = len(sample)
            sample.resize((filled + len(part), piece.dimension), refcheck=False)
            sample[filled:] = part
        return cls.train(sample, count, bits)

    @property
    def code_type(self) -> "np.dtype[Any]":
        """Type of the number of a centroid."""
        return np.dtype(np.uint16 if len(self.centroids) <= 1 << 16 else np.uint32)

    def assign(self, vectors: NDArray[np.float32]) -> NDArray[np.integer]:
        """Return the number of the nearest centroid of each vector."""
        halves = (self.centroids**2).sum(axis=1) / 2
        codes = np.empty(len(vectors), self.code_type)
        size = max(1, min(_ROWS_AT_ONCE, (1 << 24) // len(self.centroids)))
        for start in range(0, len(vectors), size):
            products = vectors[start : start + size] @ self.centroids.T
            products -= halves
            codes[start : start + size] = products.argmax(axis=1)
        return codes

    def encode(self, vectors: NDArray[np.floating]) -> tuple[NDArray[np.integer], NDArray[Any]]:
        """Return the centroid of each vector, and the stored form of the vectors, [n, bytes] or float16 [n, dim]."""
        codes = np.empty(len(vectors), self.code_type)
        stored = np.empty((len(vectors), self.width), np.float16 if self.bits == FULL else np.uint8)
        for start in range(0, len(vectors), _ROWS_AT_ONCE):
            part = slice(start, start + _ROWS_AT_ONCE)
            rows = np.asarray(vectors[part], np.float32)
            codes[part] = self.assign(rows)
            if self.bits == FULL:
                stored[part] = rows
            elif self.bits != CODES_ONLY:
                stored[part] = self._pack(rows - self.centroids[codes[part]])
        return codes, stored

    def similarities(
        self,
        query: NDArray[np.float32],
        centroid_scores: NDArray[np.float32],
        codes: NDArray[np.integer],
        stored: NDArray[Any],
    ) -> NDArray[np.float32]:
        """Return the inner products of stored and query vectors, float32 [n, query vectors].

        Parameters
        ----------
        query
            float32 [query vectors, dim].
        centroid_scores
            float32 [centroids, query vectors], the inner products of both.
        codes, stored
            As `encode` returns them.
        """
        if self.bits == FULL:
            return np.asarray(stored.astype(np.float32) @ query.T, np.float32)
        # A vector is its centroid + steps * (level - middle): no vector is decoded, only its levels are widened.
        scaled = query * self.steps
        similarity = centroid_scores[codes]
        similarity -= scaled.sum(axis=1) * ((1 << self.bits) - 1) / 2
        for dimensions, levels in self._unpack(stored):
            similarity += levels.astype(np.float32)[:, : dimensions.stop - dimensions.start] @ scaled[:, dimensions].T
        return similarity

    def decode(self, codes: NDArray[np.integer], stored: NDArray[Any]) -> NDArray[np.float32]:
        """Return the vectors that scores are computed with, float32 [n, dim]."""
        if self.bits == FULL:
            return stored.astype(np.float32)
        vectors = self.centroids[codes]
        for dimensions, levels in self._unpack(stored):
            centred = levels[:, : dimensions.stop - dimensions.start] - np.float32(((1 << self.bits) - 1) / 2)
            vectors[:, dimensions] += centred * self.steps[dimensions]
        return vectors

    @property
    def width(self) -> int:
        """Number of columns of stored vectors."""
        dimension = self.centroids.shape[1]
        return dimension if self.bits == FULL else -(-dimension * self.bits // 8)

    def save(self, path: Path) -> None:
        """Write the codebook durably to a new file."""
        with path.open("wb") as file:
            np.savez(file, centroids=self.centroids, steps=self.steps, bits=np.array(self.bits))
        sync(path)

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a codebook; raise `StorageError` if the file is damaged."""
        try:
            with np.load(path, allow_pickle=False) as stored:
                return cls(stored["centroids"], stored["steps"], int(stored["bits"]))
        except FileNotFoundError:
            raise
        except Exception as error:  # zipfile, zlib and numpy each have their own
            raise StorageError(f"{path} is damaged ({type(error).__name__}: {error}): build the index again") from error

    def _pack(self, residuals: NDArray[np.float32]) -> NDArray[np.uint8]:
        top = (1 << self.bits) - 1
        levels = np.clip(np.floor(residuals / self.steps + (top + 1) / 2), 0, top).astype(np.uint8)
        packed = np.zeros((len(levels), self.width), np.uint8)
        for place, dimensions in enumerate(self._groups()):
            part = levels[:, dimensions]
            packed[:, : part.shape[1]] |= part << np.uint8(place * self.bits)
        return packed

    def _unpack(self, stored: NDArray[np.uint8]) -> Iterator[tuple[slice, NDArray[np.uint8]]]:
        """Yield ranges of dimensions with their levels."""
        mask = np.uint8((1 << self.bits) - 1)
        if self.bits == 8:
            yield slice(0, self.width), stored
            return
        for place, dimensions in enumerate(self._groups()):
            yield dimensions, (stored >> np.uint8(place * self.bits)) & mask

    def _groups(self) -> list[slice]:
        """Return the dimensions that share the same bits of a byte."""
        dimension, width = self.centroids.shape[1], self.width
        return [slice(start, min(start + width, dimension)) for start in range(0, dimension, width)]
