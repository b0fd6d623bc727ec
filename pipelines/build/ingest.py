"""Ingestion of a corpus: encodes new and changed documents while the batches before them are indexed."""

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from indexing.collection.digests import digest
from indexing.collection.known_rows import KnownRows
from indexing.collection.legs import DocumentEncoder
from indexing.collection.writer import CollectionWriter
from indexing.corpora.chunked import is_chunk
from indexing.corpora.corpus import Corpus
from indexing.documents import Document
from indexing.errors import EndpointError, InputError, ModelError
from indexing.progress import Progress, progress
from indexing.seen_ids import SeenIds
from indexing.token_vectors import TokenVectors

OnDuplicate = Literal["error", "first", "last"]

BATCH_DOCUMENTS = 512
BATCH_CHARACTERS = 16 * 1024 * 1024
"""A batch ends at whichever limit comes first, so that memory is bounded for documents of any length."""
WAITING_BATCHES = 2
"""Maximum number of encoded batches that wait for the index."""


@dataclass
class Stopwatch:
    """Sums of the seconds that named stages take."""

    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        """Add the time of this block to `stage`."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[stage] = self.seconds.get(stage, 0.0) + time.perf_counter() - start


@dataclass
class Ingested:
    """Counts of a pass over a corpus.

    Parameters
    ----------
    documents, duplicates
        Documents read, and those with the id of an earlier one.
    written, not_encoded
        Documents written, and those of them whose text was encoded before.
    new, changed, unchanged, removed
        Documents that the collection lacked, held in another version, held already, and held without need.
    """

    documents: int = 0
    written: int = 0
    not_encoded: int = 0
    new: int = 0
    changed: int = 0
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
    """Write the new and changed documents of a corpus to a collection.

    This thread reads and encodes, a second one stores and indexes; at most two batches wait between them.

    Parameters
    ----------
    collection
        The collection, open for writing.
    corpus
        Documents, read once.
    encoders
        The encoder of each leg that needs one.
    clock
        Receives the seconds of each stage.
    on_duplicate
        For a repeated id: raise an ``"error"``, or keep the ``"first"`` or the ``"last"`` document.
    total
        Number of documents, for the progress bar.
    show_progress
        Show a progress bar on stderr.

    Raises
    ------
    InputError
        For a repeated id. The documents read before it are written.
    """
    if on_duplicate not in ("error", "first", "last"):
        raise InputError(f"on_duplicate must be 'error', 'first' or 'last', not {on_duplicate!r}")
    done, resumed = Ingested(), len(collection) > 0
    waiting: deque[Future[None]] = deque()
    with (
        ThreadPoolExecutor(1, "indexing") as indexing,
        progress(total=total, desc="indexing", unit="doc", disable=not show_progress) as bar,
    ):
        # Encoded batches are also stored after an error or Ctrl-C: leaving the executor waits for its work.
        for batch in _changed(collection, corpus, done, on_duplicate, clock, bar):
            known = KnownRows.none(batch)
            if encoders and resumed:
                with clock("comparing"):
                    known = collection.known_rows(batch, getattr(corpus, "moved", None))
            try:
                rows = _encoded(known, encoders, clock)
            except ModelError as problem:
                batch, spoiled = _parted(batch, encoders, corpus, problem)
                stored = len(collection.documents.alive([document.doc_id for document in spoiled]))
                done.changed -= stored
                done.new -= len(spoiled) - stored
                known = KnownRows.none(batch)
                rows = _encoded(known, encoders, clock)
            done.not_encoded += int(known.known.sum())
            with clock("waiting for the indexes"):
                while len(waiting) >= WAITING_BATCHES:
                    waiting.popleft().result()
            waiting.append(indexing.submit(collection.upsert, batch, rows))
            done.written += len(batch)
        with clock("waiting for the indexes"):
            while waiting:
                waiting.popleft().result()
    return done


def _encoded(known: KnownRows, encoders: Mapping[str, DocumentEncoder], clock: Stopwatch) -> dict[str, Any]:
    """Return the rows of each leg.

    Raises
    ------
    ModelError
        For an encoder whose rows contain NaN or an infinity.
    """
    rows = {}
    for name, encode in _encoding(encoders).items():
        with clock(f"{name} encoding"):
            rows[name] = known.complete(name, encode)
        if (spoiled := _spoiled_row(rows[name])) is not None:
            doc_id = known.documents[spoiled].doc_id
            raise ModelError(f"the encoder of the leg {name!r} returns a NaN or an infinity for document {doc_id!r}")
    return rows


def _encoding(encoders: Mapping[str, DocumentEncoder]) -> dict[str, Callable[[Sequence[str]], Any]]:
    """Return the function that encodes the texts of each leg; two legs of one network share its pass."""
    encode: dict[str, Callable[[Sequence[str]], Any]] = {
        name: encoder.encode_document for name, encoder in encoders.items()
    }
    if len(encoders) < 2:
        return encode
    from retrieve.encoders.dense_tokens import DenseTokens, OnePass, shares_pass

    for tokens_leg, tokens in encoders.items():
        leg = next((name for name, dense in encoders.items() if shares_pass(dense, tokens)), None)
        if leg is not None and isinstance(tokens, DenseTokens):
            both: Any = OnePass(encoders[leg], tokens)  # type: ignore[arg-type]
            encode |= {leg: both.vectors, tokens_leg: both.token_vectors}
    return encode


def _spoiled_row(rows: Any) -> int | None:
    """Return the first row of vectors, term weights or token vectors with a NaN or an infinity."""
    offsets = None
    if isinstance(rows, TokenVectors):
        rows, offsets = rows.vectors, rows.offsets
    elif hasattr(rows, "indptr"):  # term weights, as CSR
        rows, offsets = rows.data, rows.indptr
    values = np.asarray(rows)
    if values.dtype.kind != "f" or (finite := np.isfinite(values)).all():
        return None
    at = int(np.argmin(finite.reshape(len(values), -1).all(axis=1)))
    return at if offsets is None else int(np.searchsorted(offsets, at, side="right")) - 1


def _parted(
    batch: Sequence[Document], encoders: Mapping[str, DocumentEncoder], corpus: Iterable[Document], problem: ModelError
) -> tuple[list[Document], list[Document]]:
    """Return the documents that the encoders can encode, and the others, which the corpus counts as skipped.

    Raises
    ------
    ModelError
        The problem, where the corpus does not skip, no document can be encoded, or one is a chunk, without which its
        document could not be reassembled.
    """
    if not isinstance(corpus, Corpus) or corpus.on_error != "skip" or isinstance(problem, EndpointError):
        raise problem
    sound: list[Document] = []
    spoiled: dict[str, ModelError] = {}
    for document in batch:
        try:
            _encoded(KnownRows.none([document]), encoders, Stopwatch())
            sound.append(document)
        except EndpointError:
            raise
        except ModelError as own:
            spoiled[document.doc_id] = own
    refused = [document for document in batch if document.doc_id in spoiled]
    if not sound or not refused or any(is_chunk(document.metadata) for document in refused):
        raise problem
    for document in refused:
        corpus.refuse(document, f"document {document.doc_id!r}: {spoiled[document.doc_id]}")
    return sound, refused


def check_first(corpus: Iterable[Document], collection: CollectionWriter, show_progress: bool) -> None:
    """Read a corpus that can be read twice before anything is encoded, so that a bad record costs no encoding."""
    if isinstance(corpus, Corpus) and corpus.on_error == "raise":
        for _ in progress(corpus, desc="checking", total=corpus.count(), unit="doc", disable=not show_progress):
            pass
    elif isinstance(corpus, Sequence):
        for document in corpus:
            collection.check(document)


def checked(corpus: Iterable[Document], check: Callable[[Document], None]) -> Iterator[Document]:
    """Yield the documents of a corpus that cannot be read twice, each after its check."""
    for document in corpus:
        check(document)
        yield document


def prune(collection: CollectionWriter, seen: SeenIds, keep: Callable[[str], bool] | None = None) -> int:
    """Delete the collection's documents that a corpus lacks, except those to `keep`; return their number."""
    removed, batch = 0, []
    for doc_id in collection.documents.ids():
        if doc_id not in seen and not (keep is not None and keep(doc_id)):
            batch.append(doc_id)
        if len(batch) == BATCH_DOCUMENTS:
            removed += collection.delete(batch)
            batch = []
    return removed + (collection.delete(batch) if batch else 0)


