"""CollectionWrites: upserts and deletes of documents, applied in order by one thread, visible when they return."""

import logging
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from indexing.collection.manifest import read_manifest
from indexing.collection.writer import CollectionWriter
from indexing.documents import Document
from indexing.errors import RetrieveError, StorageError
from pipelines.models import Models
from pipelines.service.batcher import Batch
from pipelines.service.errors import unavailable

logger = logging.getLogger(__name__)


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
    """

    def __init__(self, path: str, models: Models, refresh: Any) -> None:
        self._path, self._models, self._refresh = path, models, refresh
        self._lock = threading.Lock()

    def apply(self, key: str, batch: Batch[Sequence[Document] | Sequence[str] | dict[str, Any]]) -> list[int]:
        """Apply writes of one kind in their order; return the number of documents that each changed.

        An upsert is a list of documents; a delete is a list of ids, or a filter.
        """
        with self._lock:
            counts = []
            try:
                with CollectionWriter.open(self._path, encoders=self._encoders()) as writer:
                    for item in batch.items:
                        if key == "upsert":
                            writer.upsert(list(item))  # type: ignore[arg-type]
                            counts.append(len(item))
                        elif isinstance(item, dict):
                            counts.append(writer.delete(filter=item))
                        else:
                            counts.append(writer.delete(list(item)))  # type: ignore[arg-type]
                    if any(counts):
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
