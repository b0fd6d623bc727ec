"""FaissIndex: a vector index on FAISS, exact or approximate, with string ids, upserts, deletes and filters."""

from collections.abc import Mapping, Sequence
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from indexing.documents import check_ids
from indexing.errors import InputError, StorageError
from indexing.filters import FilterLike
from indexing.hits import Hits
from indexing.indexes.base import MatchingIds
from indexing.indexes.faiss import files as faiss_files
from indexing.indexes.faiss import kinds as faiss_kinds
from indexing.indexes.faiss import search as faiss_search
from indexing.indexes.faiss import storage as faiss_storage
from indexing.indexes.faiss.files import Stored
from indexing.indexes.faiss.kinds import FaissSettings
from indexing.indexes.faiss.parts import Part, Parts
from indexing.indexes.faiss.rescored import SignSearch
from indexing.indexes.id_table import IdTable
from indexing.indexes.placed import PlacedIndex
from indexing.indexes.settings_json import SETTINGS
from indexing.indexes.vectors import check_vectors, normalised
from indexing.inputs import local_path, whole_number
from indexing.plurals import counted

REBUILD_AT = 0.25
"""Replaced and deleted vectors are kept as tombstones; beyond this share of them, `commit` drops them."""
MERGE_AT, MERGE_GRAPHS_AT = 0.25, 0.1
"""When later parts exceed this share of the first, `commit` merges them into it; codes in one array, and others.

Searching later parts costs nothing more in one array of codes. Each graph or set of inverted lists is searched apart.
"""
FEW_QUERIES = 20
"""From so many queries at once on, FAISS multiplies matrices."""
SCAN_BELOW = 0.1
"""When at most this share of the vectors is allowed, they are compared with the query one by one: exact.

Measured on 50,000 clustered vectors of 384: of the true top ten an HNSW search (ef_search 128) among 1% of the
vectors finds .51, among 2% .66, 5% .84, 10% .97, 20% all.
"""


