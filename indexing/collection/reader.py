"""Collection: everything on disk for one corpus, in one directory.

::

    my-collection/
      manifest.json      format, corpus, and for each leg its backend, encoder, parameters, counts and checksums
      documents.sqlite   title, text and metadata of every document; the journal; where each encoded document is
      shards/<leg>/      encoded documents: changing an index never encodes again
      legs/<leg>/        one index a leg, with the sequence number of the last write it holds

A write goes the same way each time: the rows are appended to the shards, one transaction of the store names them
beside the documents, and then the legs are given the batch. Each leg is committed from time to time; one that is
behind when a writer opens the collection, after a kill for instance, is brought forward from the journal and the
shards. So a crash at any instant loses nothing that was stored and doubles nothing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, overload

from indexing.collection.legs import Index, codec, open_index
from indexing.collection.manifest import Backend, Leg, Manifest, read_manifest
from indexing.collection.staging import building, hidden_sibling, recover, write_lock
from indexing.collection.store import DocumentStore
from indexing.disk import folder_bytes
from indexing.documents import Document
from indexing.errors import InputError, StorageError
from indexing.filters import FilterLike, parse_filter
from indexing.indexes.qdrant.index import QdrantIndex
from indexing.resources import Closing

if TYPE_CHECKING:
    from indexing.collection.verify import Problem
    from indexing.collection.writer import CollectionWriter

__all__ = ["Backend", "Collection", "Index", "Leg", "Manifest", "Stats", "building", "read_manifest"]


@dataclass(frozen=True, slots=True)
class Stats:
    """What a collection holds now.

    Parameters
    ----------
    documents
        How many; deleted ones left out.
    dead
        Replaced and deleted documents that `Collection.compact` would remove.
    sequence
        The number of the last write.
    store_bytes, shard_bytes
        Size of the texts, and of each leg's encoded documents.
    legs
        The manifest's entries, with the sequence number that each index holds as far as it is open.
    """

    documents: int
    dead: int
    sequence: int
    store_bytes: int
    shard_bytes: Mapping[str, int]
    legs: Mapping[str, Leg]


class Collection(Closing):
    """A collection open for reading: use `open`; for writing, `create` and ``open(path, read_only=False)`` give more.

    Indexes are opened when first asked for. Any number of processes may read, while one writes too: what that one has
    committed is seen by the next `open`, or after `refresh`.
    """

    def __init__(self, path: Path, manifest: Manifest, documents: DocumentStore) -> None:
        self.path, self.manifest, self.documents = path, manifest, documents
        self._open: dict[str, Index] = {}

    @staticmethod
    def create(path: str | Path, legs: Mapping[str, Leg], **options: Any) -> "CollectionWriter":
        """Make an empty collection, open for writing; options as for `CollectionWriter.make`."""
        from indexing.collection.writer import CollectionWriter

        return CollectionWriter.make(path, legs, **options)

    @overload
    @staticmethod
    def open(path: str | Path, *, read_only: Literal[True] = True) -> "Collection": ...
    @overload
    @staticmethod
    def open(path: str | Path, *, read_only: Literal[False], **options: Any) -> "CollectionWriter": ...
    @staticmethod
    def open(path: str | Path, *, read_only: bool = True, **options: Any) -> "Collection":
        """Open the collection in this directory.

        Parameters
        ----------
        path
            The directory.
        read_only
            False takes the right to write, and brings each leg forward to the last write.
        **options
            For writing: as for `CollectionWriter.take`.

        Raises
        ------
        StorageError
            When there is none, its files cannot be used, or another process writes to it.
        ModelError
            For an encoder of another identity than the leg's.
        """
        path = Path(path)
        if not path.exists() and hidden_sibling(path.absolute(), "old").is_dir():
            with write_lock(path):
                recover(path)
        if not read_only:
            from indexing.collection.writer import CollectionWriter

            return CollectionWriter.take(path, **options)
        return Collection(path, read_manifest(path), DocumentStore.open(path / "documents.sqlite"))

    @staticmethod
    def verify(path: str | Path) -> "list[Problem]":
        """Read everything and say what is wrong; see `indexing.collection.verify.verify`."""
        from indexing.collection.verify import verify

        return verify(path)

    def index(self, name: str) -> Index:
        """Give the index of this leg."""
        if name not in self._open:
            leg = self.leg(name)
            try:
                self._open[name] = open_index(leg, self._folder(leg), read_only=True)
            except StorageError:
                # A writer may have put another index in its place meanwhile.
                self.manifest = read_manifest(self.path)
                if self.leg(name).folder == leg.folder:
                    raise
                self._open[name] = open_index(self.leg(name), self._folder(self.leg(name)), read_only=True)
        return self._open[name]

    def leg(self, name: str) -> Leg:
        """Give the manifest's entry of this leg."""
        try:
            return self.manifest.legs[name]
        except KeyError:
            raise StorageError(
                f"the collection {self.path} has no leg {name!r}: it has {', '.join(self.manifest.legs) or 'none'}"
            ) from None

    def get(self, ids: Sequence[str]) -> list[Document]:
        """Give the documents of these ids, in their order; an `InputError` names one that is not there."""
        alive = self.documents.alive(ids)
        missing = next((doc_id for doc_id in ids if doc_id not in alive), None)
        if missing is not None:
            raise InputError(f"the document {missing!r} is not in {self.path}")
        return self.documents.get(ids)

    def matching(self, filter: FilterLike) -> list[str]:
        """Give the ids of the documents that a filter keeps, in no order; see `indexing.filters.parse_filter`.

        Raises
        ------
        InputError
            For a field that was not declared when the collection was made, or an operator it does not have.
        """
        return self.documents.matching(parse_filter(filter, self.manifest.fields), self.manifest.fields)

    def stats(self) -> Stats:
        """Say what there is, and how much room it takes."""
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
        """Let a reader take over what was committed since it was opened."""
        self.manifest = read_manifest(self.path)
        for name, index in list(self._open.items()):
            if name not in self.manifest.legs or index.path.name != self.leg(name).folder:
                index.close()
                del self._open[name]
            elif not isinstance(index, QdrantIndex):  # which answers from what is there
                index.refresh()

    def close(self) -> None:
        """Close the store and every index that was opened."""
        for index in self._open.values():
            index.close()
        self._open.clear()
        self.documents.close()

    def __len__(self) -> int:
        return len(self.documents)

    def _folder(self, leg: Leg) -> Path:
        return self.path / "legs" / leg.folder
