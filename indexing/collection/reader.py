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

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

from indexing.collection.legs import codec, open_index
from indexing.collection.manifest import Leg, Manifest, read_manifest
from indexing.collection.staging import hidden_sibling, recover, write_lock
from indexing.collection.store import DocumentStore
from indexing.disk import folder_bytes
from indexing.documents import Document
from indexing.errors import InputError, StorageError
from indexing.filters import FilterLike, parse_filter
from indexing.indexes.base import Index
from indexing.resources import Closing


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

    Indexes are opened when first used. Any number of processes may read while one writes; what it commits is visible to
    the next `open`, or after `refresh`.
    """

    def __init__(self, path: Path, manifest: Manifest, documents: DocumentStore) -> None:
        self.path, self.manifest, self.documents = path, manifest, documents
        self._open: dict[str, Index] = {}

    @classmethod
    def open(cls, path: str | Path) -> Self:
        """Open the collection in this directory for reading.

        Raises
        ------
        StorageError
            When there is none, or its files cannot be used.
        """
        path = Path(path)
        if not path.exists() and hidden_sibling(path, "old").is_dir():
            with write_lock(path):
                recover(path)
        return cls(path, read_manifest(path), DocumentStore.open(path / "documents.sqlite"))

    def index(self, name: str) -> Index:
        """Return the index of this leg."""
        if name not in self._open:
            leg = self.leg(name)
            try:
                self._open[name] = self._open_index(leg)
            except StorageError:
                # A writer may have replaced the index meanwhile.
                self.manifest = read_manifest(self.path)
                if self.leg(name).folder == leg.folder:
                    raise
                self._open[name] = self._open_index(self.leg(name))
        return self._open[name]

    def leg(self, name: str) -> Leg:
        """Return the manifest's entry of this leg."""
        try:
            return self.manifest.legs[name]
        except KeyError:
            raise StorageError(
                f"the collection {self.path} has no leg {name!r}: it has {', '.join(self.manifest.legs) or 'none'}"
            ) from None

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
        return self.documents.matching(parse_filter(filter, self.manifest.fields), self.manifest.fields)

    def stats(self) -> Stats:
        """Count what the collection contains and measure its size."""
        legs = {
            name: replace(leg, sequence=self._open[name].sequence) if name in self._open else leg
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
        """Load what was committed since the collection was opened."""
        self.manifest = read_manifest(self.path)
        for name, index in list(self._open.items()):
            if name not in self.manifest.legs or index.path.name != self.leg(name).folder:
                index.close()
                del self._open[name]
            else:
                index.refresh()

    def close(self) -> None:
        """Close the store and every open index."""
        for index in self._open.values():
            index.close()
        self._open.clear()
        self.documents.close()

    def __len__(self) -> int:
        return len(self.documents)

    def _open_index(self, leg: Leg) -> Index:
        return open_index(leg, self.path / "legs" / leg.folder, read_only=True, matching=self.matching)