class FaissIndex(PlacedIndex):
    """Dense vectors under string ids.

    What was committed is mapped into memory and never changes. New vectors go to a later part of the same kind, which
    is searched beside the first and is all that a commit writes. One array of codes (Flat, SQ, PQ) has several later
    parts; a graph or inverted lists have one, which grows. `commit` merges later parts into the first beyond a share
    (`MERGE_AT`), `optimize` at once.

    An `upsert` replaces the vector of an id that exists. The old vector stays as a tombstone that no search returns;
    `commit` drops tombstones when they exceed `REBUILD_AT` of all vectors, `optimize` at once. Merging and dropping are
    exact for arrays of codes, inverted lists of whole vectors and graphs over whole vectors. Where a graph or a refined
    index keeps quantised vectors, these are decoded and encoded once more, which a fresh build avoids.

    FAISS keeps no metadata: `matching` answers filters.
    """

    kind = "faiss"

    def __init__(
        self,
        path: Path,
        stored: Stored,
        parts: Sequence[Part],
        ids: IdTable,
        *,
        read_only: bool = False,
        matching: MatchingIds | None = None,
    ) -> None:
        super().__init__(path, ids, read_only=read_only, matching=matching)
        self.settings = stored.settings
        self._stored, self._sequence = stored, stored.sequence
        self._parts = Parts(path, stored.settings, parts, learning=stored.learning)
        self._buried = self._finishing = False

    @classmethod
    def create(cls, path: str | Path, dimension: int, *, matching: MatchingIds | None = None, **settings: Any) -> Self:
        """Make an empty index in a folder that holds none.

        Parameters
        ----------
        path
            The folder.
        dimension
            Length of a vector.
        matching
            Answers the filters of searches: from a filter to the ids that it keeps.
        **settings
            As in `FaissSettings`.
        """
        path = local_path(path, "path")
        chosen = FaissSettings(dimension, **settings)
        if (path / SETTINGS).exists():
            raise StorageError(f"{path} already holds an index: open it, or remove the folder first")
        path.mkdir(parents=True, exist_ok=True)
        learning = faiss_kinds.needs_training(chosen)
        index = faiss_kinds.make_flat(dimension) if learning else faiss_kinds.make(chosen, 0)
        return cls(path, Stored(chosen, learning=learning), [Part(index)], IdTable(), matching=matching)

    @classmethod
    def open(cls, path: str | Path, *, read_only: bool = False, matching: MatchingIds | None = None) -> Self:
        """Open the last committed state, mapped into memory: processes share it, and only what is used is read.

        Parameters
        ----------
        path
            The folder.
        read_only
            Refuse changes. Later commits of others are visible after `refresh`.
        matching
            As for `create`.

        Raises
        ------
        StorageError
            When there is no index, or it cannot be read.
        """
        path = local_path(path, "path")
        stored, parts, ids = faiss_files.read_newest(path)
        return cls(path, stored, parts, IdTable(ids), read_only=read_only, matching=matching)

    def upsert(
        self, ids: Sequence[str], rows: NDArray[np.floating], metadata: Sequence[Mapping[str, Any]] | None = None
    ) -> None:
        """Store vectors [n, dimension] under their ids; `metadata` is not kept. Errors as in `Index.upsert`."""
        self._check_writable()
        if not len(ids) and not len(rows):
            return
        rows = self._checked(rows, ids)
        if len(ids) != len(rows):
            raise InputError(f"{counted(len(ids), 'id')} for {counted(len(rows), 'vector')}")
        check_ids(ids)
        places = self._ids.positions(ids)
        if (places >= 0).any():
            start = len(self._ids) - self._parts.last.size
            inside = (places >= start) & self._parts.last.growing & self._parts.in_place
            if inside.any():
                faiss_storage.overwrite(self._parts.last.index, places[inside] - start, rows[inside])
            self._bury(places[(places >= 0) & ~inside])
            ids, rows = [doc_id for doc_id, known in zip(ids, inside, strict=True) if not known], rows[~inside]
        if len(rows):
            self._parts.growing.index.add(rows)
            self._ids.append(ids)
        self._parts.forget()
        if self._parts.learning and len(self) >= self.settings.training_sample:
            self.train()
        elif not self._parts.in_place and self._parts.later > MERGE_GRAPHS_AT * self._parts.first.size:
            self._merge()  # at once, so that vectors of a large write are not indexed twice

    def delete(self, ids: Sequence[str]) -> int:
        """Remove these ids, ignore unknown ones, and return how many existed."""
        places = self._places_to_delete(ids)
        if not len(places):
            return 0
        self._bury(places)
        self._parts.forget()
        return len(places)

    def train(self) -> None:
        """Train a kind that learns from data on the present vectors (see `training_sample`).

        Raises
        ------
        InputError
            When FAISS needs more vectors than there are.
        """
        self._check_writable()
        if not self._parts.learning:
            return
        alive = self._ids.alive()
        rows = self._parts.read(np.flatnonzero(alive))
        count = min(len(rows), self.settings.training_sample)
        sample = rows[np.sort(np.random.default_rng(0).choice(len(rows), count, replace=False))]
        index = faiss_kinds.make(self.settings, count)
        try:
            index.train(sample)
        except RuntimeError as error:
            reason = str(error).rpartition("failed: ")[2] or str(error)
            raise InputError(
                f"the index {self.path} cannot learn from {counted(count, 'vector')} ({reason}): "
                "add more before training, or choose fewer clusters"
            ) from error
        index.add(rows)
        self._parts = Parts(self.path, self.settings, [Part(index)], learning=False)
        self._ids = IdTable(self._ids.strings[alive])

    def search(self, queries: NDArray[np.floating], k: int, filter: FilterLike | None = None) -> Hits:
        """Return the `k` best of each query vector [queries, dimension] (or of one, [dimension]).

        Scores are inner products (of normalised vectors for cosine), float32. ``flat`` resolves ties at the cutoff by
        doc_id; approximate kinds only among what they return. Where a filter keeps at most `SCAN_BELOW` of all
        vectors, those are compared one by one, which is exact for kinds that keep whole vectors.

        Raises
        ------
        InputError
            As `Index.search`; for a filter where nothing answers it.
        """
        self._check_open()
        k = whole_number(k, "k")
        vectors = self._checked(np.atleast_2d(queries))
        places = None if filter is None else np.unique(self._matching_places(filter))
        wanted = min(k, len(self) if places is None else len(places))
        if not wanted or not len(vectors):
            return Hits.empty(len(vectors))
        allowed = None
        if places is not None:
            if len(places) <= SCAN_BELOW * len(self) or not faiss_kinds.selects(self._parts.first.index):
                return faiss_search.scan(self._parts.read, vectors, places, wanted, self._ids.strings)
            allowed = np.zeros(len(self._ids), np.bool_)
            allowed[places] = True
        codes, scores = [], []
        for part, start in self._parts.placed():
            part_scores, positions = self._search_part(part, start, vectors, wanted, allowed)
            scores.append(part_scores)
            codes.append(np.where(positions >= 0, positions + start, -1))
        every, columns = np.concatenate(scores, axis=1).ravel(), np.concatenate(codes, axis=1)
        rows = np.repeat(np.arange(len(vectors)), columns.shape[1])
        found = columns.ravel() >= 0
        return Hits.ranked(len(vectors), rows[found], columns.ravel()[found], every[found], self._ids.strings, wanted)

    def score(self, queries: NDArray[np.floating], doc_ids: Sequence[Sequence[str]]) -> NDArray[np.float32]:
        """Score given candidates as `Index.score`; quantised kinds score the decoded vectors."""
        self._check_open()
        vectors = self._checked(np.atleast_2d(queries))
        if len(vectors) != len(doc_ids):
            raise InputError(f"{counted(len(doc_ids), 'list')} of candidates for {counted(len(vectors), 'query')}")
        rows = np.repeat(np.arange(len(vectors)), [len(ids) for ids in doc_ids])
        places = self._known(list(chain.from_iterable(doc_ids)))
        return faiss_storage.pair_scores(self._parts.read, places, vectors, rows)

    def vectors(self, ids: Sequence[str]) -> NDArray[np.float32]:
        """Return the stored vectors [n, dimension] of these ids.

        Raises
        ------
        InputError
            For an id that is not there.
        """
        self._check_open()
        return self._parts.read(self._known(ids))

    def finish_indexing(self) -> None:
        """Let the next commit put down the memory of what it writes: later vectors then go to a part of their own."""
        self._finishing = True

    def optimize(self) -> None:
        """Merge all parts, and drop all tombstones."""
        self._check_writable()
        self._finishing = True
        if self._parts.later:
            self._merge()
        if not self._ids.dead:
            return
        alive = self._ids.alive()
        self._parts.drop(alive)
        self._ids = IdTable(self._ids.strings[alive])

    def _commit(self, sequence: int) -> None:
        """Write the parts that changed; an unchanged index rewrites its settings only."""
        share = MERGE_AT if self._parts.in_place else MERGE_GRAPHS_AT
        if self._ids.dead > REBUILD_AT * len(self._ids):
            self.optimize()
        elif self._parts.later > share * self._parts.first.size:
            self._merge()
        elif self._parts.in_place:
            self._parts.join_small()
        number, deleted, written = self._stored.largest, self._stored.deleted, False
        for part, start in self._parts.placed():
            if not part.number:
                number, written = number + 1, True
                faiss_files.write_part(self.path, number, part.index, self._ids.strings[start : start + part.size])
                part.number = number
        if self._buried or (written and deleted):
            number += 1
            positions = np.flatnonzero(~self._ids.alive())
            deleted = number if len(positions) else 0
            if len(positions):
                faiss_files.write_deleted(self.path, deleted, positions)
        first, *later = (part.number for part, _ in self._parts.placed())
        self._stored = Stored(self.settings, first, sequence, self._parts.learning, tuple(later), deleted)
        faiss_files.write_settings(self.path, self._stored, len(self))
        self._sequence, self._buried = sequence, False
        faiss_files.remove_unnamed(self.path, self._stored)
        if self._finishing or self._parts.in_place:
            self._parts.put_down()
        self._finishing = False

    def refresh(self) -> bool:
        """Load what another process has committed since; return whether something changed."""
        self._check_open()
        if faiss_files.read_settings(self.path) == self._stored:
            return False
        newer = type(self).open(self.path, read_only=self.read_only)
        self._stored, self._parts, self._ids = newer._stored, newer._parts, newer._ids
        self._sequence, self._buried = newer._sequence, False
        return True

    def close(self) -> None:
        """Release the memory; uncommitted changes are lost."""
        self._lifetime.closed = True
        empty = Part(faiss_kinds.make_flat(self.settings.dimension))
        self._parts, self._ids = Parts(self.path, self.settings, [empty], learning=True), IdTable()

    @property
    def memory_bytes(self) -> int:
        """Bytes of codes, graph and list numbers: held while it grows, else mapped. Ids come on top."""
        parts = (part for part, _ in self._parts.placed() if part.growing or self.read_only)
        return sum(faiss_storage.memory_bytes(part.index) for part in parts)

    def __contains__(self, doc_id: object) -> bool:
        self._check_open()
        return doc_id in self._ids

    def _search_part(
        self, part: Part, start: int, vectors: NDArray[np.float32], k: int, allowed: NDArray[np.bool_] | None
    ) -> faiss_search.ScoredPositions:
        """Search one part for the best `k` of those that are `allowed`, or else not tombstones."""
        mask: NDArray[np.bool_] | None = None
        selector: Any = None
        if allowed is not None:
            mask = allowed[start : start + part.size]
            selector = faiss_kinds.selector(mask)
        elif self._ids.dead:
            mask, selector = self._parts.alive(part, start, self._ids.alive)
        exact = self._parts.learning or self.settings.kind == "flat"
        parameters = partial(faiss_kinds.search_parameters, part.index, self.settings, selector=selector)
        searched = SignSearch(part.index, self.settings) if self.settings.kind == "binary" and not exact else part.index
        # FAISS multiplies matrices, unless it is given a selector.
        past = exact and allowed is None and len(vectors) >= FEW_QUERIES
        return faiss_search.search_part(searched, vectors, k, mask, parameters, exact=exact, past=past)

    def _merge(self) -> None:
        """Make one part of all."""
        kept = self._parts.merge(self._ids.alive())
        if not kept.all():
            self._ids = IdTable(self._ids.strings[kept])

    def _bury(self, places: NDArray[np.int64]) -> None:
        if len(places):
            self._ids.bury(places)
            self._buried = True

    def _checked(self, vectors: NDArray[np.floating], ids: Sequence[str] | None = None) -> NDArray[np.float32]:
        rows = check_vectors(vectors, self.settings.dimension, self.path, ids)
        return normalised(rows) if self.settings.metric == "cosine" else rows
