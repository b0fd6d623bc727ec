"""From a corpus into a collection: what changed is encoded, while what was encoded before is indexed."""

import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

from tqdm import tqdm

from indexing.collection.legs import DocumentEncoder
from indexing.collection.store import digest
from indexing.collection.writer import CollectionWriter
from indexing.documents import Document
from indexing.errors import InputError
from indexing.seen_ids import SeenIds

OnDuplicate = Literal["error", "first", "last"]

BATCH_DOCUMENTS = 512
BATCH_CHARACTERS = 16 * 1024 * 1024
"""A batch ends at whichever comes first, so that memory is bounded however long the documents are."""
WAITING_BATCHES = 2
"""Encoded batches that may wait for the index."""


@dataclass
class Stopwatch:
    """Adds up the seconds of named stages."""

    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        """Count the time of this block to `stage`."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[stage] = self.seconds.get(stage, 0.0) + time.perf_counter() - start


@dataclass
class Ingested:
    """What a pass over a corpus met: documents read, written, left as they are, and repeated ids."""

    documents: int = 0
    written: int = 0
    unchanged: int = 0
    duplicates: int = 0
    removed: int = 0
    seen: SeenIds = field(default_factory=SeenIds)


def ingest(
    collection: CollectionWriter,
    corpus: Iterable[Document],
    encoders: Mapping[str, DocumentEncoder],
    *,
    clock: Stopwatch,
    on_duplicate: OnDuplicate = "error",
    total: int | None = None,
    show_progress: bool = True,
) -> Ingested:
    """Write the documents of a corpus that are not in the collection as they stand there.

    This thread reads and encodes, a second one stores and indexes; between them wait two batches at most.

    Parameters
    ----------
    collection
        Open for writing.
    corpus
        Documents, read once.
    encoders
        What encodes them, for each leg that needs it.
    clock
        Takes the seconds of each stage.
    on_duplicate
        What to do with an id that the corpus has already shown: an ``"error"``, or take the ``"first"`` document or
        the ``"last"``.
    total
        How many documents will come, for the progress bar.
    show_progress
        A progress bar on stderr.

    Raises
    ------
    InputError
        For an id that stands twice. What was read before is written.
    """
    if on_duplicate not in ("error", "first", "last"):
        raise InputError(f"on_duplicate must be 'error', 'first' or 'last', not {on_duplicate!r}")
    done = Ingested()
    waiting: deque[Future[None]] = deque()
    with (
        ThreadPoolExecutor(1, "indexing") as indexing,
        tqdm(total=total, desc="indexing", unit="doc", disable=not show_progress) as bar,
    ):
        # What was encoded when an error or Ctrl-C comes is stored all the same: the executor ends its work on leaving.
        for batch in _changed(collection, corpus, done, on_duplicate, clock, bar):
            rows = {}
            for name, encoder in encoders.items():
                with clock(f"{name} encoding"):
                    rows[name] = encoder.encode_document([document.contents for document in batch])
            with clock("waiting for the indexes"):
                while len(waiting) >= WAITING_BATCHES:
                    waiting.popleft().result()
            waiting.append(indexing.submit(collection.upsert, batch, rows))
            done.written += len(batch)
        with clock("waiting for the indexes"):
            while waiting:
                waiting.popleft().result()
    return done


def prune(collection: CollectionWriter, seen: SeenIds) -> int:
    """Delete from the collection what a corpus did not show; returns how many documents."""
    removed, gone = 0, []
    for doc_id in collection.documents.ids():
        if doc_id not in seen:
            gone.append(doc_id)
        if len(gone) == BATCH_DOCUMENTS:
            removed += collection.delete(gone)
            gone = []
    return removed + (collection.delete(gone) if gone else 0)


def _changed(
    collection: CollectionWriter,
    corpus: Iterable[Document],
    done: Ingested,
    on_duplicate: OnDuplicate,
    clock: Stopwatch,
    bar: "tqdm[Any]",
) -> Iterator[list[Document]]:
    """Give the documents to write, in batches in which no id stands twice."""
    resumed = len(collection) > 0
    changed: dict[str, Document] = {}
    for batch, repeated in _batches(corpus, done, on_duplicate):
        there: Mapping[str, bytes] = {}
        if resumed:
            with clock("comparing"):
                there = collection.documents.digests([document.doc_id for document in batch])
        for document in batch:
            doc_id = document.doc_id
            # One that was there before in this corpus may still be on its way into the store.
            if doc_id in repeated or (doc_id not in there) or there[doc_id] != digest(document):
                changed.pop(doc_id, None)
                changed[doc_id] = document
            else:
                done.unchanged += 1
        bar.update(len(batch))
        if len(changed) >= BATCH_DOCUMENTS or _characters(changed.values()) >= BATCH_CHARACTERS:
            yield list(changed.values())
            changed = {}
    if changed:
        yield list(changed.values())


def _batches(
    corpus: Iterable[Document], done: Ingested, on_duplicate: OnDuplicate
) -> Iterator[tuple[Sequence[Document], set[str]]]:
    """Give documents in batches, and which ids of each the corpus has shown before."""
    batch: list[Document] = []
    repeated: set[str] = set()
    characters = 0
    for document in corpus:
        if not done.seen.add(document.doc_id):
            if on_duplicate == "error":
                raise InputError(
                    f"the id {document.doc_id!r} stands twice in the corpus: which document counts? "
                    "on_duplicate (--on-duplicate) says"
                )
            done.duplicates += 1
            if on_duplicate == "first":
                continue
            repeated.add(document.doc_id)
        else:
            done.documents += 1
        batch.append(document)
        characters += len(document.title) + len(document.text)
        if len(batch) == BATCH_DOCUMENTS or characters >= BATCH_CHARACTERS:
            yield batch, repeated
            batch, repeated, characters = [], set(), 0
    if batch:
        yield batch, repeated


def _characters(documents: Iterable[Document]) -> int:
    return sum(len(document.title) + len(document.text) for document in documents)
