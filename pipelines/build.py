"""The build job: a corpus in, a collection on disk out."""

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

from tqdm import tqdm

from indexing.bm25_index import Bm25Index
from indexing.collection import Leg, Manifest, building, read_manifest, write_manifest
from indexing.corpora import Corpus
from indexing.documents import Document
from indexing.errors import InputError, StorageError
from indexing.faiss_index import FaissIndex
from indexing.impact_index import ImpactIndex
from indexing.store import DocumentStore
from pipelines.identity import differences

if TYPE_CHECKING:
    from retrieve.encoders import DenseEncoder, SparseEncoder

BATCH_DOCUMENTS = 512
BATCH_CHARACTERS = 16 * 1024 * 1024
"""A batch ends at whichever comes first, so that memory is bounded however long the documents are."""


@dataclass(frozen=True, slots=True)
class BuildReport:
    """What a build did: seconds by stage, bytes by leg."""

    path: Path
    documents: int
    skipped: int
    seconds: Mapping[str, float]
    leg_bytes: Mapping[str, int]

    def __str__(self) -> str:
        seconds = ", ".join(f"{stage} {spent:.1f} s" for stage, spent in self.seconds.items())
        sizes = ", ".join(f"{leg} {size / 1e6:.1f} MB" for leg, size in self.leg_bytes.items())
        skipped = f", {self.skipped:,} skipped" if self.skipped else ""
        return f"{self.path}: {self.documents:,} documents{skipped}\n  time: {seconds}\n  legs: {sizes}"


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


class _LegBuilder(Protocol):
    def add(self, documents: Sequence[Document], clock: Stopwatch) -> None: ...
    def finish(self) -> Leg: ...
    def close(self) -> None: ...


def build_collection(
    corpus: Iterable[Document],
    path: str | Path,
    *,
    bm25: bool = True,
    dense: "DenseEncoder | None" = None,
    sparse: "SparseEncoder | None" = None,
    dense_index: Literal["flat", "hnsw"] = "flat",
    overwrite: bool = False,
    show_progress: bool = True,
) -> BuildReport:
    """Index a corpus into a new collection.

    Parameters
    ----------
    corpus
        Documents, read once, in batches: it need not fit into memory.
    path
        The collection's directory. It appears when the build is complete; a build that fails or is stopped leaves
        what was there.
    bm25, dense, sparse
        Which legs to build: BM25 over words, a `DenseEncoder` into FAISS, a `SparseEncoder` into impacts.
    dense_index
        ``"flat"`` (exact) or ``"hnsw"``.
    overwrite
        Replace a collection that is there.

    Raises
    ------
    InputError
        No leg, no documents, or two documents with one id.
    StorageError
        When `path` is taken.
    """
    if not (bm25 or dense or sparse):
        raise InputError("a collection needs a leg: BM25, a dense encoder or a sparse encoder")
    if isinstance(corpus, str | Path):
        raise InputError(f"the corpus must be documents, not the path {str(corpus)!r}: give read_corpus(path)")
    clock, documents, record = Stopwatch(), 0, corpus_record(corpus)
    with building(path, overwrite=overwrite) as staging, ExitStack() as opened:
        store = DocumentStore.create(staging / "documents.sqlite")
        opened.callback(store.close)
        legs = dict(_leg_builders(staging / "legs", bm25, dense, sparse, dense_index))
        for leg in legs.values():
            opened.callback(leg.close)
        with tqdm(total=_expected(corpus), desc="indexing", unit="doc", disable=not show_progress) as bar:
            for batch in _batches(corpus):
                with clock("store"):
                    store.add(batch, replace=False)
                for leg in legs.values():
                    leg.add(batch, clock)
                documents += len(batch)
                bar.update(len(batch))
        if not documents:
            raise InputError(f"there are no documents in {_description(corpus)}")
        with clock("commit"):
            entries = {name: leg.finish() for name, leg in legs.items()}
        opened.close()
        if corpus_record(corpus) != record:
            raise InputError(f"{_description(corpus)} changed while it was indexed: run the job again")
        skipped = int(getattr(corpus, "skipped", 0))
        write_manifest(staging, Manifest(documents, record | {"skipped": skipped}, entries))
    written = read_manifest(Path(path))
    return BuildReport(
        path=Path(path),
        documents=documents,
        skipped=skipped,
        seconds=clock.seconds,
        leg_bytes={name: leg.bytes for name, leg in written.legs.items()},
    )


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
    dense_index: Literal["flat", "hnsw"] = "flat",
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
        and all(manifest.corpus.get(key) == record[key] for key in ("fingerprint", "reading"))
        and not (manifest.corpus.get("skipped") and getattr(corpus, "on_error", None) == "raise")
        and wanted.keys() <= manifest.legs.keys()
        and not any(differences(manifest.legs[name].encoder or {}, identity) for name, identity in wanted.items())
        and (dense is None or manifest.legs["dense"].parameters.get("kind") == dense_index)
    )


