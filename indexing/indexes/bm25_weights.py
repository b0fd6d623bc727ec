"""Lucene's BM25 as a product of weights: those of a document, fixed when it is stored, and those of a query.

``score = sum over the query's words of count * idf * tf / (tf + k1 * (1 - b + b * length / mean_length))``. Lucene
keeps a length in one byte, so the length is rounded down as `byte_length` does. The
idf is ``ln(1 + (N - df + 0.5) / (df + 0.5))``, which Qdrant's modifier multiplies with at the search.

A word stands in the vectors under a 31-bit number that depends on nothing but the word, so that a searcher needs no
vocabulary. Of a million words some 233 pairs share their number; such words count as one.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from indexing.errors import InputError

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

DEFAULT_ANALYZER = "anserini-default-english"
COLUMNS = 2**31 - 1
"""Number of words' numbers: as many as an index of 32 bits with a sign can tell apart."""
_EXACT_LENGTHS = 40
"""Lucene stores lengths below this exactly: SmallFloat's free values (24) and the numbers that four bits hold."""
_FREE = 24


class Analysis(Protocol):
    """Texts to words as an index stores them."""

    def words(self, texts: Sequence[str]) -> list[list[str]]:
        """Return the words of each text, in their order."""
        ...


@dataclass(frozen=True, slots=True)
class Bm25:
    """Parameters of BM25; their defaults are Anserini's."""

    k1: float = 0.9
    b: float = 0.4

    def __post_init__(self) -> None:
        if not (isinstance(self.k1, int | float) and 0 <= self.k1 < float("inf")):
            raise InputError(f"k1 must be a number of 0 or more, not {self.k1!r}")
        if not (isinstance(self.b, int | float) and 0 <= self.b <= 1):
            raise InputError(f"b must be a number from 0 to 1, not {self.b!r}")

    def saturation(self, lengths: Any, mean_length: float) -> Any:
        """Return ``k1 * (1 - b + b * length / mean_length)`` for lengths that `byte_length` rounded."""
        return self.k1 * (1 - self.b + self.b * np.asarray(lengths, np.float64) / max(mean_length, 1e-9))

    def weights(self, counts: Any, lengths: Any, mean_length: float) -> NDArray[np.float32]:
        """Return the weights of words that occur `counts` times in documents of these lengths."""
        counts = np.asarray(counts, np.float64)
        return np.asarray(counts / (counts + self.saturation(byte_length(lengths), mean_length)), np.float32)

    def moved(self, weights: Any, length: int, mean_length: float, new_mean: float) -> NDArray[np.float32]:
        """Return a document's weights for another mean length, from those for `mean_length`."""
        old = self.saturation(byte_length(length), mean_length)
        given = np.asarray(weights, np.float64)
        if not self.k1 or not self.b:
            return np.asarray(given, np.float32)
        counts = np.maximum(1, np.rint(old * given / np.maximum(1 - given, 1e-9)))
        return self.weights(counts, np.full(len(counts), length), new_mean)


def byte_length(lengths: Any) -> NDArray[np.int64]:
    """Return lengths as Lucene's norms keep them: exact below 40, then rounded down to four significant bits."""
    whole = np.asarray(lengths, np.int64)
    rest = np.maximum(whole - _FREE, 1)
    shift = np.maximum(np.floor(np.log2(rest)).astype(np.int64) - 3, 0)
    return np.where(whole < _EXACT_LENGTHS, whole, _FREE + ((rest >> shift) << shift))


@lru_cache(maxsize=1_000_000)
def column(word: str) -> int:
    """Return the number of a word in the vectors; a change would make every stored index unreadable."""
    return int.from_bytes(blake2b(word.encode(errors="surrogatepass"), digest_size=8).digest(), "little") % COLUMNS


def rows_of_counts(words: Sequence[Sequence[str]]) -> "csr_matrix":
    """Return how often each word occurs in each text: CSR float32 [texts, `COLUMNS`], columns ascending."""
    from scipy.sparse import csr_matrix

    rows: list[Mapping[int, int]] = [Counter(map(column, text)) for text in words]
    indptr = np.concatenate(([0], np.cumsum([len(row) for row in rows], dtype=np.int64)))
    columns = np.fromiter((one for row in rows for one in row), np.int64, int(indptr[-1]))
    counts = np.fromiter((one for row in rows for one in row.values()), np.float32, int(indptr[-1]))
    order = np.lexsort((columns, np.repeat(np.arange(len(rows)), np.diff(indptr))))
    return csr_matrix((counts[order], columns[order], indptr), shape=(len(rows), COLUMNS))


def document_weights(
    words: Sequence[Sequence[str]], bm25: Bm25, mean_length: float
) -> tuple["csr_matrix", NDArray[np.int64]]:
    """Return the weights of documents, CSR [documents, `COLUMNS`], and their lengths in words."""
    matrix = rows_of_counts(words)
    lengths = np.fromiter(map(len, words), np.int64, len(words))
    of_entries = np.repeat(lengths, np.diff(matrix.indptr))
    matrix.data = bm25.weights(matrix.data, of_entries, mean_length)
    return matrix, lengths
