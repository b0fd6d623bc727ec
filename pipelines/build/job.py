"""Build jobs: build a collection from a corpus, or update an existing one."""

import logging
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from indexing.collection.legs import DocumentEncoder
from indexing.collection.manifest import read_manifest
from indexing.collection.ownership import remove
from indexing.collection.reader import Collection
from indexing.collection.staging import building
from indexing.collection.store import DocumentStore
from indexing.collection.verify import repair
from indexing.collection.writer import CollectionWriter
from indexing.corpora import Corpus, FilesCorpus
from indexing.disk import folder_bytes
from indexing.documents import Document
from indexing.errors import InputError, StorageError
from indexing.inputs import flag
from pipelines.build.ingest import Ingested, OnDuplicate, Stopwatch, check_first, checked, ingest, prune
from pipelines.build.plan import (
    Bm25IndexName,
    DenseIndex,
    IndexChoice,
    Plan,
    SparseIndex,
    TokenIndexName,
    can_resume,
    corpus_description,
    corpus_record,
    left_out,
    make_plan,
)
from pipelines.build.report import BuildReport

if TYPE_CHECKING:
    from retrieve.encoders import DenseEncoder, MultiVectorEncoder, SparseEncoder
    from retrieve.encoders.dense_tokens import DenseTokens

logger = logging.getLogger(__name__)


