"""Read queries in the syntax that a search names, and find the documents that their operators keep."""

from collections.abc import Sequence
from typing import Any

from indexing.collection.snapshot import Snapshot
from indexing.errors import InputError
from indexing.indexes.base import Index
from indexing.query_syntax import QuerySyntax, Synonyms, SyntaxQuery, parse_query
from retrieve.restriction import FEW, Allowed


def read_queries(
    queries: Sequence[str],
    syntax: QuerySyntax,
    snapshot: Snapshot,
    filter: Any = None,
    synonyms: Synonyms | None = None,
) -> list[str]:
    """Return queries as the legs take them.

    Parameters
    ----------
    queries
        The texts that users wrote.
    syntax
        ``plain`` leaves them as they are.
    snapshot
        The state of the collection whose text index decides which documents requirements and exclusions keep.
    filter
        The filter of the search.
    synonyms
        Words that mean the same, for the text index.

    Raises
    ------
    InputError
        For a query that has nothing to search for, or is too large, and for requirements or exclusions in a collection
        without a leg of words.
    """
    if syntax == "plain":
        return list(queries) if synonyms is None else [synonyms.expand(query) for query in queries]
    names = ["the query"] if len(queries) == 1 else [f"query number {at} (from 0)" for at in range(len(queries))]
    read = [parse_query(query, name) for query, name in zip(queries, names, strict=True)]
    if synonyms is not None:
        read = [synonyms.expand(query) for query in read]
    for query in read:
        if isinstance(query, SyntaxQuery) and query.constraint is not None:
            query.allowed = Allowed(_text_index(snapshot, query), query, filter)
    return read


def kept_ids(snapshot: Snapshot, query: str, filter: Any = None) -> list[str] | None:
    """Return the ids of all documents that a query's requirements and exclusions keep; None if it has none."""
    if not isinstance(query, SyntaxQuery) or query.allowed is None:
        return None
    if query.allowed.few is not None:
        return list(query.allowed.few)
    index = _text_index(snapshot, query)
    return index.constrained_ids(query, len(index), filter)


def reading_notes(query: str) -> list[str]:
    """Return how a query with operators was read, for explanations."""
    if not isinstance(query, SyntaxQuery):
        return []
    notes = [f"the query was read as: {query.reading}; encoders and reranker read: {query}"]
    if query.allowed is not None:
        few = query.allowed.few
        kept = f"more than {FEW:,}" if few is None else f"{len(few):,}"
        notes.append(f"documents that + and - keep, on every leg: {kept}")
    return notes


def _text_index(snapshot: Snapshot, query: SyntaxQuery) -> Index:
    name = snapshot.manifest.first_leg("text")
    if name is None:
        raise InputError(
            f"{query.reading!r} requires or excludes words, and this collection has no BM25 leg to look them up in: "
            "leave out + and -, or index with a BM25 leg"
        )
    return snapshot.index(name)
