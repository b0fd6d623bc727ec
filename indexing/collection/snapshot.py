"""Snapshot: a collection's manifest, documents and indexes as of one moment."""

import threading
import time
from collections.abc import Hashable, Iterable, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

from indexing.collection.caught_up import CaughtUpIndex
from indexing.collection.legs import codec, open_index
from indexing.collection.manifest import Leg, Manifest, read_manifest
from indexing.collection.matching import count_matching, those_matching
from indexing.collection.staging import hidden_sibling
from indexing.collection.store import DocumentStore
from indexing.collection.stored_rows import stored_rows
from indexing.disk import file_stamp
from indexing.errors import LaterStateError, StorageError
from indexing.filters import FilterLike, parse_filter
from indexing.indexes.base import Index, Lookups
from indexing.resources import Closing, Lifetime

ATTEMPTS = 5
"""Number of attempts to read files that belong together while another process replaces them."""
SECONDS_BETWEEN = 0.05
"""Seconds between two such attempts while a file is missing."""


class Snapshot(Closing):
    """The state of a collection that a reader sees until it refreshes; indexes are opened when first used.

    Every hit of a leg has its document, because the store is at least as new as each leg, and no leg is older than the
    last removal of deleted documents (see `settle`).

    Attributes
    ----------
    parts
        What the users of the collection have built over this state, by user; see `Collection.follow`.
    closing
        Closes what was built over this state, with it.
    seen
        True once somebody may have read the documents, so that no later state of them may be taken.
    tenants
        The field that names a document's tenant, where the collection itself says so, as a deployed one does.
    """

    tenants: str | None = None

    def __init__(self, path: Path, manifest: Manifest, documents: DocumentStore) -> None:
        self.path, self.manifest, self.documents = path, manifest, documents
        self.indexes: dict[str, Index] = {}
        self.parts: dict[object, Any] = {}
        self.closing = ExitStack()
        self.users, self.retired, self.seen = 0, False, False
        self._lifetime = Lifetime(f"collection {path}")
        self._stamp = _stamp(path)
        self._opening = threading.RLock()

    @classmethod
    def open(cls, path: Path) -> Self:
        """Read the last committed state; errors as `Collection.open`."""
        for attempt in range(ATTEMPTS):
            try:
                stamp, manifest = _stamp(path), read_manifest(path)
                documents = DocumentStore.open(path / "documents.sqlite")
                documents.hold()
            except StorageError:
                # Another process may be moving a new collection into the place of the old one.
                if attempt == ATTEMPTS - 1 or not hidden_sibling(path, "old").exists():
                    raise
                time.sleep(SECONDS_BETWEEN)
                continue
            snapshot = cls(path, manifest, documents)
            if (snapshot._stamp == stamp and not documents.replaced) or attempt == ATTEMPTS - 1:
                break
            snapshot.close()
        return snapshot

    @property
    def outdated(self) -> bool:
        """True when another process has committed something since; a look at two files' attributes."""
        return self.documents.replaced or _stamp(self.path) != self._stamp

    @property
    def state(self) -> Hashable:
        """Key of the state that searches see now: an answer that was stored with another key may be outdated."""
        return self.documents.sequence

    def leg(self, name: str) -> Leg:
        """Return the manifest's entry of this leg."""
        try:
            return self.manifest.legs[name]
        except KeyError:
            raise StorageError(
                f"the collection {self.path} has no leg {name!r}: it has {', '.join(self.manifest.legs) or 'none'}"
            ) from None

    def index(self, name: str) -> Index:
        """Return the index of this leg.

        Raises
        ------
        StorageError
            When there is no such leg, or its files cannot be used; a `LaterStateError` when it is opened only now and
            the collection was written to or replaced since.
        """
        with self._opening:
            self._lifetime.check()
            if name not in self.indexes:
                self.indexes[name] = self._open_index(name)
            return self.indexes[name]

    def settled_index(self, name: str) -> Index:
        """Return the index of this leg, of the state of the documents; errors as `index`."""
        with self._opening:
            index = self.index(name)
            if not self.seen:
                self.settle()
            return index

    def settle(self) -> None:
        """Take a later state of the documents if a leg is ahead of it, and later ones of the legs that are behind.

        To be called before the first search. After a kill, legs may stay behind until the next writer.

        Raises
        ------
        LaterStateError
            When the collection was replaced meanwhile.
        """
        for _ in range(ATTEMPTS):
            if any(index.sequence > self.documents.sequence for index in self.indexes.values()):
                self.documents.hold()
            behind = [index for index in self.indexes.values() if index.sequence < self.documents.sequence]
            before = [index.sequence for index in behind]
            for index in behind:
                try:
                    index.refresh()
                except StorageError:
                    # A writer may have built it anew in another folder: the older state will do, unless it was purged.
                    if index.sequence < self.documents.purged:
                        self._check_in_place()
                        raise
            if behind:
                self._check_in_place()
            if before == [index.sequence for index in behind]:
                break
        self.seen = True

    def adopt(self, older: "Snapshot") -> None:
        """Open every index that is open in an older state; take over those that can be open only once."""
        shared: Mapping[str, Index] = {}
        if not older.documents.replaced:
            shared = {
                name: index
                for name, index in older.indexes.items()
                if index.opens_once and name in self.manifest.legs and index.path.name == self.leg(name).folder
            }
        for name in older.indexes:
            if name in self.manifest.legs and name not in shared:
                self.index(name)
        for name, index in shared.items():
            engine = _engine(index)
            engine.refresh()
            self.indexes[name] = self._caught_up(engine, name)

    def matching(self, filter: FilterLike) -> list[str]:
        """Return the ids of the documents that a filter keeps; see `Collection.matching`."""
        return self.documents.matching(parse_filter(filter, self.manifest.fields), self.manifest.fields)

    def those_matching(self, ids: Sequence[str], filter: FilterLike) -> set[str]:
        """Return those of these ids, found by a search with this filter, whose documents match it."""
        fields = self.manifest.fields
        return those_matching(self.documents, ids, parse_filter(filter, fields), fields)

    def count(self, filter: FilterLike) -> int:
        """Return the number of documents that a filter keeps."""
        return count_matching(self.documents, parse_filter(filter, self.manifest.fields), self.manifest.fields)

    def close(self, *, keep: "Iterable[Snapshot]" = ()) -> None:
        """Close the store, every index that none of `keep` uses, and what was built over this state."""
        self._lifetime.closed = True
        self.closing.close()
        kept = {id(_engine(index)) for snapshot in keep for index in snapshot.indexes.values()}
        for index in self.indexes.values():
            if id(_engine(index)) not in kept:
                index.close()
        self.documents.close()

    def _open_index(self, name: str) -> Index:
        leg = self.leg(name)
        try:
            index = self._opened(leg, name)
        except StorageError:
            # A writer may have built the index anew in another folder meanwhile.
            if self.documents.replaced or (newer := read_manifest(self.path).legs.get(name)) in (None, leg):
                self._check_in_place()
                raise
            self.manifest = replace(self.manifest, legs={**self.manifest.legs, name: newer})
            index = self._opened(newer, name)
        try:
            self._check_in_place()
            index = self._caught_up(index, name)
            if self.seen and index.sequence > self.documents.sequence:
                raise LaterStateError(
                    f"{self.path} was written to since it was opened, and its leg {name!r} is opened only now: "
                    "refresh it, or open it again"
                )
        except StorageError:
            index.close()
            raise
        return index

    def _caught_up(self, index: Index, name: str) -> Index:
        """Return an index that is changed in place as of the last write, which a killed writer may have left in it.

        Nobody can write to the collection while such an index is open here.
        """
        rows = codec(self.leg(name))
        if not index.opens_once or rows is None:
            return index
        with closing(DocumentStore.open(self.path / "documents.sqlite")) as store:
            newest = store.sequence
        self._check_in_place()
        if index.sequence == newest:
            return index
        return CaughtUpIndex(index, self.documents, (self.path / "shards" / name, rows), self.matching, newest)

    def _check_in_place(self) -> None:
        if self.documents.replaced:
            raise LaterStateError(f"{self.path} was replaced since it was opened: refresh it, or open it again")

    def _opened(self, leg: Leg, name: str) -> Index:
        lookups = Lookups(self.matching, stored_rows(self.documents, self.path, name, leg))
        return open_index(leg, self.path / "legs" / leg.folder, read_only=True, lookups=lookups)


def _engine(index: Index) -> Index:
    """Return the index itself, without the writes that it is caught up with."""
    return index.index if isinstance(index, CaughtUpIndex) else index


def _stamp(path: Path) -> tuple[int, ...] | None:
    return file_stamp(path / "manifest.json")
