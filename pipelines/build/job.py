"""The build job: a corpus in, a collection on disk out; and the same for bringing one up to date."""

import logging
import shutil
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from indexing.collection.legs import DocumentEncoder
from indexing.collection.manifest import read_manifest
from indexing.collection.reader import Collection
from indexing.collection.staging import building
from indexing.collection.store import DocumentStore
from indexing.collection.verify import repair
from indexing.collection.writer import CollectionWriter
from indexing.disk import folder_bytes
from indexing.documents import Document
from indexing.errors import InputError, StorageError
from pipelines.build.ingest import Ingested, OnDuplicate, Stopwatch, ingest, prune
from pipelines.build.plan import (
    DenseIndex,
    IndexChoice,
    Plan,
    SparseIndex,
    can_resume,
    corpus_description,
    corpus_record,
    make_plan,
)

if TYPE_CHECKING:
    from retrieve.encoders import DenseEncoder, SparseEncoder

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class BuildReport:
    """What a build or an update did.

    Parameters
    ----------
    path
        The collection.
    documents
        How many it holds now.
    skipped
        Records of the corpus that could not be used.
    duplicates
        Records whose id stood there already.
    written, unchanged, removed
        Documents that were encoded and indexed, found there as they are, or deleted because the corpus lacks them.
    seconds
        By stage. Encoding and indexing go on at the same time: the stages sum to more than ``total``.
    leg_bytes, shard_bytes, store_bytes
        Size of each leg's index, of its encoded documents, and of the texts.
    """

    path: Path
    documents: int
    skipped: int
    duplicates: int
    written: int
    unchanged: int
    removed: int
    seconds: Mapping[str, float]
    leg_bytes: Mapping[str, int]
    shard_bytes: Mapping[str, int]
    store_bytes: int

    def __str__(self) -> str:
        counts = [
            f"{count:,} {what}"
            for what, count in (
                ("skipped", self.skipped),
                ("with an id that stood there already", self.duplicates),
                ("unchanged", self.unchanged),
                ("removed", self.removed),
            )
            if count
        ]
        seconds = ", ".join(f"{stage} {spent:.1f} s" for stage, spent in self.seconds.items())
        sizes = ", ".join(f"{leg} {size / 1e6:.1f} MB" for leg, size in self.leg_bytes.items())
        kept = sum(self.shard_bytes.values())
        return (
            f"{self.path}: {', '.join([f'{self.documents:,} documents', *counts])}\n  time: {seconds}\n  legs: {sizes}"
            f"\n  texts: {self.store_bytes / 1e6:.1f} MB" + (f", encoded: {kept / 1e6:.1f} MB" if kept else "")
        )


def build_collection(
    corpus: Iterable[Document],
    path: str | Path,
    *,
    bm25: bool = True,
    dense: "DenseEncoder | None" = None,
    sparse: "SparseEncoder | None" = None,
    dense_index: DenseIndex | IndexChoice = "flat",
    sparse_index: SparseIndex | IndexChoice = "impact",
    bm25_fields: Mapping[str, float] | None = None,
    bm25_parameters: Mapping[str, Any] | None = None,
    fields: Mapping[str, str] | None = None,
    overwrite: bool = False,
    on_duplicate: OnDuplicate = "error",
    show_progress: bool = True,
) -> BuildReport:
    """Index a corpus into a new collection.

    A build that was killed is gone on with by calling it again: documents that were stored are not encoded again.

    Parameters
    ----------
    corpus
        Documents, read once, in batches: it need not fit into memory.
    path
        The collection's directory. It appears when the build is complete; what a build that failed or was stopped has
        done waits in a hidden directory beside it.
    bm25, dense, sparse
        Which legs to build: BM25 over words, vectors of a `DenseEncoder`, term weights of a `SparseEncoder`.
    dense_index
        ``"flat"`` (exact), ``"hnsw"`` or another kind of `FaissSettings`; ``"qdrant"``, embedded in this process; or an
        `IndexChoice`, with parameters, or on a Qdrant server.
    sparse_index
        ``"impact"`` (Lucene), ``"qdrant"``, or an `IndexChoice`.
    bm25_fields
        ``{"title": 1.0, "text": 1.0}`` scores title and text apart, with these weights (Anserini's multifield);
        by default both are one field.
    bm25_parameters
        ``k1``, ``b`` and ``analyzer`` of `Bm25Index`.
    fields
        The metadata fields that searches and deletes may filter by, with their types: ``keyword``, ``number``,
        ``date`` or ``boolean``.
    overwrite
        Replace a collection that is there.
    on_duplicate
        When an id stands twice: an ``"error"``, or the ``"first"`` or the ``"last"`` document counts.
    show_progress
        A progress bar on stderr.

    Raises
    ------
    InputError
        No leg, no documents, two documents with one id, or a parameter that an index does not have.
    StorageError
        When `path` is taken, or nothing can be written there.
    """
    plan = make_plan(
        bm25=bm25,
        dense=dense,
        sparse=sparse,
        dense_index=dense_index,
        sparse_index=sparse_index,
        bm25_fields=bm25_fields,
        bm25_parameters=bm25_parameters,
        fields=fields,
    )
    return build_legs(corpus, path, plan, overwrite=overwrite, on_duplicate=on_duplicate, show_progress=show_progress)