class _Bm25Builder:
    def __init__(self, path: Path) -> None:
        self._index = Bm25Index.create(path)

    def add(self, documents: Sequence[Document], clock: Stopwatch) -> None:
        with clock("bm25"):
            self._index.add(documents)

    def finish(self) -> Leg:
        self._index.commit()
        return Leg("bm25", count=len(self._index))

    def close(self) -> None:
        self._index.close()


class _DenseBuilder:
    def __init__(self, path: Path, encoder: "DenseEncoder", kind: Literal["flat", "hnsw"]) -> None:
        self._encoder = encoder
        metric = "dot" if encoder.similarity == "dot" else "cosine"
        self._index = FaissIndex.create(path, encoder.dimension, kind=kind, metric=metric)

    def add(self, documents: Sequence[Document], clock: Stopwatch) -> None:
        with clock("dense encoding"):
            vectors = self._encoder.encode_document([document.contents for document in documents])
        with clock("dense"):
            self._index.add([document.doc_id for document in documents], vectors)

    def finish(self) -> Leg:
        self._index.commit()
        kind = {"kind": self._index.settings.kind}
        return Leg("faiss", encoder=self._encoder.identity, parameters=kind, count=len(self._index))

    def close(self) -> None:
        self._index.close()


class _SparseBuilder:
    def __init__(self, path: Path, encoder: "SparseEncoder") -> None:
        self._encoder = encoder
        self._index = ImpactIndex.create(path, vocabulary=encoder.vocabulary)

    def add(self, documents: Sequence[Document], clock: Stopwatch) -> None:
        with clock("sparse encoding"):
            weights = self._encoder.encode_document([document.contents for document in documents])
        with clock("sparse"):
            self._index.add([document.doc_id for document in documents], weights)

    def finish(self) -> Leg:
        self._index.commit()
        return Leg("impact", encoder=self._encoder.identity, count=len(self._index))

    def close(self) -> None:
        self._index.close()


def _leg_builders(
    folder: Path,
    bm25: bool,
    dense: "DenseEncoder | None",
    sparse: "SparseEncoder | None",
    dense_index: Literal["flat", "hnsw"],
) -> Iterator[tuple[str, _LegBuilder]]:
    if bm25:
        yield "bm25", _Bm25Builder(folder / "bm25")
    if dense is not None:
        yield "dense", _DenseBuilder(folder / "dense", dense, dense_index)
    if sparse is not None:
        yield "sparse", _SparseBuilder(folder / "sparse", sparse)


def _batches(corpus: Iterable[Document]) -> Iterator[list[Document]]:
    batch: list[Document] = []
    characters = 0
    for document in corpus:
        batch.append(document)
        characters += len(document.title) + len(document.text)
        if len(batch) == BATCH_DOCUMENTS or characters >= BATCH_CHARACTERS:
            yield batch
            batch, characters = [], 0
    if batch:
        yield batch


def _expected(corpus: Iterable[Document]) -> int | None:
    """How many documents will come, where that can be known beforehand."""
    if hasattr(corpus, "count") and not isinstance(corpus, Sequence):
        return corpus.count()
    return len(corpus) if isinstance(corpus, Sequence) else None


def _description(corpus: Iterable[Document]) -> str:
    return str(getattr(corpus, "description", type(corpus).__name__))
