"""IdTable: the id at each position of a vector index; appends cost no time for the other ids."""

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from indexing.hits import StringArray, string_array


class IdTable:
    """Ids by position and positions by id.

    An empty string marks a tombstone: a position whose vector is deleted but still stored. An array returned by
    `strings` never changes: appends go into spare room behind it, and other changes copy it first.
    """

    def __init__(self, ids: Sequence[str] | StringArray = ()) -> None:
        self._strings = string_array(ids)
        self._count = len(self._strings)
        self._lent = False
        self._positions: dict[str, int] | None = None
        self._dead = int(np.count_nonzero(self._strings == "")) if self._count else 0

    @property
    def strings(self) -> StringArray:
        """Id of each position, object [positions]; the array does not change later."""
        self._lent = True
        return self._strings[: self._count]

    @property
    def dead(self) -> int:
        """Number of tombstones."""
        return self._dead

    @property
    def living(self) -> int:
        """Number of positions that are not tombstones."""
        return self._count - self._dead

    def alive(self) -> NDArray[np.bool_]:
        """Return the mask of positions that are not tombstones, bool [positions]."""
        return np.asarray(self._strings[: self._count] != "", dtype=np.bool_)

    def positions(self, ids: Iterable[str]) -> NDArray[np.int64]:
        """Return the position of each id, -1 for an unknown one."""
        lookup = self._lookup()
        return np.fromiter((lookup.get(doc_id, -1) for doc_id in ids), np.int64)

    def append(self, ids: Sequence[str]) -> None:
        """Append new ids."""
        start, self._count = self._count, self._count + len(ids)
        if self._count > len(self._strings):
            larger = np.empty(max(self._count, 2 * start), dtype=object)
            larger[:start] = self._strings[:start]
            self._strings, self._lent = larger, False
        self._strings[start : self._count] = ids
        if self._positions is not None:
            self._positions.update(zip(ids, range(start, self._count), strict=True))

    def bury(self, positions: NDArray[np.int64]) -> None:
        """Turn these distinct, living positions into tombstones."""
        lookup = self._lookup()
        for doc_id in self._strings[positions]:
            del lookup[doc_id]
        self._own()
        self._strings[positions] = ""
        self._dead += len(positions)

    def __contains__(self, doc_id: object) -> bool:
        return doc_id in self._lookup()

    def __len__(self) -> int:
        return self._count

    def _own(self) -> None:
        if self._lent:
            self._strings, self._lent = self._strings[: self._count].copy(), False

    def _lookup(self) -> dict[str, int]:
        if self._positions is None:
            strings = self._strings[: self._count].tolist()
            self._positions = {doc_id: position for position, doc_id in enumerate(strings) if doc_id}
        return self._positions
