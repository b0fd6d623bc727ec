"""Collection: everything on disk for one corpus, in one directory.

::

    my-collection/
      manifest.json      format, corpus, and for each leg its backend, encoder, parameters, counts and checksums
      documents.sqlite   title, text and metadata of every document; the journal; the place of each encoded document
      shards/<leg>/      encoded documents: changing an index never encodes again
      legs/<leg>/        one index a leg, with the sequence number of the last write it contains

Every write takes the same steps: append the rows to the shards, record them beside the documents in one transaction of
the store, then write the batch to the legs. Each leg is committed from time to time. A leg that is behind when a writer
opens the collection, after a kill for instance, replays the journal and the shards. So a crash at any instant loses
nothing that was stored and duplicates nothing.
"""

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

from indexing.collection.legs import codec
from indexing.collection.manifest import Leg, Manifest
from indexing.collection.snapshot import ATTEMPTS, SECONDS_BETWEEN, Snapshot
from indexing.collection.staging import hidden_sibling, recover, write_lock
from indexing.collection.store import DocumentStore
from indexing.disk import folder_bytes
from indexing.documents import Document
from indexing.errors import InputError, LaterStateError, RetrieveError, StorageError
from indexing.filters import FilterLike
from indexing.indexes.base import Index
from indexing.inputs import local_path
from indexing.resources import Closing, Lifetime


@dataclass(frozen=True, slots=True)
class Stats:
    """Counts and sizes of a collection.

    Parameters
    ----------
    documents
        Number of documents, deleted ones excluded.
    dead
        Replaced and deleted documents that `Collection.compact` would remove.
    sequence
        The number of the last write.
    store_bytes, shard_bytes
        Size of the texts, and of each leg's encoded documents.
    legs
        The manifest's entries, with the sequence number of each index that is open.
    """

    documents: int
    dead: int
    sequence: int
    store_bytes: int
    shard_bytes: Mapping[str, int]
    legs: Mapping[str, Leg]


