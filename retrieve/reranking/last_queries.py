"""The token vectors of the last queries: a leg, and each batch of a budget, may encode the same queries before."""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from indexing.locks import CopiedLock

if TYPE_CHECKING:
    from indexing.token_vectors import TokenVectors

KEPT = 64
"""Largest number of single queries whose vectors are kept for a reranker."""


class LastQueries:
    """Encodes queries unless they are those of the last call or were kept; may be called from several threads.

    Parameters
    ----------
    encode
        Returns the token vectors of queries.
    """

    def __init__(self, encode: "Callable[[Sequence[str]], TokenVectors]") -> None:
        self._encode = encode
        self._last: tuple[tuple[str, ...], TokenVectors] | None = None
        self._kept: OrderedDict[str, TokenVectors] = OrderedDict()
        self._lock = CopiedLock()

    def vectors(self, queries: Sequence[str]) -> "TokenVectors":
        """Return the queries' token vectors."""
        key, last = tuple(queries), self._last
        if last is None or last[0] != key:
            self._last = last = key, self._found(queries) or self._encode(queries)
        return last[1]

    def keep(self, queries: Sequence[str], vectors: "TokenVectors") -> None:
        """Keep the vectors of queries that a leg has encoded, until as many others are kept."""
        with self._lock:
            for place, query in enumerate(queries):
                self._kept[query] = vectors.slice(place, place + 1)
                self._kept.move_to_end(query)
            while len(self._kept) > KEPT:
                self._kept.popitem(last=False)

    def _found(self, queries: Sequence[str]) -> "TokenVectors | None":
        """Return the vectors of queries that are all kept."""
        if not 0 < len(queries) <= KEPT:
            return None
        with self._lock:
            found = [self._kept.get(query) for query in queries]
        kept = [vectors for vectors in found if vectors is not None]
        return kept[0].join(kept) if len(kept) == len(queries) else None
