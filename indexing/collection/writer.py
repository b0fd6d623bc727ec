"""CollectionWriter: a collection open for writing, by one process at a time."""

import logging
import time
from collections.abc import Container, Iterator, Mapping, Sequence, Set
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from indexing.collection.creation import create_empty, with_place
from indexing.collection.identity import check_identity
from indexing.collection.known_rows import KnownRows, known_rows
from indexing.collection.leg_parameters import with_parameters
from indexing.collection.leg_writer import LegWriter
from indexing.collection.legs import DocumentEncoder, check, check_document, codec
from indexing.collection.manifest import Leg, Manifest, read_manifest, write_manifest
from indexing.collection.ownership import leftover_legs, remove
from indexing.collection.reader import Collection
from indexing.collection.shards import Shards
from indexing.collection.staging import hidden_sibling, recover, write_lock
from indexing.collection.store import DocumentStore
from indexing.collection.stored_rows import stored_rows
from indexing.documents import Document, check_ids, documents_of
from indexing.errors import InputError, StorageError
from indexing.filters import FilterLike
from indexing.indexes.base import Index, Lookups
from indexing.indexes.registry import Backend, kind_of
from indexing.inputs import local_path, texts
from indexing.permissions import check_permissions
from indexing.token_vectors import TokenVectors

logger = logging.getLogger(__name__)

BATCH_DOCUMENTS = 512
"""Documents of one write: the unit that is stored whole or not at all."""
COMMIT_SECONDS = 30.0
"""How often a leg is committed while it is written; less often where a commit takes long."""


