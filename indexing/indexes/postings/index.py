"""PostingsIndex: exact search by term weights, with string ids, upserts, deletes and filters."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from indexing.disk import sync
from indexing.documents import check_ids
from indexing.errors import InputError, StorageError
from indexing.filters import FilterLike
from indexing.hits import Hits, best_with_ties
from indexing.indexes import base
from indexing.indexes.array_files import first_small
from indexing.indexes.base import MatchingIds
from indexing.indexes.id_table import IdTable
from indexing.indexes.placed import PlacedIndex
from indexing.indexes.postings import files
from indexing.indexes.postings.files import Stored
from indexing.indexes.postings.segment import Segment, Terms, add_scaled
from indexing.indexes.settings_json import SETTINGS
from indexing.indexes.terms import largest_first
from indexing.indexes.vectors import check_weights
from indexing.inputs import local_path, whole_number
from indexing.plurals import counted

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

FLUSH_POSTINGS = 1 << 23
"""Postings that wait in memory (64 MB); more are written to a segment before the next commit."""
COMPACT_AT = 0.25
"""`commit` drops deleted documents when they exceed this share."""
BLOCK = 64
"""Scores whose largest one is looked at first, to find the best few of all."""


class PostingsIndex(PlacedIndex):
    """Sparse vectors over a vocabulary, found by their inner product with a query, exactly.

    Term by term, the weights of the documents that contain it are multiplied by the query's and added up in float32.
    The cost grows with the number of these documents, not with the vocabulary, and no bound is needed to skip any.
    Documents that share no term with a query are no hits of it.

    Documents are in segments, immutable files that are mapped into memory. A commit writes one for what is new, and
    merges small ones. The index keeps no metadata: `matching` answers filters.
    """

    kind = "postings"

    def __init__(
        self,
        path: Path,
        stored: Stored,
        ids: IdTable,
        segments: Sequence[Segment] = (),
        *,
        read_only: bool = False,
        matching: MatchingIds | None = None,
    ) -> None:
        super().__init__(path, ids, read_only=read_only, matching=matching)
        self._stored, self._segments = stored, list(segments)
        self._sequence, self._next = stored.sequence, stored.largest + 1
        self._waiting: list[csr_matrix] = []
        self._postings_waiting = 0
        self._buried = False
        self._living: NDArray[np.bool_] | None = None

    @classmethod
    def create(cls, path: str | Path, columns: int, *, matching: MatchingIds | None = None) -> Self:
        """Make an empty index in a folder that holds none.

        Parameters
        ----------
        path
            The folder.
        columns
            Number of terms.
        matching
            Answers the filters of searches: from a filter to the ids that it keeps.
        """
        path = local_path(path, "path")
        columns = whole_number(columns, "columns")
        if (path / SETTINGS).exists():
            raise StorageError(f"{path} already holds an index: open it, or remove the folder first")
        path.mkdir(parents=True, exist_ok=True)
        return cls(path, Stored(columns), IdTable(), matching=matching)

    @classmethod
    def open(cls, path: str | Path, *, read_only: bool = False, matching: MatchingIds | None = None) -> Self:
        """Open the last committed state.

        Raises
        ------
        StorageError
            When there is no index, or it cannot be read.
        """
        path = local_path(path, "path")
        stored, segments, ids = files.read_newest(path)
        if not read_only:
            files.remove_unnamed(path, stored)
        return cls(path, stored, IdTable(ids), segments, read_only=read_only, matching=matching)

    def upsert(
        self, ids: Sequence[str], rows: "csr_matrix", metadata: Sequence[Mapping[str, Any]] | None = None
    ) -> None:
        """Store weights [n, columns] under their ids; `metadata` is not kept. Errors as in `Index.upsert`."""
        self._check_writable()
        matrix = self._checked(rows, ids)
        if len(ids) != matrix.shape[0]:
            raise InputError(f"{counted(len(ids), 'id')} for {counted(matrix.shape[0], 'row')} of weights")
        check_ids(ids)
        if not len(ids):
            return
        places = self._ids.positions(ids)
        self._bury(places[places >= 0])
        self._ids.append(ids)
        self._waiting.append(matrix)
        self._postings_waiting += matrix.nnz
        self._living = None
        if self._postings_waiting >= FLUSH_POSTINGS:
            self._flush()

    def delete(self, ids: Sequence[str]) -> int:
        """Remove these ids, ignore unknown ones, and return how many existed."""
        places = self._places_to_delete(ids)
        self._bury(places)
        return len(places)

    def search(self, queries: "csr_matrix", k: int, filter: FilterLike | None = None) -> Hits:
        """Return the `k` best documents for each row of weights [queries, columns] as `Index.search`.

        Ties at the cutoff are resolved too. Raises also for a filter where nothing answers it.
        """
        self._check_open()
        k = whole_number(k, "k")
        matrix = self._checked(queries)
        self._flush()
        allowed = self._allowed(filter)
        rows, places, scores = [], [], []
        for row in range(matrix.shape[0]):
            every = self._scores(Terms.of(matrix, row))
            if allowed is not None:
                every[~allowed] = 0
            found = best_positive(every, k)
            rows.append(np.full(len(found), row))
            places.append(found)
            scores.append(every[found])
        if not rows:
            return Hits.empty(0)
        at, codes, values = np.concatenate(rows), np.concatenate(places), np.concatenate(scores)
        return Hits.ranked(matrix.shape[0], at, codes, values, self._ids.strings, k)

    def score(self, queries: "csr_matrix", doc_ids: Sequence[Sequence[str]]) -> NDArray[np.float32]:
        """Score given candidates as `Index.score`."""
        scored = [scores for _, scores in self._candidates(queries, doc_ids)]
        return np.concatenate([np.zeros(0, np.float32), *scored])

    def matched_terms(
        self, queries: Any, hits: Hits, vocabulary: Sequence[str] | None = None
    ) -> list[base.Terms] | None:
        """Return each shared term with the product of its weights in query and document: they sum to the score."""
        if vocabulary is None:
            return None
        explained: list[base.Terms] = []
        for parts, _ in self._candidates(queries, [list(ranking.doc_ids) for ranking in hits]):
            summands: list[list[tuple[str, float]]] = [[] for _ in range(parts.documents)]
            for column, found, products in parts.terms:
                for document, product in zip(found.tolist(), products.tolist(), strict=True):
                    summands[document].append((vocabulary[column], product))
            explained += map(largest_first, summands)
        return explained

    def optimize(self) -> None:
        """Drop replaced and deleted documents, and join all segments."""
        self._check_writable()
        self._flush()
        if not self._ids.dead and len(self._segments) < 2:
            return
        alive = self._ids.alive()
        self._ids, self._living = IdTable(self._ids.strings[alive]), None
        bounds = np.cumsum([segment.size for segment in self._segments])
        living = np.split(alive, bounds[:-1])
        self._segments = [self._join(self._segments, living)] if len(self._ids) else []
        self._buried = True

    def _commit(self, sequence: int) -> None:
        """Write what is new, and join small segments."""
        self._flush()
        if self._ids.dead > COMPACT_AT * len(self._ids):
            self.optimize()
        first = first_small([len(segment.weights) for segment in self._segments])
        if len(self._segments) - first > 1:
            self._segments[first:] = [self._join(self._segments[first:])]
        known, start = dict(self._stored.segments), 0
        for segment in self._segments:
            if segment.number not in known:
                files.write_ids(self.path, segment.number, self._ids.strings[start : start + segment.size])
            start += segment.size
        segments = tuple((segment.number, segment.size) for segment in self._segments)
        deleted = self._stored.deleted
        if self._buried or segments != tuple(self._stored.segments):
            positions = np.flatnonzero(~self._ids.alive())
            deleted = self._new() if len(positions) else 0
            if len(positions):
                files.write_deleted(self.path, deleted, positions)
        sync(self.path)
        self._stored = Stored(self._stored.columns, segments, deleted, sequence, self._next - 1)
        files.write_settings(self.path, self._stored, len(self))
        self._sequence, self._buried = sequence, False
        files.remove_unnamed(self.path, self._stored)

    def refresh(self) -> bool:
        """Load what another process has committed since; return whether something changed."""
        self._check_open()
        if files.read_settings(self.path) == self._stored:
            return False
        newer = type(self).open(self.path, read_only=True)
        self._stored, self._ids, self._segments = newer._stored, newer._ids, newer._segments
        self._sequence, self._next = newer._sequence, newer._next
        self._waiting, self._postings_waiting, self._buried, self._living = [], 0, False, None
        return True

    def close(self) -> None:
        """Release the memory; uncommitted changes are lost."""
        self._lifetime.closed = True
        self._segments, self._waiting, self._ids, self._living = [], [], IdTable(), None

    def __contains__(self, doc_id: object) -> bool:
        self._check_open()
        return doc_id in self._ids

    def _checked(self, weights: Any, ids: Sequence[str] | None = None) -> "csr_matrix":
        matrix = check_weights(weights, self._stored.columns, self.path, ids)
        if (matrix.data < 0).any():
            row = int(np.searchsorted(matrix.indptr, int(np.argmin(matrix.data >= 0)), side="right")) - 1
            name = f"query {row}" if ids is None else f"document {ids[row]!r}"
            raise InputError(f"{name} has a negative weight: term weights must be 0 or more")
        return matrix

    def _allowed(self, filter: FilterLike | None) -> NDArray[np.bool_] | None:
        """Return which positions may be hits, bool [positions]; None for all."""
        if self._living is None:
            self._living = self._ids.alive()
        if filter is None:
            return self._living if self._ids.dead else None
        kept = np.zeros(len(self._ids), np.bool_)
        kept[self._matching_places(filter)] = True
        return kept

    def _scores(self, terms: Terms) -> NDArray[np.float32]:
        """Return the score of every position, float32 [positions]."""
        scores, start = np.zeros(len(self._ids), np.float32), 0
        for segment in self._segments:
            segment.add_scores(terms, scores[start : start + segment.size])
            start += segment.size
        return scores

    def _candidates(
        self, queries: Any, doc_ids: Sequence[Sequence[str]]
    ) -> "Iterator[tuple[_Parts, NDArray[np.float32]]]":
        """Yield the parts and the sums of the scores of each query's candidates.

        The sums are those of `search`, bit by bit: the terms are added in the same order.
        """
        self._check_open()
        matrix = self._checked(queries)
        if matrix.shape[0] != len(doc_ids):
            raise InputError(f"{counted(len(doc_ids), 'list')} of candidates for {counted(matrix.shape[0], 'query')}")
        self._flush()
        known = self._known(list(chain.from_iterable(doc_ids)))
        bounds = np.cumsum([0, *map(len, doc_ids)])
        starts = np.cumsum([0, *(segment.size for segment in self._segments)])
        for row in range(matrix.shape[0]):
            places = known[bounds[row] : bounds[row + 1]]
            owners = np.searchsorted(starts, places, side="right") - 1
            parts, scores = _Parts(len(places)), np.zeros(len(places), np.float32)
            terms = Terms.of(matrix, row)
            for at, segment in enumerate(self._segments):
                of_segment = np.flatnonzero(owners == at).astype(np.int32)
                for column, weight in zip(terms.columns, terms.weights, strict=True) if len(of_segment) else ():
                    found, weights = segment.weights_of(column, places[of_segment] - starts[at])
                    add_scaled(of_segment[found], weights, weight, scores)
                    parts.terms.append((column, of_segment[found], weight * weights))
            yield parts, scores

    def _flush(self) -> None:
        """Write the weights that wait in memory to a segment."""
        if self._waiting:
            from scipy.sparse import vstack

            rows = vstack(self._waiting, format="csr")
            self._segments.append(Segment.write(self.path, self._new(), rows))
            self._waiting, self._postings_waiting = [], 0

    def _join(self, segments: Sequence[Segment], alive: Sequence[NDArray[np.bool_]] | None = None) -> Segment:
        return Segment.join(self.path, self._new(), segments, alive)

    def _bury(self, places: NDArray[np.int64]) -> None:
        if len(places):
            self._ids.bury(places)
            self._buried, self._living = True, None

    def _new(self) -> int:
        self._next += 1
        return self._next - 1


class _Parts:
    """Summands of a query's scores: for each term its column, the candidates that contain it, and float32 summands."""

    def __init__(self, documents: int) -> None:
        self.documents = documents
        self.terms: list[tuple[int, NDArray[np.int32], NDArray[np.float32]]] = []


def best_positive(scores: NDArray[np.float32], k: int) -> NDArray[np.int64]:
    """Return the positions of the `k` largest scores above 0, with all that tie with the last, ascending.

    The k-th largest of the maxima of blocks is at most the k-th largest score, so all others are passed over at once.
    """
    blocks = len(scores) // BLOCK
    least = np.float32(0)
    if blocks > k:
        maxima = scores[: blocks * BLOCK].reshape(blocks, BLOCK).max(axis=1)
        least = np.partition(maxima, blocks - k)[blocks - k]
    found = np.flatnonzero(scores >= least if least > 0 else scores > 0)
    return found[best_with_ties(scores[found], k)]
