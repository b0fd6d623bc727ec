"""Send a collection's documents with the rows of all legs to an engine: from its shards and journal, never encoded."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from indexing.collection.digests import metadata_json
from indexing.collection.legs import codec
from indexing.collection.shards import Shards
from indexing.collection.snapshot import Snapshot
from indexing.deployment.layout import Layout
from indexing.documents import Document
from indexing.errors import StorageError
from indexing.filters import batch_field_values
from indexing.indexes.bm25_weights import Analysis, Bm25, document_weights
from indexing.indexes.qdrant.bm25 import WORDS
from indexing.indexes.qdrant.engine import PointBatch, QdrantEngine, point_id
from indexing.indexes.qdrant.text_index import Text, is_engine_analyzer
from indexing.indexes.registry import analysis_of
from indexing.progress import progress
from indexing.token_vectors import TokenVectors

DOCUMENT = "document"
"""Payload field of a document's title, text and metadata."""
SAVE_SECONDS = 5.0
"""Seconds between two records of the progress."""


class Sender:
    """Sends one state of a collection.

    Parameters
    ----------
    snapshot
        The state.
    layout
        What is deployed, and up to which write.
    """

    def __init__(self, snapshot: Snapshot, layout: Layout) -> None:
        self.store, self.layout = snapshot.documents, layout
        self._shards: dict[str, Shards] = {}
        self._texts: dict[str, tuple[Analysis, Bm25, float]] = {}
        self._engine_texts: list[str] = []
        for name, leg in layout.legs.items():
            rows = codec(snapshot.leg(name))
            if rows is not None:
                self._shards[name] = Shards(snapshot.path / "shards" / name, rows, self.store.pieces(name))
            elif is_engine_analyzer(leg.parameters["analyzer"]):
                self._engine_texts.append(name)
            else:
                parameters = leg.parameters
                analysis = analysis_of(parameters["analyzer"], snapshot.path / "legs" / snapshot.leg(name).folder)
                self._texts[name] = analysis, Bm25(parameters["k1"], parameters["b"]), parameters["mean_length"] or 1.0

    def send(self, engine: QdrantEngine, save: Callable[[Layout], None], *, show_progress: bool = False) -> Layout:
        """Send what was written and deleted since the layout's sequence; return the layout of the present state.

        Searches may run meanwhile, so it is sent in the order of the journal: what replaces a document comes first.
        Sending the same again changes nothing, so a job that was killed goes on from its last record.

        Raises
        ------
        StorageError
            When the journal does not reach back so far.
        """
        after, last = self.layout.sequence, self.store.sequence
        if not (after == 0 or self.store.purged <= after <= last):
            raise StorageError(
                f"what is deployed holds the writes up to {after}, the journal of {self.store.path.parent} those from "
                f"{self.store.purged} to {last}: deploy the whole again (leave out --follow)"
            )
        held = after
        saved = time.monotonic()
        with progress(desc="deploying", unit="doc", disable=not show_progress) as bar:
            for sequence, changes in self.store.changes(after):
                numbers = np.array([change.number for change in changes], np.int64)
                documents = [change.document for change in changes]
                engine.upsert(self.batch(documents, numbers))
                self._delete(engine, held, sequence)
                held = sequence
                if time.monotonic() - saved > SAVE_SECONDS:
                    engine.flush()
                    save(replace(self.layout, sequence=sequence))
                    saved = time.monotonic()
                bar.update(len(changes))
        self._delete(engine, held, last)
        engine.optimize()
        engine.flush()
        return replace(self.layout, sequence=last, documents=len(self.store))

    def _delete(self, engine: QdrantEngine, after: int, upto: int) -> None:
        for ids in self.store.deletes(after, upto):
            engine.delete([point_id(doc_id) for doc_id in ids])

    def batch(self, documents: Sequence[Document], numbers: np.ndarray) -> PointBatch:
        """Return documents, given with their numbers, as points."""
        rows: dict[str, Any] = {name: stored(shards.read(numbers)) for name, shards in self._shards.items()}
        more: list[dict[str, Any]] = [{DOCUMENT: contents(document)} for document in documents]
        for name, (analysis, bm25, mean) in self._texts.items():
            words = analysis.words([document.contents for document in documents])
            rows[name], lengths = document_weights(words, bm25, mean)
            for entry, length in zip(more, lengths.tolist(), strict=True):
                entry[WORDS] = {"length": length, "mean": mean}
        rows |= {name: [Text.of(document.contents) for document in documents] for name in self._engine_texts}
        values = batch_field_values(
            self.layout.fields, [one.doc_id for one in documents], [one.metadata for one in documents]
        )
        return PointBatch([document.doc_id for document in documents], rows, values, more)


def contents(document: Document) -> Mapping[str, str]:
    """Return what the payload keeps of a document."""
    return {"title": document.title, "text": document.text, "metadata": metadata_json(document)}


def stored(rows: Any) -> Any:
    """Return rows in the precision that Qdrant stores."""
    if isinstance(rows, TokenVectors):
        return rows._replace(vectors=rows.vectors.astype(np.float16).astype(np.float32))
    return rows.astype(np.float32)
