"""Hold every leg to the requirements and exclusions of a query in the syntax `simple`.

An index of vectors or weights knows no words. So the collection's text index decides which documents a query keeps, and
the other legs are searched among those: few of them are scored one by one, and of many a leg's hits are checked, deeper
until enough are left. For indexes that search exactly, the hits are those that remain of an unlimited ranking.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from indexing.errors import InputError
from indexing.hits import Hits, encode_strings
from indexing.query_syntax import SyntaxQuery
from indexing.token_vectors import TokenVectors

if TYPE_CHECKING:
    from indexing.indexes.base import Index

FEW = 1000
"""Number of kept documents up to which a leg scores all of them."""
DEEPER = 4
"""Factor by which a leg is searched deeper while too few of its hits are kept."""


class Searching(Protocol):
    """The part of a `Retriever` that the functions here call."""

    matches_terms: bool

    def find(self, encoded: Any, k: int, filter: Any = None) -> Hits: ...  # noqa: D102

    def score(self, encoded: Any, doc_ids: Sequence[Sequence[str]]) -> NDArray[np.floating]: ...  # noqa: D102


class Allowed:
    """The documents that a query's requirements and exclusions keep.

    Parameters
    ----------
    index
        The text index that decides.
    query
        A query with a constraint.
    filter
        The filter of the search, which the documents match too.
    """

    def __init__(self, index: "Index", query: SyntaxQuery, filter: Any = None) -> None:
        self._index, self._query = index, query
        self.few = index.constrained_ids(query, FEW, filter)
        """Their ids, if they are at most `FEW`."""

    def keeps(self, doc_ids: Sequence[str]) -> NDArray[np.bool_]:
        """Return which of these documents are kept."""
        if self.few is not None:
            few = set(self.few)
            return np.fromiter((doc_id in few for doc_id in doc_ids), np.bool_, len(doc_ids))
        return self._index.meets_constraint(self._query, doc_ids)


def allowed_of(query: str) -> Allowed | None:
    """Return the documents that a query keeps; None for a query without requirements and exclusions."""
    return query.allowed if isinstance(query, SyntaxQuery) else None


def find_allowed(leg: Searching, queries: Sequence[str], encoded: Any, k: int, filter: Any) -> Hits:
    """Return the `k` best hits of each query among the documents that it keeps.

    Parameters
    ----------
    leg
        The retriever.
    queries, encoded
        The queries, and the same as `Retriever.encode` returned them.
    filter
        As for `Retriever.search`.
    """
    if all(allowed_of(query) is None for query in queries):
        return leg.find(encoded, k, filter)
    parts = []
    for row, query in enumerate(queries):
        one, allowed = _row(encoded, row), allowed_of(query)
        parts.append(leg.find(one, k, filter) if allowed is None else _of_one(leg, one, k, filter, allowed))
    return Hits.concatenate(parts)


def _of_one(leg: Searching, encoded: Any, k: int, filter: Any, allowed: Allowed) -> Hits:
    if allowed.few is not None:
        if not allowed.few:
            return Hits.empty(1)
        try:
            return _scored(leg, encoded, k, allowed.few)
        except InputError:
            # This leg's index may lack a document that the text index has, or cannot score.
            pass
    depth = k
    while True:
        depth *= DEEPER
        found = leg.find(encoded, depth, filter)
        kept = found.where(allowed.keeps(found.doc_ids))
        if len(kept.codes) >= k or len(found.codes) < depth:
            return kept.top(k)


def _scored(leg: Searching, encoded: Any, k: int, ids: Sequence[str]) -> Hits:
    scores = np.asarray(leg.score(encoded, [ids]))
    table, codes = encode_strings(list(ids))
    if leg.matches_terms:
        # A document that shares no term with the query is no hit.
        codes, scores = codes[scores > 0], scores[scores > 0]
    return Hits.ranked(1, np.zeros(len(codes), np.int64), codes, scores, table, k)


def _row(encoded: Any, row: int) -> Any:
    """Return one query of an encoded batch, as a batch."""
    return encoded.slice(row, row + 1) if isinstance(encoded, TokenVectors) else encoded[row : row + 1]
