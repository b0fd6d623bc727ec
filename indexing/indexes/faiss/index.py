"""FaissIndex: a vector index on FAISS, exact or approximate, with string ids, upserts, deletes and filters."""

from collections.abc import Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from indexing.documents import check_ids
from indexing.errors import InputError, StorageError
from indexing.filters import FilterLike
from indexing.hits import Hits
from indexing.indexes.base import Index, MatchingIds
from indexing.indexes.faiss import files as faiss_files
from indexing.indexes.faiss import kinds as faiss_kinds
from indexing.indexes.faiss import search as faiss_search
from indexing.indexes.faiss import storage as faiss_storage
from indexing.indexes.faiss.kinds import FaissSettings
from indexing.indexes.faiss.rescored import SignSearch
from indexing.indexes.id_table import IdTable
from indexing.indexes.settings_json import SETTINGS
from indexing.indexes.vectors import check_vectors, normalised
from indexing.inputs import local_path, whole_number
from indexing.plurals import counted

if TYPE_CHECKING:
    import faiss

REBUILD_AT = 0.25
"""Kinds that cannot remove keep deleted vectors as tombstones; beyond this share of them, `commit` drops them."""
SCAN_BELOW = 0.1
"""When at most this share of the vectors is allowed, they are compared with the query one by one: exact.

Measured on 50,000 clustered vectors of 384: of the true top ten an HNSW search (ef_search 128) among 1% of the
vectors finds .51, among 2% .66, 5% .84, 10% .97, 20% all.
"""


