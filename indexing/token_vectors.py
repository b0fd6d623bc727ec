"""Token vectors: several vectors a text, one for each token that counts, for late interaction."""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray


class TokenVectors(NamedTuple):
    """Vectors of each text's tokens, concatenated.

    Parameters
    ----------
    offsets
        int64 [texts + 1]; text ``i`` owns ``vectors[offsets[i]:offsets[i + 1]]``.
    vectors
        float32 or float16 [tokens, dim], usually of unit length.
    """

    offsets: NDArray[np.int64]
    vectors: NDArray[Any]

    @classmethod
    def of(cls, texts: Sequence[NDArray[Any]], dimension: int = 0, dtype: Any = np.float32) -> Self:
        """Concatenate the vectors of each text, [tokens, dim]; `dimension` and `dtype` are those of no text."""
        offsets = np.zeros(len(texts) + 1, np.int64)
        np.cumsum([len(text) for text in texts], out=offsets[1:])
        return cls(offsets, np.concatenate(texts) if len(texts) else np.zeros((0, dimension), dtype))

    @classmethod
    def join(cls, blocks: Iterable[Self], dimension: int = 0, dtype: Any = np.float32) -> Self:
        """Concatenate blocks of texts in memory that grows in place, so that the vectors never exist twice."""
        vectors = np.empty((0, dimension), dtype)
        lengths = [np.zeros(1, np.int64)]
        for block in blocks:
            if not vectors.size:
                vectors = np.empty((0, block.dimension), block.vectors.dtype)
            filled = len(vectors)
            vectors.resize((filled + len(block.vectors), block.dimension), refcheck=False)
            vectors[filled:] = block.vectors
            lengths.append(block.lengths)
        return cls(np.cumsum(np.concatenate(lengths)), vectors)

    @property
    def texts(self) -> int:
        """Number of texts."""
        return len(self.offsets) - 1

    @property
    def dimension(self) -> int:
        """Number of dimensions of a vector."""
        return int(self.vectors.shape[1])

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Number of vectors of each text, int64 [texts]."""
        return np.diff(self.offsets)

    def text(self, position: int) -> NDArray[Any]:
        """Return the vectors of one text, [tokens, dim], without copying them."""
        return self.vectors[self.offsets[position] : self.offsets[position + 1]]

    def to_list(self) -> list[NDArray[Any]]:
        """Return the vectors of each text, [tokens, dim], without copying them."""
        return [self.text(position) for position in range(self.texts)]

    def slice(self, start: int, stop: int) -> Self:
        """Return consecutive texts, without copying their vectors."""
        offsets = self.offsets[start : stop + 1]
        return type(self)(offsets - offsets[0], self.vectors[offsets[0] : offsets[-1]])

    def take(self, positions: NDArray[np.integer]) -> Self:
        """Return a copy of the texts at these positions, in their order."""
        lengths = self.lengths[positions]
        offsets = np.zeros(len(lengths) + 1, np.int64)
        np.cumsum(lengths, out=offsets[1:])
        shift = np.repeat(self.offsets[:-1][positions] - offsets[:-1], lengths)
        return type(self)(offsets, self.vectors[np.arange(offsets[-1]) + shift])
