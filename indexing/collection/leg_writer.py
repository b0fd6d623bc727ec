"""LegWriter: one leg of a collection, open for writing; it takes batches, commits them and replays the journal."""

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import numpy as np

from indexing.collection.legs import apply, create_index, file_sums, open_index
from indexing.collection.manifest import Leg
from indexing.collection.shards import Shards
from indexing.collection.store import DocumentStore
from indexing.documents import Document
from indexing.errors import StorageError
from indexing.filters import Fields
from indexing.indexes.base import Index, Lookups
from indexing.progress import progress

COMMIT_SHARE = 0.05
"""Largest share of the time that commits may take."""


class LegWriter:
    """One leg's index with its entry in the manifest.

    Parameters
    ----------
    path
        The collection.
    name, leg
        The leg and its entry in the manifest.
    index
        Its index, open for writing.
    shards
        Its encoded documents; None when it indexes the text itself.
    commit_seconds
        Seconds between commits while writing; more where a commit takes long.
    """

    def __init__(
        self, path: Path, name: str, leg: Leg, index: Index, shards: Shards | None, *, commit_seconds: float
    ) -> None:
        self.path, self.name, self.leg, self.index, self.shards = path, name, leg, index, shards
        self.seconds = 0.0
        self._commit_seconds = commit_seconds
        self._due = time.monotonic() + commit_seconds

    @classmethod
    def create(
        cls,
        path: Path,
        name: str,
        leg: Leg,
        shards: Shards | None,
        *,
        fields: Fields,
        commit_seconds: float,
        lookups: Lookups,
    ) -> Self:
        """Make an empty index."""
        index = create_index(leg, path / "legs" / leg.folder, path / "shards" / name, fields, lookups)
        index.commit(0)
        return cls(path, name, leg, index, shards, commit_seconds=commit_seconds)

    @classmethod
    def open(
        cls,
        path: Path,
        name: str,
        leg: Leg,
        shards: Shards | None,
        *,
        commit_seconds: float,
        lookups: Lookups,
    ) -> Self:
        """Open the index as it was last committed."""
        index = open_index(leg, path / "legs" / leg.folder, read_only=False, lookups=lookups)
        return cls(path, name, leg, index, shards, commit_seconds=commit_seconds)

    def upsert(self, documents: Sequence[Document], rows: Any, sequence: int) -> None:
        """Write a batch; `sequence` is the last write that the index contains with it."""
        start = time.perf_counter()
        apply(self.index, documents, rows)
        self._commit_when_due(sequence)
        self.seconds += time.perf_counter() - start

    def delete(self, ids: Sequence[str], sequence: int) -> None:
        """Remove these ids."""
        self.index.delete(ids)
        self._commit_when_due(sequence)

    def catch_up(self, store: DocumentStore, *, show_progress: bool, resumable: bool = True) -> None:
        """Replay what was written and deleted since the index was committed, in the order of the journal.

        Parameters
        ----------
        store
            The store with the journal.
        show_progress
            Show a progress bar.
        resumable
            Commit from time to time; otherwise all or nothing.

        Raises
        ------
        StorageError
            When the journal does not reach back to this index.
        """
        after, last = self.index.sequence, store.sequence
        if not (store.purged <= after <= last or after == 0):
            raise StorageError(
                f"the leg {self.name!r} of {self.path} holds the writes up to {after}, the journal those from "
                f"{store.purged} to {last}: rebuild it with `retrieve verify {self.path} --repair`"
            )
        if after == last:
            return
        with progress(desc=f"indexing {self.name}", unit="doc", disable=not show_progress) as bar:
            held = after
            for sequence, changes in store.changes(after):
                if resumable and held > after:
                    self._commit_when_due(held)
                numbers = np.array([change.number for change in changes], np.int64)
                rows = None if self.shards is None else self.shards.read(numbers)
                apply(self.index, [change.document for change in changes], rows)
                self._delete_again(store, held, sequence)
                held = sequence
                bar.update(len(changes))
        self._delete_again(store, held, last)
        if resumable:
            # All writes, also deletes after the last document's: a lower number would name a state that lacks them.
            self._commit_when_due(last)

    def commit(self, sequence: int) -> Leg:
        """Make everything that the index contains durable; return its entry for the manifest."""
        if self.index.sequence != sequence:
            self.index.finish_indexing()
            self._commit(sequence)
        # Before the files: counting lets Lucene release those of the previous state.
        count = len(self.index)
        folder = self.path / "legs" / self.leg.folder
        files = file_sums(folder, self.index.files(), self.leg.files)
        size = self.index.size_bytes
        self.leg = replace(self.leg, count=count, sequence=sequence, bytes=size, files=files)
        return self.leg

    def close(self) -> None:
        """Close the index; uncommitted writes remain in the journal."""
        self.index.close()

    def _delete_again(self, store: DocumentStore, after: int, upto: int) -> None:
        for ids in store.deletes(after, upto):
            self.index.delete(ids)

    def _commit_when_due(self, sequence: int) -> None:
        if time.monotonic() >= self._due:
            self._commit(sequence)

    def _commit(self, sequence: int) -> None:
        start = time.monotonic()
        self.index.commit(sequence)
        end = time.monotonic()
        self._due = end + max(self._commit_seconds, (end - start) / COMMIT_SHARE)
