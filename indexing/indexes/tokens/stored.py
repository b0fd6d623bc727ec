"""StoredVectors: the vectors of an index that keeps none, read from the rows that its collection stores."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from indexing.errors import StorageError
from indexing.indexes.base import StoredRows
from indexing.indexes.id_table import IdTable
from indexing.max_sim import token_blocks, token_maxima
from indexing.token_vectors import TokenVectors


class StoredVectors:
    """Vectors of documents by their position in an index.

    Parameters
    ----------
    rows
        Reads the rows of the collection.
    ids
        The ids of the positions. A deleted document has no vectors here.
    """

    def __init__(self, rows: StoredRows, ids: IdTable) -> None:
        self._rows, self._ids = rows, ids
        self._numbers = np.zeros(0, np.int64)

    def read(self, positions: NDArray[np.int64]) -> TokenVectors:
        """Return the vectors of living documents in the precision in which they are stored."""
        vectors: TokenVectors = self._rows.read(self._numbers_of(positions))
        return vectors

    def maxima(
        self, query: NDArray[np.float32], positions: NDArray[np.int64], lengths: NDArray[np.int64], tokens: int
    ) -> NDArray[np.float32]:
        """Return each query vector's largest inner product with a document's vectors, [positions, query vectors].

        Parameters
        ----------
        query
            float32 [query vectors, dim].
        positions, lengths
            Documents, and the number of vectors of each.
        tokens
            Vectors to compare at a time.
        """
        best = np.zeros((len(positions), len(query)), np.float32)
        for start, stop in token_blocks(np.concatenate(([0], np.cumsum(lengths))), tokens):
            best[start:stop] = token_maxima(query, self.read(positions[start:stop]))
        return best

    def pieces(self, lengths: NDArray[np.int64], tokens: int) -> Iterator[TokenVectors]:
        """Yield the vectors of all positions, about this many at a time."""
        for start, stop in token_blocks(np.concatenate(([0], np.cumsum(lengths))), tokens):
            yield self.read(np.arange(start, stop))

    def _numbers_of(self, positions: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the number of each document's row; a number is looked up once."""
        strings = self._ids.strings
        known = self._numbers
        if len(known) < len(strings):
            known = np.concatenate([known, np.full(len(strings) - len(known), -1)])
        unknown = positions[known[positions] < 0]
        if len(unknown):
            known[unknown] = found = self._rows.numbers(strings[unknown].tolist())
            if (found < 0).any():
                missing = strings[unknown[int(np.argmin(found))]]
                raise StorageError(f"the collection stores no token vectors of {missing!r}: run `retrieve verify`")
        self._numbers = known
        return known[positions]
