"""The token vectors of the last queries: a budget scores the pairs of the same queries in several batches."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from indexing.token_vectors import TokenVectors


class LastQueries:
    """Encodes queries unless they are those of the last call; may be called from several threads.

    Parameters
    ----------
    encode
        Returns the token vectors of queries.
    """

    def __init__(self, encode: "Callable[[Sequence[str]], TokenVectors]") -> None:
        self._encode = encode
        self._last: tuple[tuple[str, ...], TokenVectors] | None = None

    def vectors(self, queries: Sequence[str]) -> "TokenVectors":
        """Return the queries' token vectors."""
        key, last = tuple(queries), self._last
        if last is None or last[0] != key:
            self._last = last = key, self._encode(queries)
        return last[1]
