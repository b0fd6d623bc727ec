"""TokenIndex: documents of several vectors each, found by MaxSim, with upserts, deletes and filters."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from indexing.disk import save_strings, sync
from indexing.documents import check_ids
from indexing.errors import InputError, StorageError
from indexing.filters import FilterLike
from indexing.hits import Hits, best_with_ties
from indexing.indexes.array_files import first_small
from indexing.indexes.base import MatchingIds, StoredRows
from indexing.indexes.id_table import IdTable
from indexing.indexes.placed import PlacedIndex
from indexing.indexes.settings_json import SETTINGS
from indexing.indexes.tokens import files, search
from indexing.indexes.tokens.codebook import CODES_ONLY, Codebook
from indexing.indexes.tokens.files import Stored, TokenSettings
from indexing.indexes.tokens.segment import TOKENS_AT_ONCE, Segment
from indexing.indexes.tokens.stored import StoredVectors
from indexing.indexes.vectors import check_token_vectors
from indexing.inputs import local_path, require_positive
from indexing.max_sim import EMPTY_SCORE
from indexing.plurals import counted
from indexing.token_vectors import TokenVectors

FLUSH_BYTES = 64 * 1024 * 1024
"""Vectors that wait in memory; more are written to a segment before the next commit."""
COMPACT_AT = 0.25
"""`commit` drops deleted documents when they exceed this share."""
SCAN_BELOW = 0.05
"""When at most this share of the documents is allowed, each of them is scored."""
DEEPER = 4
"""At least this many documents get their full score for each hit that is asked for."""


class TokenIndex(PlacedIndex):
    """Token vectors under string ids, compared by MaxSim.

    A score is MaxSim over the vectors as they are kept: in float16 until centroids are learned, then in `bits` a
    dimension. With 0 bits the index keeps none, and reads those that its collection stores. A document without vectors
    is stored, but is never a hit.

    Few documents are all compared with a query. From `train_at` on, the commit learns centroids. A query vector then
    finds the documents of its nearest centroids, and the `candidates` that look best get their full score.

    Documents are in segments, immutable files that are mapped into memory. A commit writes one for what is new, and
    merges small ones. The filters of searches are answered by `matching`.
    """

    kind = "tokens"

    def __init__(
        self,
        path: Path,
        stored: Stored,
        ids: IdTable,
        book: Codebook | None = None,
        segments: Sequence[Segment] = (),
        *,
        read_only: bool = False,
        matching: MatchingIds | None = None,
        stored_rows: StoredRows | None = None,
    ) -> None:
        super().__init__(path, ids, read_only=read_only, matching=matching)
        self.settings = stored.settings
        self._stored, self._book, self._segments = stored, book, list(segments)
        self._sequence, self._stored_rows = stored.sequence, stored_rows
        self._vectors: StoredVectors | None = None
        self._waiting: list[TokenVectors] = []
        self._bytes_waiting = 0
        self._changed = not stored.ids
        self._next = max([stored.last, *stored.segments]) + 1  # a number is never used again
        self._findable_mask: NDArray[np.bool_] | None = None
        self._all_lengths: NDArray[np.int64] | None = None

    @classmethod
    def create(
        cls,
        path: str | Path,
        dimension: int,
        *,
        matching: MatchingIds | None = None,
        stored_rows: StoredRows | None = None,
        **settings: Any,
    ) -> Self:
        """Make an empty index in a folder that holds none; `settings` as in `TokenSettings`, others as in `Making`."""
        path = local_path(path, "path")
        chosen = TokenSettings(dimension, **settings)
        if (path / SETTINGS).exists():
            raise StorageError(f"{path} already holds an index: open it, or remove the folder first")
        path.mkdir(parents=True, exist_ok=True)
        return cls(path, Stored(chosen), IdTable(), matching=matching, stored_rows=stored_rows)

    @classmethod
    def open(
        cls,
        path: str | Path,
        *,
        read_only: bool = False,
        matching: MatchingIds | None = None,
        stored_rows: StoredRows | None = None,
    ) -> Self:
        """Open the last committed state.

        Raises
        ------
        StorageError
            When there is no index, or it cannot be read.
        """
        path = local_path(path, "path")
        stored, ids, book, segments = files.read_newest(path)
        if not read_only:
            files.remove_unnamed(path, stored)
        given: dict[str, Any] = {"read_only": read_only, "matching": matching, "stored_rows": stored_rows}
        return cls(path, stored, IdTable(ids), book, segments, **given)

    def upsert(self, ids: Sequence[str], rows: Any, metadata: Sequence[Mapping[str, Any]] | None = None) -> None:
        """Store `TokenVectors` under their ids; `metadata` is not kept. Errors as in `Index.upsert`."""
        self._check_writable()
        vectors = check_token_vectors(rows, self.settings.dimension, self.path, ids)
        if len(ids) != vectors.texts:
            raise InputError(f"{counted(len(ids), 'id')} for the token vectors of {counted(vectors.texts, 'document')}")
        check_ids(ids)
        if not ids:
            return
        places = self._ids.positions(ids)
        self._ids.bury(places[places >= 0])
        self._ids.append(ids)
        self._waiting.append(vectors._replace(vectors=vectors.vectors.astype(np.float16)))
        self._bytes_waiting += self._waiting[-1].vectors.nbytes
        self._touch()
        if self._bytes_waiting >= FLUSH_BYTES:
            self._flush()

    def delete(self, ids: Sequence[str]) -> int:
        """Remove these ids, ignore unknown ones, and return how many existed."""
        places = self._places_to_delete(ids)
        if len(places):
            self._ids.bury(places)
            self._touch()
        return len(places)

    def search(self, queries: Any, k: int, filter: FilterLike | None = None) -> Hits:
        """Return the `k` best of each query (`TokenVectors`, or one query's vectors, [tokens, dim]).

        A query without vectors finds nothing. With centroids, `k` documents are found if the query's centroids have
        as many. Errors as in `Index.search`; also for a filter where nothing answers it.
        """
        self._check_open()
        require_positive(k=k)
        vectors = self._queries(queries)
        self._flush()
        allowed = self._allowed(filter)
        count = int(allowed.sum())
        if not count or not vectors.texts:
            return Hits.empty(vectors.texts)
        if self._book is None or count <= max(self.settings.candidates, SCAN_BELOW * len(self)) or DEEPER * k >= count:
            return self._search_all(vectors, k, allowed)
        rows, places, scores = [], [], []
        for row in range(vectors.texts):
            query = vectors.text(row)
            if not len(query):
                continue
            centroid_scores = self._book.centroids @ query.T
            wanted = max(self.settings.candidates, DEEPER * k)
            found = search.find_candidates(centroid_scores, self._segments, self.settings.nprobe, wanted, allowed)
            rows.append(np.full(len(found), row))
            places.append(found)
            scores.append(self._maxima(query, found).sum(axis=1))
        return self._ranked(vectors, rows, places, scores, k)

    def score(self, queries: Any, doc_ids: Sequence[Sequence[str]]) -> NDArray[np.float32]:
        """Score given candidates as `Index.score`; `EMPTY_SCORE` for a document without vectors."""
        self._check_open()
        vectors = self._queries(queries)
        if vectors.texts != len(doc_ids):
            raise InputError(f"{counted(len(doc_ids), 'list')} of candidates for {counted(vectors.texts, 'query')}")
        self._flush()
        places = self._known(list(chain.from_iterable(doc_ids)))
        bounds = np.cumsum([0, *map(len, doc_ids)])
        scores = np.zeros(len(places), np.float32)
        for row in range(vectors.texts):
            part = slice(bounds[row], bounds[row + 1])
            used, back = np.unique(places[part], return_inverse=True)
            scores[part] = self._maxima(vectors.text(row), used).sum(axis=1)[back]
            scores[part] /= self._divisor(len(vectors.text(row)))
        scores[self._lengths()[places] == 0] = EMPTY_SCORE
        return scores

    def vectors(self, ids: Sequence[str]) -> TokenVectors:
        """Return the kept vectors of these ids in float32; raise `InputError` for an unknown one."""
        self._check_open()
        self._flush()
        places = self._known(ids)
        if self.settings.bits == CODES_ONLY:
            stored = self._reader().read(places)
            return stored._replace(vectors=stored.vectors.astype(np.float32))
        return TokenVectors.of(search.decoded(places, self._segments, self._book), self.settings.dimension)

    def optimize(self) -> None:
        """Drop replaced and deleted documents, and join all segments."""
        self._check_writable()
        self._flush()
        if not self._ids.dead and len(self._segments) < 2:
            return
        alive = self._ids.alive()
        bounds = np.cumsum([segment.documents for segment in self._segments])
        living = np.split(alive, bounds[:-1])
        self._ids, self._vectors = IdTable(self._ids.strings[alive]), None
        self._segments = [Segment.join(self.path, self._new(), self._segments, living)] if len(self._ids) else []
        self._touch()

    def _commit(self, sequence: int) -> None:
        """Write what is new, and join small segments; learn centroids when there are enough documents."""
        self._flush()
        stored = replace(self._stored, sequence=sequence)
        if self._ids.dead > COMPACT_AT * len(self._ids):
            self.optimize()
        if self._book is None and len(self) >= self.settings.train_at and self._allowed(None).any():
            stored = replace(stored, codebook=self._train())
        self._merge()
        if self._changed:
            numbers = tuple(segment.number for segment in self._segments)
            stored = replace(stored, ids=stored.ids + 1, segments=numbers, last=self._next - 1)
            save_strings(files.ids_file(self.path, stored.ids), self._ids.strings.tolist())
        sync(self.path)
        files.write_settings(self.path, stored, len(self))
        self._stored, self._sequence, self._changed = stored, stored.sequence, False
        files.remove_unnamed(self.path, stored)

    def refresh(self) -> bool:
        """Load what another process has committed since; return whether something changed."""
        self._check_open()
        if files.read_settings(self.path) == self._stored:
            return False
        newer = type(self).open(self.path, read_only=True)
        self._stored, self._ids, self._book = newer._stored, newer._ids, newer._book
        self._segments, self._sequence, self._next = newer._segments, newer._sequence, newer._next
        self._waiting, self._bytes_waiting, self._vectors = [], 0, None
        self._touch()
        self._changed = False
        return True

    def close(self) -> None:
        """Release the memory; uncommitted changes are lost."""
        self._lifetime.closed = True
        self._segments, self._waiting, self._ids, self._book = [], [], IdTable(), None
        self._vectors, self._stored_rows = None, None

    def present(self, ids: Sequence[str]) -> NDArray[np.bool_]:
        """Return which of these ids the index holds, bool [ids]."""
        self._check_open()
        return self._ids.positions(ids) >= 0

    def __contains__(self, doc_id: object) -> bool:
        return doc_id in self._ids

    def _search_all(self, queries: TokenVectors, k: int, allowed: NDArray[np.bool_]) -> Hits:
        """Score every allowed document."""
        rows, places, scores = [], [], []
        positions, lengths = np.flatnonzero(allowed), queries.lengths
        for first, block in search.score_all(queries, positions, self._maxima):
            for row, every in enumerate(block, first):
                if not lengths[row]:
                    continue
                kept = best_with_ties(every, k)
                rows.append(np.full(len(kept), row))
                places.append(positions[kept])
                scores.append(every[kept])
        return self._ranked(queries, rows, places, scores, k)

    def _ranked(
        self,
        queries: TokenVectors,
        rows: list[NDArray[np.int64]],
        places: list[NDArray[np.int64]],
        scores: list[NDArray[np.float32]],
        k: int,
    ) -> Hits:
        if not rows:
            return Hits.empty(queries.texts)
        at, values = np.concatenate(rows), np.concatenate(scores)
        values = values / self._divisor(queries.lengths)[at] if self.settings.metric == "meanmaxsim" else values
        return Hits.ranked(queries.texts, at, np.concatenate(places), values, self._ids.strings, k)

    def _divisor(self, lengths: Any) -> Any:
        return np.maximum(lengths, 1).astype(np.float32) if self.settings.metric == "meanmaxsim" else np.float32(1)

    def _allowed(self, filter: FilterLike | None) -> NDArray[np.bool_]:
        """Return which positions may be hits, bool [positions]."""
        if self._findable_mask is None:
            self._findable_mask = self._ids.alive() & (self._lengths() > 0)
        if filter is None:
            return self._findable_mask
        kept = np.zeros(len(self._findable_mask), bool)
        kept[self._matching_places(filter)] = True
        return self._findable_mask & kept

    def _queries(self, queries: Any) -> TokenVectors:
        if isinstance(queries, np.ndarray) and queries.ndim == 2:
            queries = TokenVectors(np.array([0, len(queries)]), queries)
        return check_token_vectors(queries, self.settings.dimension, self.path)

    def _flush(self) -> None:
        """Write the vectors that wait in memory to a segment."""
        if self._waiting:
            vectors = TokenVectors.join(self._waiting)
            keep = self.settings.bits != CODES_ONLY
            self._segments.append(self._write(Segment.of(self._new(), vectors, self._book, keep=keep)))
            self._waiting, self._bytes_waiting = [], 0
            self._touch()

    def _train(self) -> int:
        """Learn centroids and encode all documents; return the number of the codebook."""
        if self.settings.bits == CODES_ONLY and self._ids.dead:
            self.optimize()  # the collection may have removed the vectors of deleted documents
        tokens = sum(int(segment.offsets[-1]) for segment in self._segments)
        self._book = Codebook.learn(self._pieces(), tokens, self.settings.centroids, self.settings.bits)
        number = self._stored.codebook + 1
        self._book.save(files.codebook_file(self.path, number))
        self._segments = [self._write(Segment.of(self._new(), piece, self._book)) for piece in self._pieces()]
        self._touch()
        return number

    def _pieces(self) -> Iterator[TokenVectors]:
        """Yield the vectors of all documents in pieces, as they are before centroids are learned."""
        if self.settings.bits == CODES_ONLY:
            tokens = FLUSH_BYTES // (2 * self.settings.dimension)
            yield from self._reader().pieces(self._lengths(), tokens)
            return
        for segment in self._segments:
            yield from segment.pieces(FLUSH_BYTES)

    def _reader(self) -> StoredVectors:
        """Return the reader of the vectors that the collection stores."""
        if self._stored_rows is None:
            raise InputError(
                f"the index {self.path} keeps no vectors (bits 0): search its collection, or open it with stored_rows=…"
            )
        if self._vectors is None:
            self._vectors = StoredVectors(self._stored_rows, self._ids)
        return self._vectors

    def _maxima(self, query: NDArray[np.float32], positions: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the maxima over the kept or the stored vectors of documents, as `search.Maxima`."""
        if self.settings.bits == CODES_ONLY:
            return self._reader().maxima(query, positions, self._lengths()[positions], TOKENS_AT_ONCE)
        return search.maxima_of(query, positions, self._segments, self._book)

    def _lengths(self) -> NDArray[np.int64]:
        """Return the number of vectors at each position, int64 [positions]."""
        if self._all_lengths is None:
            parts = [np.diff(segment.offsets) for segment in self._segments]
            self._all_lengths = np.concatenate([np.zeros(0, np.int64), *parts])
        return self._all_lengths

    def _merge(self) -> None:
        """Merge small segments at the end, so that their number grows with the logarithm of the documents."""
        first = first_small([len(segment.stored) for segment in self._segments])
        if len(self._segments) - first > 1:
            self._segments[first:] = [Segment.join(self.path, self._new(), self._segments[first:])]
            self._changed = True

    def _touch(self) -> None:
        self._changed, self._findable_mask, self._all_lengths = True, None, None

    def _write(self, segment: Segment) -> Segment:
        """Write a segment, and return it mapped from its files."""
        segment.save(self.path)
        return Segment.load(self.path, segment.number)

    def _new(self) -> int:
        self._next += 1
        return self._next - 1