class FaissIndex(Index):
    """Dense vectors under string ids.

    An `upsert` replaces the vector of an id that exists. One array of codes (Flat, SQ, PQ) is changed in place. Other
    kinds keep the old vector as a tombstone that no search returns; `commit` drops tombstones when they exceed
    `REBUILD_AT` of all vectors, `optimize` at once. Dropping them is exact for inverted lists and for graphs over whole
    vectors. Where a graph or a refined index keeps quantised vectors, these are decoded and encoded once more, which a
    fresh build avoids.

    FAISS keeps no metadata: `matching` answers filters.
    """

    kind = "faiss"

    def __init__(
        self,
        path: Path,
        settings: FaissSettings,
        index: "faiss.Index",
        ids: IdTable,
        *,
        generation: int = 0,
        sequence: int = 0,
        learning: bool = False,
        read_only: bool = False,
        matching: MatchingIds | None = None,
    ) -> None:
        super().__init__(path, read_only=read_only)
        self.settings = settings
        self._index, self._ids = index, ids
        self._generation, self._sequence = generation, sequence
        self._matching = matching
        self._learning = learning
        self._changed = generation == 0
        self._alive: Any = None

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
        return cls(path, chosen, index, IdTable(), learning=learning, matching=matching)

    @classmethod
    def open(cls, path: str | Path, *, read_only: bool = False, matching: MatchingIds | None = None) -> Self:
        """Open the last committed state.

        Parameters
        ----------
        path
            The folder.
        read_only
            Map the vectors into memory instead of reading them: opening is immediate, processes share the pages, and
            only what is searched is read. Later commits of others are visible after `refresh`.
        matching
            As for `create`.

        Raises
        ------
        StorageError
            When there is no index, or it cannot be read.
        """
        path = local_path(path, "path")
        stored, index, ids = faiss_files.read_newest(path, mapped=read_only)
        return cls(
            path,
            stored.settings,
            index,
            IdTable(ids),
            generation=stored.generation,
            sequence=stored.sequence,
            learning=stored.learning,
            read_only=read_only,
            matching=matching,
        )

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
        there = places >= 0
        if there.any():
            if faiss_storage.changes_in_place(self._index):
                faiss_storage.overwrite(self._index, places[there], rows[there])
                ids, rows = [doc_id for doc_id, known in zip(ids, there, strict=True) if not known], rows[~there]
            else:
                self._ids.bury(places[there])
        if len(rows):
            self._index.add(rows)
            self._ids.append(ids)
        self._touch()
        if self._learning and len(self) >= self.settings.training_sample:
            self.train()

    def delete(self, ids: Sequence[str]) -> int:
        """Remove these ids, ignore unknown ones, and return how many existed."""
        self._check_writable()
        if isinstance(ids, str):
            raise InputError(f"ids must be a list of ids, not the string {ids!r}")
        places = np.unique(self._ids.positions(ids))
        places = places[places >= 0]
        if not len(places):
            return 0
        if faiss_storage.changes_in_place(self._index):
            holes, movers = self._ids.swap_out(places)
            faiss_storage.move_and_truncate(self._index, holes, movers, len(self._ids))
        else:
            self._ids.bury(places)
        self._touch()
        return len(places)

    def train(self) -> None:
        """Train a kind that learns from data on the present vectors (see `training_sample`).

        Raises
        ------
        InputError
            When FAISS needs more vectors than there are.
        """
        self._check_writable()
        if not self._learning:
            return
        rows = faiss_storage.read(self._index, np.arange(self._index.ntotal))
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
        self._index, self._learning = index, False
        self._touch()

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
        places = None if filter is None else self._matching_places(filter)
        wanted = min(k, len(self) if places is None else len(places))
        if not wanted or not len(vectors):
            return Hits.empty(len(vectors))
        if places is not None and len(places) <= SCAN_BELOW * len(self):
            return faiss_search.scan(self._index, vectors, places, wanted, self._ids.strings)
        selector = self._selector(places)
        parameters = faiss_kinds.search_parameters(self._index, self.settings, wanted, selector)
        if selector is not None and parameters is None:
            if places is not None:
                return faiss_search.scan(self._index, vectors, places, wanted, self._ids.strings)
            scores, codes = faiss_search.search_past_deleted(self._searched(), vectors, wanted, self._ids.alive())
        elif self._is_exact():
            most = len(self) if places is None else len(places)
            scores, codes = faiss_search.search_all_ties(self._index, vectors, wanted, parameters, most)
        else:
            scores, codes = self._searched().search(vectors, wanted, params=parameters)
        rows = np.repeat(np.arange(len(vectors)), codes.shape[1])
        found = codes.ravel() >= 0
        return Hits.ranked(
            len(vectors), rows[found], codes.ravel()[found], scores.ravel()[found], self._ids.strings, wanted
        )

    def score(self, queries: NDArray[np.floating], doc_ids: Sequence[Sequence[str]]) -> NDArray[np.float32]:
        """Score given candidates as `Index.score`; quantised kinds score the decoded vectors."""
        self._check_open()
        vectors = self._checked(np.atleast_2d(queries))
        if len(vectors) != len(doc_ids):
            raise InputError(f"{counted(len(doc_ids), 'list')} of candidates for {counted(len(vectors), 'query')}")
        rows = np.repeat(np.arange(len(vectors)), [len(ids) for ids in doc_ids])
        places = self._known(list(chain.from_iterable(doc_ids)))
        return faiss_storage.pair_scores(self._index, places, vectors, rows)

    def vectors(self, ids: Sequence[str]) -> NDArray[np.float32]:
        """Return the stored vectors [n, dimension] of these ids.

        Raises
        ------
        InputError
            For an id that is not there.
        """
        self._check_open()
        return faiss_storage.read(self._index, self._known(ids))

    def optimize(self) -> None:
        """Drop all tombstones now."""
        self._check_writable()
        if self._ids.dead:
            alive = self._ids.alive()
            faiss_storage.drop(self._index, alive)
            self._ids = IdTable(self._ids.strings[alive])
            self._touch()

    def commit(self, sequence: int | None = None) -> None:
        """Write the present state to disk as `Index.commit`; an unchanged index rewrites its settings only."""
        self._check_writable()
        if self._ids.dead > REBUILD_AT * len(self._ids):
            self.optimize()
        old = self._generation
        if self._changed:
            faiss_files.write_generation(self.path, old + 1, self._index, self._ids.strings)
            self._generation = old + 1
        number = self._sequence if sequence is None else int(sequence)
        stored = faiss_files.Stored(self.settings, self._generation, number, self._learning)
        faiss_files.write_settings(self.path, stored, len(self))
        self._sequence = number
        if self._changed:
            self._changed = False
            faiss_files.remove_generation(self.path, old)

    def refresh(self) -> bool:
        """Load what another process has committed since; return whether something changed."""
        self._check_open()
        stored = faiss_files.read_settings(self.path)
        if (stored.generation, stored.sequence) == (self._generation, self._sequence):
            return False
        newer = type(self).open(self.path, read_only=self.read_only)
        self._index, self._ids, self._learning = newer._index, newer._ids, newer._learning
        self._generation, self._sequence = newer._generation, newer._sequence
        self._touch()
        self._changed = False
        return True

    def close(self) -> None:
        """Release the memory; uncommitted changes are lost."""
        self._lifetime.closed = True
        self._index, self._ids, self._alive = faiss_kinds.make_flat(self.settings.dimension), IdTable(), None

    @property
    def memory_bytes(self) -> int:
        """Bytes of codes, graph and list numbers; mapped, not held, when open for reading only. Ids come on top."""
        return faiss_storage.memory_bytes(self._index)

    def __len__(self) -> int:
        self._check_open()
        return self._ids.living

    def __contains__(self, doc_id: object) -> bool:
        self._check_open()
        return doc_id in self._ids

    def _matching_places(self, filter: FilterLike) -> NDArray[np.int64]:
        """Return the positions of the documents that a filter keeps."""
        if self._matching is None:
            raise InputError(
                f"the index {self.path} keeps no metadata: search its collection, or open it with matching=…"
            )
        places = np.unique(self._ids.positions(self._matching(filter)))
        return places[places >= 0]

    def _known(self, ids: Sequence[str]) -> NDArray[np.int64]:
        places = self._ids.positions(ids)
        if (places < 0).any():
            missing = ids[int(np.argmin(places))]
            raise InputError(f"the id {missing!r} is not in the index {self.path}")
        return places

    def _searched(self) -> Any:
        """Return what searches: FAISS's index, or one over it that rescores signs."""
        is_signs = self.settings.kind == "binary" and not self._learning
        return SignSearch(self._index, self.settings) if is_signs else self._index

    def _is_exact(self) -> bool:
        return self._learning or self.settings.kind == "flat"

    def _selector(self, places: NDArray[np.int64] | None) -> Any:
        """Return FAISS's selector of these positions, or of all but tombstones; None for everything."""
        import faiss

        if places is not None:
            mask = np.zeros(len(self._ids), dtype=np.bool_)
            mask[places] = True
            return faiss.IDSelectorBitmap(np.packbits(mask, bitorder="little"))
        if self._ids.dead and self._alive is None:
            self._alive = faiss.IDSelectorBitmap(np.packbits(self._ids.alive(), bitorder="little"))
        return self._alive

    def _checked(self, vectors: NDArray[np.floating], ids: Sequence[str] | None = None) -> NDArray[np.float32]:
        rows = check_vectors(vectors, self.settings.dimension, self.path, ids)
        return normalised(rows) if self.settings.metric == "cosine" else rows

    def _touch(self) -> None:
        self._changed, self._alive = True, None
