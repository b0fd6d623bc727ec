"""Facets of a search: counts of the values of declared fields, over its hits or over all that it matches."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from indexing.collection.facets import count_values
from indexing.collection.snapshot import Snapshot
from indexing.collection.store import DocumentStore
from indexing.errors import InputError
from indexing.inputs import names, shown, whole_number
from pipelines.search.reading import kept_ids

Over = Literal["hits", "match"]


@dataclass(frozen=True, slots=True)
class Facets:
    """Fields whose values are counted, and the documents over which.

    Parameters
    ----------
    fields
        Declared filter fields.
    over
        ``hits``: the first hits of the first stage, at most `hits`. ``match``: all documents that match the filter and
        the query's ``+`` and ``-``. A vector is near every document, so the words of a query restrict no match.
    hits
        Number of hits that are counted.
    limit
        Number of values for each field, the most frequent ones.
    """

    fields: tuple[str, ...]
    over: Over = "hits"
    hits: int = 100
    limit: int = 10

    def __post_init__(self) -> None:
        object.__setattr__(self, "fields", tuple(names(self.fields, "facets")))
        if self.over not in get_args(Over):
            raise InputError(f"facets are counted over 'hits' or 'match', not {shown(self.over)}")
        for name in ("hits", "limit"):
            object.__setattr__(self, name, whole_number(getattr(self, name), name))

    @classmethod
    def of(cls, given: Any) -> "Facets | None":
        """Return facets given as themselves or as a list of fields; None for none."""
        return given if given is None or isinstance(given, cls) else cls(given)

    def count(self, snapshot: Snapshot, query: str, hits: Sequence[str], filter: Any) -> Mapping[str, Any]:
        """Return the number of documents counted, and for each field its values with their counts.

        Parameters
        ----------
        snapshot
            The state of the collection.
        query
            As `Stages.read` returns it.
        hits
            The ids of the first stage's hits, best first.
        filter
            The filter of the search.
        """
        if not isinstance(snapshot.documents, DocumentStore):
            raise InputError(f"facets are not counted in a deployed collection ({snapshot.path}): leave them out")
        ids = hits[: self.hits] if self.over == "hits" else kept_ids(snapshot, query, filter)
        given = filter if ids is None else None
        counted = {
            field: [
                {"value": value, "count": count}
                for value, count in count_values(
                    snapshot.documents, snapshot.manifest.fields, field, ids=ids, filter=given, limit=self.limit
                )
            ]
            for field in self.fields
        }
        if ids is None:
            documents = len(snapshot.documents) if filter is None else len(snapshot.matching(filter))
        else:
            documents = len(ids)
        return {"over": self.over, "documents": documents, "fields": counted}