class Collection(Closing):
    """A collection open for reading; `CollectionWriter` is one open for writing.

    Any number of processes may read while one writes. A reader sees one state, a `Snapshot`, until `refresh`. Indexes
    are opened when first used.
    """

    _lifetime: Lifetime
    _snapshot: Snapshot
    _live: list[Snapshot]
    _builders: dict[object, Callable[[Snapshot], Any]]

    def __init__(self, path: Path, manifest: Manifest, documents: DocumentStore) -> None:
        self._start(Snapshot(path, manifest, documents))

    @classmethod
    def open(cls, path: str | Path) -> Self:
        """Open the collection in this directory for reading.

        Raises
        ------
        StorageError
            When there is none, or its files cannot be used.
        """
        path = local_path(path, "path")
        _recover(path)
        collection = cls.__new__(cls)
        collection._start(Snapshot.open(path))
        return collection

    @property
    def snapshot(self) -> Snapshot:
        """The state that the reader sees."""
        return self._snapshot

    @property
    def manifest(self) -> Manifest:
        """Description of the collection."""
        return self._snapshot.manifest

    @manifest.setter
    def manifest(self, manifest: Manifest) -> None:
        self._snapshot.manifest = manifest

    @property
    def documents(self) -> DocumentStore:
        """The store of the documents."""
        self._snapshot.seen = True
        return self._snapshot.documents

    def index(self, name: str) -> Index:
        """Return the index of this leg, opened when first used.

        Raises
        ------
        StorageError
            When there is no such leg, or its files cannot be used; a `LaterStateError` when it is opened only now,
            something was read before, and the collection was written to or replaced since.
        """
        attempts = ATTEMPTS
        while True:
            snapshot = self._snapshot
            unread = not snapshot.seen and not snapshot.indexes
            try:
                return snapshot.settled_index(name)
            except LaterStateError:
                attempts -= 1
                if not (unread and attempts):
                    raise
            self.refresh()

    def leg(self, name: str) -> Leg:
        """Return the manifest's entry of this leg."""
        return self._snapshot.leg(name)

    def get(self, ids: Sequence[str]) -> list[Document]:
        """Return the documents of these ids, in their order; an `InputError` names an unknown one."""
        alive = self.documents.alive(ids)
        missing = next((doc_id for doc_id in ids if doc_id not in alive), None)
        if missing is not None:
            raise InputError(f"the document {missing!r} is not in {self.path}")
        return self.documents.get(ids)

    def matching(self, filter: FilterLike) -> list[str]:
        """Return the ids of the documents that a filter keeps, in no order; see `indexing.filters.parse_filter`.

        Raises
        ------
        InputError
            For a field that was not declared when the collection was made, or an operator it does not have.
        """
        self._snapshot.seen = True
        return self._snapshot.matching(filter)

    def stats(self) -> Stats:
        """Count what the collection contains and measure its size."""
        opened = self._snapshot.indexes
        legs = {
            name: replace(leg, sequence=opened[name].sequence) if name in opened else leg
            for name, leg in self.manifest.legs.items()
        }
        shards = {name: self.path / "shards" / name for name, leg in legs.items() if codec(leg) is not None}
        store = sum(file.stat().st_size for file in self.path.glob("documents.sqlite*"))
        return Stats(
            documents=len(self),
            dead=self.documents.dead,
            sequence=self.documents.sequence,
            store_bytes=store,
            shard_bytes={name: folder_bytes(folder) for name, folder in shards.items()},
            legs=legs,
        )

    def refresh(self) -> None:
        """Move to the last committed state, as a whole; after an error the reader keeps its present state.

        Searches that are running end in the state in which they began. An index obtained before, other than an embedded
        Qdrant index, is closed after them: get it again with `index`.
        """
        with self._refreshing:
            self._lifetime.check()
            older, newer = self._snapshot, self._newer()
            with self._pinning:
                self._snapshot = newer
                self._live.append(newer)
            self._retire(older)
            if self._lifetime.closed:
                self._retire(newer)

    @property
    def outdated(self) -> bool:
        """True when another process has committed something that `refresh` would load; cheap to ask."""
        return self._snapshot.outdated

    def follow(self, user: object, build: Callable[[Snapshot], Any]) -> None:
        """Build something over the present state, and again over each later one, as a part of `refresh`.

        Parameters
        ----------
        user
            Key of the built object in `Snapshot.parts`.
        build
            Builds it; an error makes `refresh` fail, which changes nothing. If the collection is replaced meanwhile,
            the reader moves to its new state.
        """
        with self._refreshing:
            try:
                self._snapshot.parts[user] = build(self._snapshot)
                self._snapshot.settle()
            except (RetrieveError, OSError) as error:
                if not _has_moved(self._snapshot, error):
                    raise
                self._builders[user] = build
                try:
                    self.refresh()
                except BaseException:
                    del self._builders[user]
                    raise
            self._builders[user] = build

    @contextmanager
    def reading(self) -> Iterator[Snapshot]:
        """Keep the present state open while the block runs, also when the collection is refreshed or closed meanwhile.

        Raises
        ------
        StorageError
            When the collection is closed.
        """
        self._lifetime.check()
        with self._pinning:
            snapshot = self._snapshot
            self._lifetime.check()
            snapshot.users += 1
        try:
            yield snapshot
        finally:
            with self._pinning:
                snapshot.users -= 1
            if snapshot.retired:
                self._retire(snapshot)

    def close(self) -> None:
        """Close the store and every open index, once the searches that are running have ended."""
        with self._pinning:
            self._lifetime.closed = True
        self._retire(self._snapshot)

    def __len__(self) -> int:
        return len(self.documents)

    def _start(self, snapshot: Snapshot) -> None:
        self.path, self._snapshot, self._live = snapshot.path, snapshot, [snapshot]
        self._lifetime = Lifetime(f"collection {snapshot.path}")
        self._builders = {}
        self._pinning: threading.Lock = threading.Lock()
        self._refreshing: threading.RLock = threading.RLock()

    def _newer(self) -> Snapshot:
        """Open the last committed state with all that is built over it; again if it is replaced meanwhile."""
        attempt = 0
        while True:
            _recover(self.path)
            older, newer = self._snapshot, Snapshot.open(self.path)
            try:
                newer.adopt(older)
                for user, build in self._builders.items():
                    newer.parts[user] = build(newer)
                newer.settle()
            except BaseException as error:
                attempt += 1
                again = attempt < ATTEMPTS and _has_moved(newer, error)
                newer.close(keep=[older])
                if not again:
                    raise
            else:
                return newer

    def _retire(self, snapshot: Snapshot) -> None:
        """Close a state that no search may begin in, unless one is still running in it."""
        with self._pinning:
            snapshot.retired = True
            if snapshot.users or snapshot not in self._live:
                return
            self._live.remove(snapshot)
            others = list(self._live)
        snapshot.close(keep=others)


def _has_moved(snapshot: Snapshot, error: BaseException) -> bool:
    """Return whether a state could not be opened because another process has moved the collection on meanwhile."""
    failed = isinstance(error, RetrieveError | OSError)
    return isinstance(error, LaterStateError) or (failed and snapshot.documents.replaced)


def _recover(path: Path) -> None:
    """Restore the collection if an overwrite was killed between its two renames; wait for one that is running."""
    for attempt in range(ATTEMPTS):
        if path.exists() or not hidden_sibling(path, "old").is_dir():
            return
        try:
            with write_lock(path):
                recover(path)
        except StorageError:
            if attempt == ATTEMPTS - 1:
                raise
            time.sleep(SECONDS_BETWEEN)
