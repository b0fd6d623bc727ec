"""CollectionWrites: upserts and deletes of documents, applied in order by one thread, visible when they return."""

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from indexing.collection.manifest import read_manifest
from indexing.collection.writer import CollectionWriter
from indexing.corpora.chunked import CHUNK, is_chunk, siblings
from indexing.documents import Document
from indexing.errors import InputError, RetrieveError, StorageError
from pipelines.models import Models
from pipelines.search.judged_parents import with_chunks
from pipelines.search.tenants import with_tenant
from pipelines.service.batcher import Batch
from pipelines.service.callers import Caller
from pipelines.service.errors import ServiceError, unavailable

logger = logging.getLogger(__name__)


MOST_CHUNKS = 100_000
"""Number of chunks that a document may claim to have."""


@dataclass(frozen=True, slots=True)
class Write:
    """One write, and who asks for it.

    Parameters
    ----------
    items
        The documents of an upsert; the ids of a delete, or its filter.
    caller
        Who asks.
    """

    items: Any
    caller: Caller


class CollectionWrites:
    """Writes to one collection. The writer is open, and its lock held, only while there is something to write.

    Parameters
    ----------
    path
        The collection.
    models
        The loader of its encoders.
    refresh
        Moves searches to the new state.
    tenants
        Returns the field that names a document's tenants; None where nothing declares one.
    """

    def __init__(
        self, path: str, models: Models, refresh: Callable[[], None], tenants: Callable[[], str | None]
    ) -> None:
        self._path, self._models, self._refresh, self._tenants = path, models, refresh, tenants
        self._lock = threading.Lock()

    def apply(self, key: str, batch: Batch[Write]) -> list[int | ServiceError | InputError]:
        """Apply writes of one kind, ``upsert`` or ``delete``, in their order.

        Return for each the number of documents that it changed, or the error for which it was not made: the other
        writes of the batch are other callers'. The documents as they are at this moment decide what a caller may write.
        """
        with self._lock:
            counts: list[int | ServiceError | InputError] = []
            try:
                with CollectionWriter.open(self._path, encoders=self._encoders()) as writer:
                    field = self._tenants()
                    for item in batch.items:
                        try:
                            counts.append(_apply(writer, key, item, field))
                        except (ServiceError, InputError) as error:
                            counts.append(error)
                    if any(count for count in counts if isinstance(count, int)):
                        writer.commit(corpus={**writer.manifest.corpus, "fingerprint": None})
            except StorageError as error:
                logger.warning("cannot write to %s: %s", self._path, error)
                raise unavailable("the collection cannot be written at the moment", "try again", 2) from error
            self._show()
            return counts

    def _show(self) -> None:
        try:
            self._refresh()
        except RetrieveError as error:
            logger.warning("%s was written, but searches cannot move to the new state yet: %s", self._path, error)

    def _encoders(self) -> dict[str, Any]:
        legs = read_manifest(Path(self._path)).legs
        return {name: self._models.leg_encoder(name, leg) for name, leg in legs.items() if leg.encoder is not None}


def _apply(writer: CollectionWriter, kind: str, write: Write, field: str | None) -> int:
    """Make one write; return the number of documents that it changed.

    Raises
    ------
    ServiceError
        403 when a document is not the caller's; nothing of the write is stored.
    """
    items, caller = write.items, write.caller
    if kind == "upsert":
        if caller.bound:
            _check_own(writer, items, caller, field)
        writer.upsert(list(items))
        return len(items)
    if not isinstance(items, Mapping):
        items = with_chunks(writer.documents, list(items))
    if not caller.bound:
        return writer.delete(filter=items) if isinstance(items, Mapping) else writer.delete(list(items))
    return writer.delete(_own_ids(writer, items, caller, field))


def _check_own(writer: CollectionWriter, documents: Sequence[Document], caller: Caller, field: str | None) -> None:
    """Raise a `ServiceError` unless documents, and those that they replace, belong to the caller's tenants alone."""
    for document in documents:
        caller.refuse_foreign(document, field)
    # A chunk names the other chunks of its parent, which searches read by their ids.
    ids = list(dict.fromkeys(doc_id for document in documents for doc_id in (document.doc_id, *_siblings(document))))
    store = writer.documents
    for document in store.get(sorted(store.alive(ids))):
        if not caller.owns(document, field):
            raise ServiceError(403, f"the id {document.doc_id!r} is not free to this API key", "use another id")


def _siblings(document: Document) -> list[str]:
    if not is_chunk(document.metadata):
        return []
    count = document.metadata[CHUNK].get("of")
    if not isinstance(count, int) or not 0 < count <= MOST_CHUNKS:
        raise ServiceError(422, f"document {document.doc_id!r}: {CHUNK}.of must be its parent's number of chunks")
    return siblings(document.metadata)


def _own_ids(
    writer: CollectionWriter, named: Sequence[str] | Mapping[str, Any], caller: Caller, field: str | None
) -> list[str]:
    """Return the ids to delete: of named documents that the caller sees, or of those that a filter keeps.

    Raises
    ------
    ServiceError
        403 for a named document that is other tenants' too. One that the caller does not see is ignored as an unknown
        one is.
    """
    store = writer.documents
    if isinstance(named, Mapping):
        found = writer.matching(with_tenant(named, caller.tenants, field, writer))
        return [document.doc_id for document in store.get(found) if caller.owns(document, field)]
    seen = [one for one in store.get(sorted(store.alive(list(named)))) if caller.sees(one, field)]
    shared = next((one.doc_id for one in seen if not caller.owns(one, field)), None)
    if shared is not None:
        raise ServiceError(403, f"the document {shared!r} belongs to other tenants too", "change it with another key")
    return [one.doc_id for one in seen]
