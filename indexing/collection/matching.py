"""Questions about the documents that match a filter, answered without reading them."""

import json
from collections.abc import Sequence

from indexing.collection.store import DocumentStore
from indexing.filters import Fields, Filter, sqlite_where


def those_matching(store: DocumentStore, ids: Sequence[str], filter: Filter, fields: Fields) -> set[str]:
    """Return those of these ids whose documents match a filter, of deleted ones until `DocumentStore.purge`."""
    condition, values = sqlite_where(filter, fields)
    # The order of a CROSS JOIN is fixed: each id is looked up, in place of all documents that match.
    rows = store._rows(
        "SELECT doc_id FROM json_each(?) AS given CROSS JOIN documents ON doc_id = given.value "
        f"WHERE given.type = 'text' AND {condition}",
        [json.dumps(list(dict.fromkeys(ids))), *values],
    )
    return {doc_id for (doc_id,) in rows}


def count_matching(store: DocumentStore, filter: Filter, fields: Fields) -> int:
    """Return the number of documents that match a filter, without deleted ones."""
    condition, values = sqlite_where(filter, fields)
    return int(store._rows(f"SELECT COUNT(*) FROM documents WHERE deleted = 0 AND {condition}", values)[0][0])
