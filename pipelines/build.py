"""The build job: a corpus in, a collection on disk out; and the same for bringing one up to date."""

import json
import logging
import shutil
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from indexing.collection import Collection, building
from indexing.collection_writer import CollectionWriter
from indexing.corpora import Corpus
from indexing.disk import folder_bytes
from indexing.documents import Document
from indexing.errors import InputError, StorageError
from indexing.filters import check_fields
from indexing.identity import differences
from indexing.legs import DocumentEncoder
from indexing.manifest import Leg, read_manifest
from indexing.store import DocumentStore
from indexing.verify import repair
from pipelines.ingest import Ingested, OnDuplicate, Stopwatch, ingest, prune

if TYPE_CHECKING:
    from retrieve.encoders import DenseEncoder, SparseEncoder

DenseIndex: TypeAlias = Literal["flat", "hnsw", "ivf", "pq", "sq"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Plan:
    """Which legs to build, and with what.

    Parameters
    ----------
    legs
        Backend, encoder identity and parameters by name.
    encoders
        The encoder of each leg that needs one.
    vocabularies
        The term of each column, of each leg of backend ``impact``.
    fields
        The metadata fields that can be filtered by, with their types.
    """

    legs: Mapping[str, Leg]
    encoders: Mapping[str, DocumentEncoder] = field(default_factory=dict)
    vocabularies: Mapping[str, Sequence[str]] = field(default_factory=dict)
    fields: Mapping[str, str] = field(default_factory=dict)


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
    dense_index: DenseIndex = "flat",
    bm25_fields: Mapping[str, float] | None = None,
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
        Which legs to build: BM25 over words, a `DenseEncoder` into FAISS, a `SparseEncoder` into impacts.
    dense_index
        ``"flat"`` (exact), ``"hnsw"``, or another kind of `FaissSettings`.
    bm25_fields
        ``{"title": 1.0, "text": 1.0}`` scores title and text apart, with these weights (Anserini's multifield);
        by default both are one field.
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
        No leg, no documents, or two documents with one id.
    StorageError
        When `path` is taken, or nothing can be written there.
    """
    plan = make_plan(
        bm25=bm25, dense=dense, sparse=sparse, dense_index=dense_index, bm25_fields=bm25_fields, fields=fields
    )
    return build_legs(corpus, path, plan, overwrite=overwrite, on_duplicate=on_duplicate, show_progress=show_progress)


def make_plan(
    *,
    bm25: bool = True,
    dense: "DenseEncoder | None" = None,
    sparse: "SparseEncoder | None" = None,
    dense_index: DenseIndex = "flat",
    bm25_fields: Mapping[str, float] | None = None,
    fields: Mapping[str, str] | None = None,
) -> Plan:
    """Describe the legs that `build_collection` makes of these encoders."""
    words = {"weights": dict(bm25_fields)} if bm25_fields else {}
    legs: dict[str, Leg] = {"bm25": Leg("bm25", None, words)} if bm25 else {}
    encoders: dict[str, DocumentEncoder] = {}
    vocabularies: dict[str, Sequence[str]] = {}
    if dense is not None:
        metric = "dot" if dense.similarity == "dot" else "cosine"
        parameters = {"dimension": dense.dimension, "kind": dense_index, "metric": metric}
        legs["dense"], encoders["dense"] = Leg("faiss", dense.identity, parameters), dense
    if sparse is not None:
        legs["sparse"], encoders["sparse"] = Leg("impact", sparse.identity), sparse
        vocabularies["sparse"] = sparse.vocabulary
    return Plan(legs, encoders, vocabularies, check_fields(fields or {}))


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
                    raise InputError(f"there are no documents in {_description(corpus)}")
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
    opened = Collection.open(
        path, read_only=False, encoders=encoders, commit_seconds=commit_seconds, show_progress=show_progress
    )
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


def corpus_record(corpus: Iterable[Document]) -> dict[str, Any]:
    """Say which corpus this is: its description and, where it knows, a fingerprint of its bytes and how it is read."""
    if not isinstance(corpus, Corpus):
        return {"description": _description(corpus), "fingerprint": None}
    return {"description": corpus.description, "fingerprint": corpus.fingerprint(), "reading": corpus.reading()}


def is_built(
    path: str | Path,
    corpus: Iterable[Document],
    *,
    bm25: bool = True,
    dense: "DenseEncoder | None" = None,
    sparse: "SparseEncoder | None" = None,
    dense_index: DenseIndex = "flat",
    bm25_fields: Mapping[str, float] | None = None,
    fields: Mapping[str, str] | None = None,
) -> bool:
    """Say whether a collection stands at `path` that has these legs, of this corpus and with these encoders."""
    try:
        manifest = read_manifest(Path(path))
    except StorageError:
        return False
    wanted: dict[str, Mapping[str, Any]] = {"bm25": {}} if bm25 else {}
    wanted |= {name: encoder.identity for name, encoder in (("dense", dense), ("sparse", sparse)) if encoder}
    record = corpus_record(corpus)
    return (
        record["fingerprint"] is not None
        and manifest.corpus.get("fingerprint") == record["fingerprint"]
        and _reads_alike(manifest.corpus.get("reading") or {}, record["reading"])
        and not (manifest.corpus.get("skipped") and getattr(corpus, "on_error", None) == "raise")
        and wanted.keys() <= manifest.legs.keys()
        and not any(differences(manifest.legs[name].encoder or {}, identity) for name, identity in wanted.items())
        and (dense is None or manifest.legs["dense"].parameters.get("kind") == dense_index)
        and (not bm25 or (manifest.legs["bm25"].parameters.get("weights") or {}) == dict(bm25_fields or {}))
        and dict(fields or {}).items() <= dict(manifest.fields).items()
    )


def expected(corpus: Iterable[Document]) -> int | None:
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
        total=expected(corpus),
        show_progress=show_progress,
    )
    clock.seconds.update(collection.seconds)
    return done


def _staged(staging: Path, plan: Plan, commit_seconds: float) -> CollectionWriter:
    """Open what an earlier build left, if it can be gone on with; else begin anew."""
    try:
        manifest = read_manifest(staging)
        if _same_legs(manifest.legs, plan) and manifest.fields == plan.fields:
            return _reopened(staging, plan, commit_seconds)
        logger.warning("%s was begun with other legs, encoders or fields: begun anew", staging)
    except StorageError as problem:
        if any(staging.iterdir()):
            logger.warning("what an earlier build left cannot be used, the build begins anew: %s", problem)
    for left in staging.iterdir():
        shutil.rmtree(left) if left.is_dir() else left.unlink()
    return Collection.create(
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
        return Collection.open(staging, read_only=False, **options)
    except StorageError as problem:
        logger.warning("%s; mending it", problem)
        repair(staging, plan.encoders)
        return Collection.open(staging, read_only=False, **options)


def _same_legs(stored: Mapping[str, Leg], plan: Plan) -> bool:
    """Say whether documents encoded for these legs are those that the plan would make, bit for bit."""
    if stored.keys() != plan.legs.keys():
        return False
    for name, leg in plan.legs.items():
        ours = json.loads(json.dumps(dict(leg.encoder or {})))
        theirs = dict(stored[name].encoder or {})
        parameters = json.loads(json.dumps(dict(leg.parameters)))
        if (
            leg.backend != stored[name].backend
            or differences(theirs, ours)
            or theirs.get("dtype") != ours.get("dtype")
            or any(stored[name].parameters.get(key) != value for key, value in parameters.items())
        ):
            return False
    return True


def _reads_alike(stored: Mapping[str, Any], reading: Mapping[str, Any]) -> bool:
    """Say whether a corpus gives the same documents read either way: one without repeated ids, however they count."""
    free = {} if "on_duplicate" in stored else {"on_duplicate": None}
    return {**stored, **free} == {**reading, **free}


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
        raise InputError(f"{_description(corpus)} changed while it was indexed: run the job again")


def _description(corpus: Iterable[Document]) -> str:
    return str(getattr(corpus, "description", type(corpus).__name__))