class CollectionWriter(Collection):
    """A collection open for writing, by one process at a time.

    As a context manager it commits when the block ends without an error.
    """

    def __init__(
        self,
        path: Path,
        manifest: Manifest,
        documents: DocumentStore,
        *,
        encoders: Mapping[str, DocumentEncoder] | None = None,
        commit_seconds: float = COMMIT_SECONDS,
    ) -> None:
        super().__init__(path, manifest, documents)
        self._encoders = dict(encoders or {})
        self._commit_seconds = commit_seconds
        self._writers: dict[str, LegWriter] = {}
        self._shards: dict[str, Shards] = {}
        self._held = ExitStack()
        self._broken = False
        self._storing = 0.0

    @classmethod
    def create(
        cls,
        path: str | Path,
        legs: Mapping[str, Leg],
        *,
        fields: Mapping[str, str] | None = None,
        corpus: Mapping[str, Any] | None = None,
        encoders: Mapping[str, DocumentEncoder] | None = None,
        vocabularies: Mapping[str, Sequence[str]] | None = None,
        commit_seconds: float = COMMIT_SECONDS,
    ) -> Self:
        """Make an empty collection.

        Parameters
        ----------
        path
            A directory that does not exist or is empty.
        legs
            Backend and parameters of each leg: those of ``faiss`` are `FaissSettings`, ``dimension`` at least.
        fields
            The metadata fields that searches and deletes may filter by, with their types: ``keyword``, ``number``,
            ``date`` or ``boolean``.
        corpus
            Where the documents come from, for the manifest.
        encoders
            The encoder of each leg that needs one, unless `upsert` is given the rows.
        vocabularies
            The term of each column, for each leg of term weights.
        commit_seconds
            Seconds between commits of a leg while writing.
        """
        create_empty(local_path(path, "path"), legs, fields or {}, corpus or {}, vocabularies or {})
        return cls.open(path, encoders=encoders, commit_seconds=commit_seconds)

    @classmethod
    def open(
        cls,
        path: str | Path,
        *,
        encoders: Mapping[str, DocumentEncoder] | None = None,
        commit_seconds: float = COMMIT_SECONDS,
        without: Container[str] = (),
        show_progress: bool = False,
    ) -> Self:
        """Open an existing collection for writing and replay the journal into its legs.

        Parameters
        ----------
        path
            The directory.
        encoders, commit_seconds
            As for `create`; an encoder of another identity than the leg's is an error.
        without
            Damaged legs, which are not opened: `reindex` makes them again.
        show_progress
            Show a progress bar for each leg that is behind.

        Raises
        ------
        StorageError
            When there is none, its files cannot be used, or another process writes to it.
        ModelError
            For an encoder of another identity than the leg's.
        """
        path = local_path(path, "path")
        if not path.exists() and hidden_sibling(path, "old").is_dir():
            with write_lock(path):
                recover(path)
        read_manifest(path)  # a directory that is no collection gets no lock beside it
        with ExitStack() as held:
            held.enter_context(write_lock(path))
            check_permissions([path, *path.iterdir()], write=True)
            documents = DocumentStore.open(path / "documents.sqlite", read_only=False)
            held.callback(documents.close)
            collection = cls(path, read_manifest(path), documents, encoders=encoders, commit_seconds=commit_seconds)
            held.callback(collection._close_legs)
            for name, encoder in (encoders or {}).items():
                check_identity(collection.leg(name).encoder or {}, encoder.identity, name)
            collection._prepare(without, show_progress)
            collection._held = held.pop_all()
        return collection

    def upsert(self, documents: Sequence[Document], encoded: Mapping[str, Any] | None = None) -> None:
        """Add documents, or replace those whose ids exist; durable when the call returns.

        Parameters
        ----------
        documents
            Any number; each `BATCH_DOCUMENTS` are one write, stored completely or not at all.
        encoded
            Their rows for each leg that has an encoder, vectors [n, dimension] or term weights [n, columns]; by
            default the collection's encoders make them.

        Raises
        ------
        InputError
            For a repeated id, or rows that an index would refuse: nothing of that write is stored.
        StorageError
            When the disk is full or the collection is open for reading.
        """
        documents = documents_of(documents)
        check_ids([document.doc_id for document in documents])
        for start in range(0, len(documents), BATCH_DOCUMENTS):
            part = slice(start, start + BATCH_DOCUMENTS)
            self._write(documents[part], {name: _part(rows, part) for name, rows in (encoded or {}).items()})

    def known_rows(self, documents: Sequence[Document], moved: Mapping[str, str] | None = None) -> KnownRows:
        """Return the rows stored for equal texts, which need no encoding; `moved` has former ids of parents."""
        return known_rows(self.documents, self._shards, documents, moved or {})

    def check(self, document: Document) -> None:
        """Raise an `InputError` for a document that `upsert` would refuse, whatever its rows are."""
        check_document(self.manifest.legs, self.manifest.fields, document)

    def delete(self, ids: Sequence[str] | None = None, *, filter: FilterLike | None = None) -> int:
        """Remove documents by their ids or by a filter; return how many existed.

        Parameters
        ----------
        ids
            Unknown ones are ignored.
        filter
            Over declared fields; see `indexing.filters.parse_filter`.
        """
        self._check_writable()
        if (ids is None) == (filter is None):
            raise InputError("delete takes either ids or a filter")
        ids = self.matching(filter or {}) if ids is None else texts(list(ids) if isinstance(ids, Set) else ids, "ids")
        deleted = self.documents.delete(ids)
        if deleted:
            with self._marking_broken():
                for writer in self._writers.values():
                    writer.delete(ids, self.documents.sequence)
        return deleted

    def commit(self, *, corpus: Mapping[str, Any] | None = None) -> None:
        """Commit every leg and write the manifest, so that the next reader sees every write.

        Parameters
        ----------
        corpus
            The new description of the corpus in the manifest; unchanged by default.
        """
        self._check_writable()
        with self._marking_broken():
            sequence = self.documents.sequence
            legs = {name: writer.commit(sequence) for name, writer in self._writers.items()}
            described = dict(self.manifest.corpus if corpus is None else corpus)
            legs = {**self.manifest.legs, **legs}
            changed = replace(self.manifest, documents=len(self.documents), corpus=described, legs=legs)
            if changed != self.manifest:
                write_manifest(self.path, changed)
                self.manifest = changed

    def reindex(
        self, name: str, *, backend: Backend | None = None, show_progress: bool = False, **parameters: Any
    ) -> None:
        """Build the index of this leg again from the shards and the texts, without a model.

        A reader that has the old index open keeps using it.

        Parameters
        ----------
        name
            The leg.
        backend
            Another kind of index for the same rows (`backends_of`).
        show_progress
            Show a progress bar.
        **parameters
            Parameters to change: those of the kind of index, see its `Kind` (``server`` takes the fields of
            `QdrantServer` but the API key; without ``collection`` a new one is named).

        Raises
        ------
        InputError
            For a parameter that this kind of index does not have, or that the encoder decides.
        """
        self._check_writable()
        old = self.leg(name)
        taken = [leg.folder for leg in self.manifest.legs.values()]
        taken += [entry.name for entry in (self.path / "legs").iterdir()]
        numbers = [int(end) for _, dot, end in (folder.rpartition(".") for folder in taken) if dot and end.isdecimal()]
        folder = f"{name}.{max(numbers, default=0) + 1}"
        leg = with_place(with_parameters(old, name, backend or old.backend, parameters), name, self.path)
        leg = replace(leg, folder=folder, files={})
        shards, fields = self._shards.get(name), self.manifest.fields
        try:
            writer = LegWriter.create(self.path, name, leg, shards, fields=fields, **self._leg_options(name, leg))
        except TypeError as error:
            raise InputError(f"the leg {name!r} is of backend {leg.backend!r}: {error}") from None
        try:
            writer.catch_up(self.documents, show_progress=show_progress, resumable=False)
            writer.commit(self.documents.sequence)
        except BaseException:
            writer.close()
            remove(self.path / "legs" / folder, self.path)
            raise
        with self._marking_broken():
            before = self._writers.pop(name, None)
            if before is not None:
                before.close()
            self._writers[name] = writer
            self.commit()
        remove(self.path / "legs" / old.folder, self.path)
        if left := kind_of(old.backend).left_elsewhere(old.parameters):
            logger.warning("the leg %r has left %s: delete it there when no reader uses it any more", name, left)

    def compact(self, *, show_progress: bool = False) -> None:
        """Remove replaced and deleted documents from texts, shards and legs, as if built of the present ones."""
        self.commit()
        alive = self.documents.numbers()
        fresh = {
            name: shards.rewrite(alive) for name, shards in self._shards.items() if shards.needs_rewrite(len(alive))
        }
        self.documents.replace_pieces(fresh)
        for name, pieces in fresh.items():
            self._shards[name].replace(pieces)
        self.documents.purge()
        if self.documents.dead or any(kind_of(one.leg.backend).notes(one.index.path) for one in self._writers.values()):
            for name, writer in list(self._writers.items()):  # `reindex` replaces a leg's writer
                if kind_of(writer.leg.backend).fresh_after_delete(writer.leg.parameters):
                    with self._marking_broken():
                        writer.index.optimize()
                        writer.index.commit(self.documents.sequence)
                else:
                    self.reindex(name, show_progress=show_progress)
            self.commit()
            # Counted until every leg is rid of them: a compact that is killed begins anew.
            self.documents.reset_dead()
            self.documents.shrink()

    def index(self, name: str) -> Index:
        """Return the index of this leg."""
        return self._writers[name].index if name in self._writers else super().index(name)

    def refresh(self) -> None:
        """Do nothing: a writer always sees the present state."""

    def close(self) -> None:
        """Close the store and every index; writes since the last commit remain in the journal."""
        self._lifetime.closed = True
        self._snapshot.closing.close()
        self._held.close()

    @property
    def seconds(self) -> dict[str, float]:
        """Seconds of writing so far: ``storing``, and each leg by its name."""
        return {"storing": self._storing} | {name: writer.seconds for name, writer in self._writers.items()}

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if error is None and not self._lifetime.closed and not self._broken:
                self.commit()
        finally:
            self.close()

    def _leg_options(self, name: str, leg: Leg) -> dict[str, Any]:
        lookups = Lookups(self.matching, stored_rows(self.documents, self.path, name, leg))
        return {"commit_seconds": self._commit_seconds, "lookups": lookups}

    def _prepare(self, without: Container[str], show_progress: bool) -> None:
        """Remove what a crash left, open every leg, and replay the journal into it."""
        for folder in leftover_legs(self.path, {leg.folder for leg in self.manifest.legs.values()}):
            remove(folder, self.path)
        for name, leg in self.manifest.legs.items():
            rows = codec(leg)
            if rows is not None:
                self._shards[name] = Shards(self.path / "shards" / name, rows, self.documents.pieces(name))
                self._shards[name].check_lengths()
                self._shards[name].remove_leftovers()
            if name not in without:
                writer = LegWriter.open(self.path, name, leg, self._shards.get(name), **self._leg_options(name, leg))
                self._writers[name] = writer
                writer.catch_up(self.documents, show_progress=show_progress)

    def _write(self, documents: Sequence[Document], rows: dict[str, Any]) -> None:
        self._check_writable()
        if lacking := [name for name in self._shards if name not in rows]:
            known = self.known_rows(documents)
            for name in lacking:
                rows[name] = known.complete(name, partial(self._encode, name))
        for name, leg in self.manifest.legs.items():
            check(leg, name, documents, rows.get(name))
        for document in documents:
            self.check(document)
        start = time.perf_counter()
        first = self.documents.next_number
        numbers = np.arange(first, first + len(documents))
        pieces = {name: shards.append(numbers, rows[name]) for name, shards in self._shards.items()}
        sequence = self.documents.upsert(documents, pieces)
        self._storing += time.perf_counter() - start
        with self._marking_broken():
            for name, piece in pieces.items():
                self._shards[name].accept(piece)
            for name, writer in self._writers.items():
                writer.upsert(documents, rows.get(name), sequence)

    def _encode(self, name: str, texts: Sequence[str]) -> Any:
        if name in self._encoders:
            return self._encoders[name].encode_document(texts)
        model = dict(self.leg(name).encoder or {}).get("name")
        raise InputError(
            f"the leg {name!r} needs its documents encoded with {model!r}: "
            f"open the collection with encoders={{{name!r}: …}}, or give the rows"
        )

    def _close_legs(self) -> None:
        for writer in self._writers.values():
            writer.close()
        self._writers.clear()

    def _check_writable(self) -> None:
        self._lifetime.check()
        if self._broken:
            raise StorageError(f"an earlier write to {self.path} failed midway: close the collection and open it again")

    @contextmanager
    def _marking_broken(self) -> Iterator[None]:
        """Mark the collection broken when the block fails: until reopened, legs may disagree with the journal."""
        try:
            yield
        except BaseException:
            self._broken = True
            raise


def _part(rows: Any, part: slice) -> Any:
    return rows.slice(part.start, min(part.stop, rows.texts)) if isinstance(rows, TokenVectors) else rows[part]
