"""Facets: how many documents have each value of a declared field."""

import json
from collections.abc import Sequence
from typing import Any

from indexing.collection.store import DocumentStore
from indexing.errors import InputError
from indexing.filters import Fields, FilterLike, parse_filter, sqlite_where


def count_values(
    store: DocumentStore,
    fields: Fields,
    field: str,
    *,
    ids: Sequence[str] | None = None,
    filter: FilterLike | None = None,
    limit: int = 10,
) -> list[tuple[Any, int]]:
    """Return the most frequent values of a field, with the number of documents that have each.

    Parameters
    ----------
    store
        The documents; deleted ones do not count.
    fields
        The declared fields.
    field
        One of them. Each value of a list counts.
    ids
        Count these documents only.
    filter
        Count documents that match it only.
    limit
        Maximum number of values.

    Returns
    -------
    list of (value, count)
        By descending count, then by value; values as the documents have them.

    Raises
    ------
    InputError
        For a field that is not declared, or an invalid filter.
    """
    if field not in fields:
        raise InputError(f"the facet {field!r} is not a declared field: {', '.join(fields) or 'there are none'}")
    conditions: list[str] = ["deleted = 0"]
    values: list[Any] = []
    if filter is not None:
        condition, values = sqlite_where(parse_filter(filter, fields), fields, column="documents.metadata")
        conditions.append(condition)
    if ids is not None:
        conditions.append("doc_id IN (SELECT value FROM json_each(?))")
        values = [*values, json.dumps(list(ids))]
    # A list may hold a value twice, so a document counts once.
    rows = store._rows(
        "SELECT item.atom, item.type, COUNT(DISTINCT documents.number) AS documents_with "
        f"FROM documents, json_each(documents.metadata, '$.\"{field}\"') AS item "
        f"WHERE item.atom IS NOT NULL AND {' AND '.join(conditions)} "
        "GROUP BY item.atom, item.type ORDER BY documents_with DESC, item.atom LIMIT ?",
        [*values, limit],
    )
    return [(bool(value) if kind in ("true", "false") else value, count) for value, kind, count in rows]