def _changed(
    collection: CollectionWriter,
    corpus: Iterable[Document],
    done: Ingested,
    on_duplicate: OnDuplicate,
    clock: Stopwatch,
    bar: Progress,
) -> Iterator[list[Document]]:
    """Yield the documents to write, in batches without repeated ids."""
    resumed = len(collection) > 0
    changed: dict[str, Document] = {}
    for batch, repeated in _batches(corpus, done, on_duplicate):
        stored: Mapping[str, bytes] = {}
        if resumed:
            with clock("comparing"):
                stored = collection.documents.digests([document.doc_id for document in batch])
        for document in batch:
            doc_id = document.doc_id
            # The earlier document of a repeated id may not have reached the store yet.
            if doc_id in repeated or doc_id not in stored or stored[doc_id] != digest(document):
                changed.pop(doc_id, None)
                changed[doc_id] = document
                if doc_id not in repeated:
                    done.changed += doc_id in stored
                    done.new += doc_id not in stored
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
    """Yield documents in batches, each with the ids that have already occurred in the corpus."""
    batch: list[Document] = []
    repeated: set[str] = set()
    characters = 0
    for document in corpus:
        if not done.seen.add(document.doc_id):
            if on_duplicate == "error":
                raise duplicate_error(document)
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


def duplicate_error(document: Document) -> InputError:
    """Return the error for a document whose id occurs twice in a corpus."""
    return InputError(
        f"the id {document.doc_id!r} occurs twice in the corpus: "
        "choose which document to keep with on_duplicate (--on-duplicate)"
    )


def _characters(documents: Iterable[Document]) -> int:
    return sum(len(document.title) + len(document.text) for document in documents)