def build_collection(
    corpus: Iterable[Document],
    path: str | Path,
    *,
    bm25: bool = True,
    dense: "DenseEncoder | None" = None,
    sparse: "SparseEncoder | None" = None,
    multi_vector: "MultiVectorEncoder | DenseTokens | None" = None,
    dense_index: DenseIndex | IndexChoice = "flat",
    sparse_index: SparseIndex | IndexChoice = "impact",
    token_index: TokenIndexName | IndexChoice = "tokens",
    bm25_index: Bm25IndexName | IndexChoice = "bm25",
    token_parameters: Mapping[str, Any] | None = None,
    bm25_fields: Mapping[str, float] | None = None,
    bm25_parameters: Mapping[str, Any] | None = None,
    fields: Mapping[str, str] | None = None,
    overwrite: bool = False,
    on_duplicate: OnDuplicate = "error",
    show_progress: bool = True,
) -> BuildReport:
    """Index a corpus into a new collection.

    To resume a build that was killed, call it again: documents that were stored are not encoded again.

    Parameters
    ----------
    corpus
        Documents, read once, in batches: it need not fit into memory.
    path
        The collection's directory, which appears when the build is complete. The progress of an unfinished build stays
        in a hidden directory beside it.
    bm25, dense, sparse, multi_vector
        The legs to build: BM25 over words, vectors of a `DenseEncoder`, term weights of a `SparseEncoder`, token
        vectors of a `MultiVectorEncoder` or of `DenseTokens` (the leg "tokens").
    dense_index
        ``"flat"`` (exact), ``"hnsw"`` or another kind of `FaissSettings`; ``"qdrant"``, embedded in this process; or an
        `IndexChoice`, for other parameters or a Qdrant server.
    sparse_index
        ``"impact"`` (Lucene), ``"postings"`` (exact weights, mapped into memory), ``"qdrant"``, or an `IndexChoice`.
    token_index
        ``"tokens"``, ``"qdrant"``, or an `IndexChoice`.
    bm25_index
        ``"bm25"`` (Lucene), ``"qdrant"``, or an `IndexChoice`.
    token_parameters
        Those of the token index, of `TokenSettings`: ``bits``, ``nprobe``, …; or of `QdrantSettings`.
    bm25_fields
        ``{"title": 1.0, "text": 1.0}`` scores title and text as separate fields with these weights (Anserini's
        multifield); by default they are one field.
    bm25_parameters
        ``k1``, ``b`` and ``analyzer`` of `Bm25Index`.
    fields
        The metadata fields for filters of searches and deletes, with their types: ``keyword``, ``number``, ``date``
        or ``boolean``.
    overwrite
        Replace an existing collection.
    on_duplicate
        For a repeated id: raise an ``"error"``, or keep the ``"first"`` or the ``"last"`` document.
    show_progress
        Show a progress bar on stderr.

    Raises
    ------
    InputError
        For no leg, no documents, a repeated id, or a parameter that an index does not have.
    StorageError
        When `path` exists, or is not writable.
    """
    plan = make_plan(
        bm25=bm25,
        dense=dense,
        sparse=sparse,
        multi_vector=multi_vector,
        dense_index=dense_index,
        sparse_index=sparse_index,
        token_index=token_index,
        bm25_index=bm25_index,
        token_parameters=token_parameters,
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
    """Build a collection with the legs of a plan; parameters and errors as in `build_collection`."""
    if not plan.legs:
        raise InputError("a collection needs a leg: BM25, or a dense, sparse or multi-vector encoder")
    _check_is_documents(corpus)
    started, clock = time.perf_counter(), Stopwatch()
    record = corpus_record(corpus)
    with building(path, overwrite=overwrite) as staging:
        try:
            with _staged(staging, plan, commit_seconds) as collection:
                done = _ingest(collection, corpus, plan.encoders, clock, on_duplicate, show_progress)
                if not len(collection) or not len(done.seen):
                    raise InputError(f"there are no documents in {corpus_description(corpus)}")
                if done.unchanged or len(collection) != len(done.seen):
                    done.removed = prune(collection, done.seen)
                _check_unchanged(corpus, record)
                with clock("commit"):
                    collection.commit(corpus=record | _outcome(corpus))
        except BaseException:
            if not _holds_documents(staging):
                remove(staging)
            raise
    return _report(Path(path), corpus, done, clock, started, updated=False)


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
    """Update a collection from a corpus: new and changed documents are indexed, the others are left.

    Only texts that are new are encoded: a document of which only the metadata changed, or a chunk that moved within its
    document, keeps its vectors.

    Readers may search meanwhile. To resume an update that was killed, call it again.

    Parameters
    ----------
    corpus
        All documents, or only the changed ones. Of a `FilesCorpus` a chunk that its file no longer has is deleted.
    path
        The collection.
    encoders
        The encoder of each leg that has one; none is needed for a `FilesCorpus` of which nothing is read.
    remove
        Delete the documents that the corpus lacks.
    on_duplicate, show_progress
        As for `build_collection`.

    Raises
    ------
    StorageError
        When there is no collection, or another process writes to it.
    ModelError
        For an encoder other than the leg's.
    """
    _check_is_documents(corpus)
    remove = flag(remove, "remove")
    files = corpus if isinstance(corpus, FilesCorpus) else None
    started, clock = time.perf_counter(), Stopwatch()
    record = corpus_record(corpus)
    opened = CollectionWriter.open(path, encoders=encoders, commit_seconds=commit_seconds, show_progress=show_progress)
    with opened as collection:
        lacking = [name for name, leg in collection.manifest.legs.items() if leg.encoder and name not in encoders]
        if lacking and (files is None or not files.reads_nothing):
            raise InputError(f"the leg {lacking[0]!r} needs its encoder: encoders={{{lacking[0]!r}: …}}")
        done = _ingest(collection, corpus, encoders, clock, on_duplicate, show_progress)
        if files is not None:
            done.removed = prune(collection, done.seen, partial(files.keeps, remove_missing=remove))
        elif remove:
            done.removed = prune(collection, done.seen)
        _check_unchanged(corpus, record)
        if files is not None or len(collection) == len(done.seen):
            described = record | _outcome(corpus)
        else:
            described = {**collection.manifest.corpus, "fingerprint": None}
        if done.written or done.removed or (files is not None and described != collection.manifest.corpus):
            with clock("commit"):
                collection.commit(corpus=described)
    return _report(Path(path), corpus, done, clock, started, updated=True)


def expected_count(corpus: Iterable[Document]) -> int | None:
    """Return the number of documents that a corpus will yield, or None if it is unknown."""
    if isinstance(corpus, Corpus):
        return corpus.count()
    return len(corpus) if isinstance(corpus, Sequence) else None


def _ingest(
    collection: CollectionWriter,
    corpus: Iterable[Document],
    encoders: Mapping[str, DocumentEncoder],
    clock: Stopwatch,
    on_duplicate: OnDuplicate,
    show_progress: bool,
) -> Ingested:
    if len(collection):
        logger.info("%s already holds %d documents", collection.path, len(collection))
    with ExitStack() as held:
        documents = corpus
        if isinstance(corpus, Corpus):
            held.enter_context(corpus.checked(collection.manifest.fields, collection.check))
        else:
            documents = checked(corpus, collection.check)
        if encoders:
            with clock("checking"):
                check_first(corpus, collection, show_progress)
        done = ingest(
            collection,
            documents,
            encoders,
            clock=clock,
            on_duplicate=on_duplicate,
            total=expected_count(corpus),
            show_progress=show_progress,
        )
    clock.seconds.update(collection.seconds)
    return done


def _staged(staging: Path, plan: Plan, commit_seconds: float) -> CollectionWriter:
    """Open the staging directory of an interrupted build if it can be resumed; else clear it and start again."""
    try:
        manifest = read_manifest(staging)
        if can_resume(manifest.legs, plan) and manifest.fields == plan.fields:
            return _reopened(staging, plan, commit_seconds)
        logger.warning("%s was started with other legs, encoders or fields: starting again", staging)
    except StorageError as problem:
        if any(staging.iterdir()):
            logger.warning("an interrupted build cannot be resumed, starting again: %s", problem)
    remove(staging)
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
        logger.warning("%s; repairing it", problem)
        repair(staging, plan.encoders)
        return CollectionWriter.open(staging, **options)


def _holds_documents(staging: Path) -> bool:
    try:
        with DocumentStore.open(staging / "documents.sqlite") as store:
            return len(store) > 0
    except StorageError:
        return False


def _report(
    path: Path, corpus: Iterable[Document], done: Ingested, clock: Stopwatch, started: float, *, updated: bool
) -> BuildReport:
    with Collection.open(path) as collection:
        stats = collection.stats()
    skipped, duplicates = left_out(corpus)
    return BuildReport(
        path=path,
        documents=stats.documents,
        skipped=skipped,
        duplicates=max(done.duplicates, duplicates),
        written=done.written,
        unchanged=done.unchanged,
        removed=done.removed,
        seconds=clock.seconds | {"total": time.perf_counter() - started},
        leg_bytes={name: folder_bytes(path / "legs" / leg.folder) for name, leg in stats.legs.items()},
        shard_bytes=stats.shard_bytes,
        store_bytes=stats.store_bytes,
        new=done.new,
        changed=done.changed,
        not_encoded=done.not_encoded,
        updated=updated,
    )


def _outcome(corpus: Iterable[Document]) -> dict[str, Any]:
    """Return what a pass over a corpus adds to its description."""
    unread = {"unread": corpus.source.unread} if isinstance(corpus, FilesCorpus) else {}
    return {"skipped": left_out(corpus)[0], **unread}


def _check_is_documents(corpus: Iterable[Document]) -> None:
    if isinstance(corpus, str | Path):
        raise InputError(f"the corpus must be documents, not the path {str(corpus)!r}: pass read_corpus(path)")


def _check_unchanged(corpus: Iterable[Document], record: Mapping[str, Any]) -> None:
    if corpus_record(corpus) != record:
        raise InputError(f"{corpus_description(corpus)} changed while it was indexed: run the job again")
