"""PlacedIndex: what kinds have in common whose documents have positions in arrays of their own."""

from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from indexing.disk import writing
from indexing.errors import InputError
from indexing.filters import FilterLike
from indexing.indexes.base import Index, MatchingIds
from indexing.indexes.id_table import IdTable


class PlacedIndex(Index):
    """An index with an `IdTable`, which names its positions; it keeps no metadata, so `matching` answers filters."""

    def __init__(self, path: Path, ids: IdTable, *, read_only: bool, matching: MatchingIds | None) -> None:
        super().__init__(path, read_only=read_only)
        self._ids, self._matching = ids, matching

    def commit(self, sequence: int | None = None) -> None:
        """Write what changed as `Index.commit`; raise `StorageError` when the disk is full."""
        self._check_writable()
        with writing(f"the index {self.path}"):
            self._commit(self._sequence if sequence is None else int(sequence))

    @abstractmethod
    def _commit(self, sequence: int) -> None:
        """Write what changed, the settings last."""

    def __len__(self) -> int:
        self._check_open()
        return self._ids.living

    def _places_to_delete(self, ids: Sequence[str]) -> NDArray[np.int64]:
        """Return the distinct positions of ids, without unknown ones; raise for a single string and where read-only."""
        self._check_writable()
        if isinstance(ids, str):
            raise InputError(f"ids must be a list of ids, not the string {ids!r}")
        places = np.unique(self._ids.positions(ids))
        return places[places >= 0]

    def _matching_places(self, filter: FilterLike) -> NDArray[np.int64]:
        """Return the positions of the documents that a filter keeps; raise `InputError` where nothing answers it."""
        if self._matching is None:
            raise InputError(
                f"the index {self.path} keeps no metadata: search its collection, or open it with matching=…"
            )
        places = self._ids.positions(self._matching(filter))
        return places[places >= 0]

    def _known(self, ids: Sequence[str]) -> NDArray[np.int64]:
        """Return the position of each id; raise `InputError` for an unknown one."""
        places = self._ids.positions(ids)
        if (places < 0).any():
            raise InputError(f"the id {ids[int(np.argmin(places))]!r} is not in the index {self.path}")
        return places