def build_legs(
    corpus: Iterable[Document],
    path: str | Path,
    plan: Plan,
    *,
    overwrite: bool = False,
    on_duplicate: OnDuplicate = "error",
    show_progress: bool = True,
    commit_seconds: float = 30.0,
) -> BuildReport:
    """Index a corpus into the legs of a plan, as `build_collection` does with its own."""
    if not plan.legs:
        raise InputError("a collection needs a leg: BM25, a dense encoder or a sparse encoder")
    _refuse_path(corpus)
    started, clock = time.perf_counter(), Stopwatch()
    record = corpus_record(corpus)
    with building(path, overwrite=overwrite) as staging:
        try:
            with _staged(staging, plan, commit_seconds) as collection:
                done = _take(collection, corpus, plan, clock, on_duplicate, show_progress)
                if not len(collection) or not len(done.seen):
                    raise InputError(f"there are no documents in {corpus_description(corpus)}")
                if done.unchanged or len(collection) != len(done.seen):
                    done.removed = prune(collection, done.seen)
                _refuse_change(corpus, record)
                skipped = int(getattr(corpus, "skipped", 0))
                with clock("commit"):
                    collection.commit(corpus=record | {"skipped": skipped})
        except BaseException:
            if not _holds_documents(staging):
                shutil.rmtree(staging, ignore_errors=True)
            raise
    return _report(Path(path), corpus, done, clock, started)


def update_collection(
    corpus: Iterable[Document],
    path: str | Path,
    *,
    encoders: Mapping[str, DocumentEncoder],
    remove: bool = False,
    on_duplicate: OnDuplicate = "error",
    show_progress: bool = True,
    commit_seconds: float = 30.0,
) -> BuildReport:
    """Bring a collection up to date with a corpus: what is new or differs is encoded and indexed, the rest is left.

    Readers go on meanwhile. An update that was killed is gone on with by calling it again.

    Parameters
    ----------
    corpus
        All documents, or the changed ones only.
    path
        The collection.
    encoders
        For each leg that has one, its encoder.
    remove
        Delete the documents that the corpus does not have.
    on_duplicate, show_progress
        As for `build_collection`.

    Raises
    ------
    StorageError
        When there is no collection, or another process writes to it.
    ModelError
        For an encoder that is not the leg's.
    """
    _refuse_path(corpus)
    started, clock = time.perf_counter(), Stopwatch()
    record = corpus_record(corpus)
    opened = CollectionWriter.open(path, encoders=encoders, commit_seconds=commit_seconds, show_progress=show_progress)
    with opened as collection:
        lacking = [name for name, leg in collection.manifest.legs.items() if leg.encoder and name not in encoders]
        if lacking:
            raise InputError(f"the leg {lacking[0]!r} needs its encoder: encoders={{{lacking[0]!r}: …}}")
        done = _take(collection, corpus, Plan({}, encoders), clock, on_duplicate, show_progress)
        if remove:
            done.removed = prune(collection, done.seen)
        _refuse_change(corpus, record)
        if done.written or done.removed:
            whole = len(collection) == len(done.seen)
            skipped = {"skipped": int(getattr(corpus, "skipped", 0))}
            described = record | skipped if whole else {**collection.manifest.corpus, "fingerprint": None}
            with clock("commit"):
                collection.commit(corpus=described)
    return _report(Path(path), corpus, done, clock, started)


