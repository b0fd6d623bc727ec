"""Parts of a FaissIndex: FAISS indexes of consecutive positions, the first one large and the later ones small.

A commit writes the parts that changed, under new names, so that a small change writes little.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from indexing.indexes.faiss import storage
from indexing.indexes.faiss.files import Part, read_vectors
from indexing.indexes.faiss.kinds import FaissSettings, make, make_flat, needs_training, selector

JOIN_AT = 0.75
"""A later part is joined to the one before it when it has at least this share of its size."""


class Parts:
    """The parts of an index, in the order of their positions; there is always one."""

    def __init__(self, path: Path, settings: FaissSettings, parts: Sequence[Part], *, learning: bool) -> None:
        self.path, self.settings, self.learning = path, settings, learning
        self._parts = list(parts)
        self._alive: dict[tuple[int, int], tuple[NDArray[np.bool_] | None, Any]] = {}

    @property
    def first(self) -> Part:
        """The first part, the largest of those that are written."""
        return self._parts[0]

    @property
    def last(self) -> Part:
        """The part that new vectors are appended to, if it is growing."""
        return self._parts[-1]

    @property
    def total(self) -> int:
        """Number of positions of all parts."""
        return sum(part.size for part in self._parts)

    @property
    def later(self) -> int:
        """Number of positions of all parts but the first."""
        return self.total - self.first.size

    @property
    def in_place(self) -> bool:
        """True if vectors of a growing part can be overwritten, and parts be joined by copying codes."""
        return storage.changes_in_place(self.first.index)

    @property
    def growing(self) -> Part:
        """The part that takes new vectors: the last one, or a new one."""
        if not self.last.growing:
            if self.in_place or self.last is self.first:
                self._parts.append(Part(self._empty()))
            else:
                self.load(self.last)
        self.last.number = 0
        return self.last

    def placed(self) -> Iterator[tuple[Part, int]]:
        """Yield each part with its first position."""
        starts = accumulate((part.size for part in self._parts), initial=0)
        yield from zip(self._parts, starts, strict=False)

    def read(self, positions: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the vectors [positions, dimension], decoded if they are quantised."""
        if len(self._parts) == 1:
            return storage.read(self.first.index, positions)
        rows = np.empty((len(positions), self.first.index.d), np.float32)
        for part, start in self.placed():
            inside = (positions >= start) & (positions < start + part.size)
            if inside.any():
                rows[inside] = storage.read(part.index, positions[inside] - start)
        return rows

    def alive(self, part: Part, start: int, mask: Callable[[], NDArray[np.bool_]]) -> Any:
        """Return the mask of a part's positions that are not tombstones and FAISS's selector of them, both cached.

        Both are None for a part without tombstones.
        """
        place = start, part.size  # an empty part and the next one have the same start
        if place not in self._alive:
            alive = mask()[start : start + part.size]
            self._alive[place] = (None, None) if alive.all() else (alive, selector(alive))
        return self._alive[place]

    def forget(self) -> None:
        """Forget the cached masks: something changed."""
        self._alive.clear()

    def load(self, part: Part) -> None:
        """Read a part into memory, so that it can grow."""
        if not part.growing:
            part.index = read_vectors(self.path, part.number, mapped=False)
            part.growing = True

    def put_down(self) -> None:
        """Map the parts that are written, in place of the memory that they take."""
        for part in self._parts:
            if part.growing:
                part.index = read_vectors(self.path, part.number, mapped=True)
                part.growing = False

    def join_small(self) -> None:
        """Join later parts of similar size, so that few are left; positions stay the same."""
        parts = self._parts
        while len(parts) > 2 and parts[-1].size >= JOIN_AT * parts[-2].size:
            parts[-2:] = [Part(storage.joined(self._empty(), [part.index for part in parts[-2:]]))]
        self.forget()

    def merge(self, alive: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Make one part of all; return the mask of the positions that it keeps.

        Single arrays of codes keep the positions that are `alive`. Others keep all of the first part, and take the
        living vectors of the later ones as new.
        """
        first, kept = self.first, alive
        if self.in_place:
            bounds = np.cumsum([0, *(part.size for part in self._parts)])
            living = [alive[start:stop] for start, stop in pairwise(bounds)]
            first = Part(storage.joined(self._empty(), [part.index for part in self._parts], living))
        else:
            kept = alive.copy()
            kept[: first.size] = True
            rows = self.read(np.flatnonzero(alive[first.size :]) + first.size)
            self.load(first)
            first.number = 0
            if len(rows):
                first.index.add(rows)
        self._parts = [first]
        self.forget()
        return kept

    def drop(self, alive: NDArray[np.bool_]) -> None:
        """Remove the tombstones of the only part."""
        if self.in_place:
            self.merge(alive)
        else:
            self.load(self.first)
            storage.drop(self.first.index, alive)
            self.first.number = 0
            self.forget()

    def _empty(self) -> Any:
        """Return an index without vectors, trained like this one."""
        if self.learning or self.settings.kind == "flat":
            return make_flat(self.settings.dimension)
        if not needs_training(self.settings):
            return make(self.settings, 0)
        written = [part.number for part in self._parts if not part.growing]
        empty = read_vectors(self.path, written[-1], mapped=False) if written else storage.copied(self.first.index)
        empty.reset()
        return empty