def expected_count(corpus: Iterable[Document]) -> int | None:
    """How many documents will come, where that can be known beforehand."""
    if hasattr(corpus, "count") and not isinstance(corpus, Sequence):
        count: int | None = corpus.count()
        return count
    return len(corpus) if isinstance(corpus, Sequence) else None


def _take(
    collection: CollectionWriter,
    corpus: Iterable[Document],
    plan: Plan,
    clock: Stopwatch,
    on_duplicate: OnDuplicate,
    show_progress: bool,
) -> Ingested:
    if len(collection):
        logger.info("%s holds %d documents already", collection.path, len(collection))
    done = ingest(
        collection,
        corpus,
        plan.encoders,
        clock=clock,
        on_duplicate=on_duplicate,
        total=expected_count(corpus),
        show_progress=show_progress,
    )
    clock.seconds.update(collection.seconds)
    return done


def _staged(staging: Path, plan: Plan, commit_seconds: float) -> CollectionWriter:
    """Open what an earlier build left, if it can be gone on with; else begin anew."""
    try:
        manifest = read_manifest(staging)
        if can_resume(manifest.legs, plan) and manifest.fields == plan.fields:
            return _reopened(staging, plan, commit_seconds)
        logger.warning("%s was begun with other legs, encoders or fields: begun anew", staging)
    except StorageError as problem:
        if any(staging.iterdir()):
            logger.warning("what an earlier build left cannot be used, the build begins anew: %s", problem)
    for left in staging.iterdir():
        shutil.rmtree(left) if left.is_dir() else left.unlink()
    return CollectionWriter.create(
        staging,
        plan.legs,
        encoders=plan.encoders,
        vocabularies=plan.vocabularies,
        fields=plan.fields,
        commit_seconds=commit_seconds,
    )


def _reopened(staging: Path, plan: Plan, commit_seconds: float) -> CollectionWriter:
    options: dict[str, Any] = {"encoders": plan.encoders, "commit_seconds": commit_seconds}
    try:
        return CollectionWriter.open(staging, **options)
    except StorageError as problem:
        logger.warning("%s; mending it", problem)
        repair(staging, plan.encoders)
        return CollectionWriter.open(staging, **options)


def _holds_documents(staging: Path) -> bool:
    try:
        with DocumentStore.open(staging / "documents.sqlite") as store:
            return len(store) > 0
    except StorageError:
        return False


def _report(path: Path, corpus: Iterable[Document], done: Ingested, clock: Stopwatch, started: float) -> BuildReport:
    with Collection.open(path) as collection:
        stats = collection.stats()
    return BuildReport(
        path=path,
        documents=stats.documents,
        skipped=int(getattr(corpus, "skipped", 0)),
        duplicates=max(done.duplicates, int(getattr(corpus, "duplicates", 0))),
        written=done.written,
        unchanged=done.unchanged,
        removed=done.removed,
        seconds=clock.seconds | {"total": time.perf_counter() - started},
        leg_bytes={name: folder_bytes(path / "legs" / leg.folder) for name, leg in stats.legs.items()},
        shard_bytes=stats.shard_bytes,
        store_bytes=stats.store_bytes,
    )


def _refuse_path(corpus: Iterable[Document]) -> None:
    if isinstance(corpus, str | Path):
        raise InputError(f"the corpus must be documents, not the path {str(corpus)!r}: give read_corpus(path)")


def _refuse_change(corpus: Iterable[Document], record: Mapping[str, Any]) -> None:
    if corpus_record(corpus) != record:
        raise InputError(f"{corpus_description(corpus)} changed while it was indexed: run the job again")
