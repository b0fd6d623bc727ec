"""CaughtUpIndex: an index that is changed in place, read in the state of the documents after a writer was killed.

An embedded Qdrant index keeps no older state: what a writer gave it before it was killed may be in it or not. But the
journal names every document that was written or deleted since the last commit, and the shards hold the rows. So the
index answers for all other documents, and these are scored by their stored rows.
"""

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from indexing.collection.shards import Shards
from indexing.collection.store import DocumentStore
from indexing.errors import InputError
from indexing.filters import FilterLike
from indexing.hits import Hits, encode_strings
from indexing.indexes.base import Index, MatchingIds, Terms
from indexing.indexes.terms import terms_by_score
from indexing.indexes.vectors import normalised
from indexing.max_sim import max_sim
from indexing.token_vectors import TokenVectors


class _Written(NamedTuple):
    """The documents of the writes since the last commit: all `touched`, and of those that exist ids and rows."""

    touched: frozenset[str]
    places: dict[str, int]
    rows: Any

    @property
    def ids(self) -> list[str]:
        return list(self.places)


class CaughtUpIndex(Index):
    """An index open for reading, with the writes since its last commit.

    Parameters
    ----------
    index
        The index; closed with this one.
    store
        The documents.
    shards
        Folder and codec of the leg's rows.
    matching
        Answers filters from the documents.
    newest
        The last write of the collection.
    """

    opens_once = True

    def __init__(
        self, index: Index, store: DocumentStore, shards: tuple[Path, Any], matching: MatchingIds, newest: int
    ) -> None:
        super().__init__(index.path, read_only=True)
        self.index = index
        self._store, self._shards, self._matching, self._newest = store, shards, matching, newest
        self._lock = threading.Lock()
        self._known: tuple[int, _Written] | None = None

    def __getattr__(self, name: str) -> Any:
        # What one kind of index has beside the contract, such as its settings.
        if name.startswith("_") or name == "index":
            raise AttributeError(name)
        return getattr(self.index, name)

    @property
    def sequence(self) -> int:
        """The last write, which is that of the documents."""
        return max(self._newest, self._store.sequence)

    def search(self, queries: Any, k: int, filter: FilterLike | None = None) -> Hits:
        """Return the `k` best of each query as `Index.search`."""
        self._check_open()
        written = self._written()
        hits = self.index.search(queries, k + len(written.touched), filter)
        kept = hits.where(np.fromiter((i not in written.touched for i in hits.doc_ids), np.bool_, len(hits.codes)))
        ids = written.ids
        scores, found = self._scores(queries, written.rows)
        if filter is not None:
            allowed = set(self._matching(filter))
            found &= np.fromiter((doc_id in allowed for doc_id in ids), np.bool_, len(ids))
        rows, columns = np.nonzero(found)
        every, codes = encode_strings([*kept.doc_ids, *(ids[column] for column in columns.tolist())])
        return Hits.ranked(
            len(hits),
            np.concatenate([kept.rows, rows]),
            codes,
            np.concatenate([kept.scores, scores[rows, columns]]).astype(np.float32),
            every,
            k,
        )

    def score(self, queries: Any, doc_ids: Sequence[Sequence[str]]) -> NDArray[np.float32]:
        """Score given candidates as `Index.score`."""
        self._check_open()
        written = self._written()
        touched = [np.array([doc_id in written.touched for doc_id in ids], bool) for ids in doc_ids]
        if not any(of_query.any() for of_query in touched):
            return self.index.score(queries, doc_ids)
        untouched = [[doc_id for doc_id in ids if doc_id not in written.touched] for ids in doc_ids]
        known = self.index.score(queries, untouched)
        table, _ = self._scores(queries, written.rows)
        scores = np.zeros(sum(map(len, doc_ids)), np.float32)
        mask = np.concatenate(touched)
        scores[~mask] = known
        scores[mask] = [
            table[row, self._place(written, doc_id)]
            for row, ids in enumerate(doc_ids)
            for doc_id in ids
            if doc_id in written.touched
        ]
        return scores

    def vectors(self, ids: Sequence[str]) -> Any:
        """Return the vectors of these ids, or their token vectors, in float32; an `InputError` names an unknown id."""
        self._check_open()
        written = self._written()
        others = [doc_id for doc_id in ids if doc_id not in written.touched]
        known, of_index = self.index.vectors(others), iter(range(len(others)))  # type: ignore[attr-defined]
        if isinstance(known, TokenVectors):
            return TokenVectors.of(
                [
                    written.rows.text(self._place(written, doc_id)).astype(np.float32)
                    if doc_id in written.touched
                    else known.text(next(of_index))
                    for doc_id in ids
                ],
                known.dimension,
            )
        rows = self._comparable(written.rows)
        return np.array(
            [
                rows[self._place(written, doc_id)] if doc_id in written.touched else known[next(of_index)]
                for doc_id in ids
            ],
            np.float32,
        ).reshape(len(ids), known.shape[1])

    def present(self, ids: Sequence[str]) -> NDArray[np.bool_]:
        """Return which of these ids are there, bool [ids]."""
        self._check_open()
        written = self._written()
        there = self.index.present(ids)  # type: ignore[attr-defined]
        return np.array(
            [
                doc_id in written.places if doc_id in written.touched else bool(known)
                for doc_id, known in zip(ids, there, strict=True)
            ],
            bool,
        )

    def matched_terms(self, queries: Any, hits: Hits, vocabulary: Sequence[str] | None = None) -> list[Terms] | None:
        """Return each shared term with its part of the score, as `Index.matched_terms`."""
        if vocabulary is None or not hasattr(queries, "indptr"):
            return None
        return terms_by_score(self, queries, hits, vocabulary)

    def upsert(self, ids: Sequence[str], rows: Any, metadata: Any = None) -> None:
        """Raise: the index is open for reading."""
        self._check_writable()

    def delete(self, ids: Sequence[str]) -> int:
        """Raise: the index is open for reading."""
        self._check_writable()
        return 0

    def commit(self, sequence: int | None = None) -> None:
        """Raise: the index is open for reading."""
        self._check_writable()

    def optimize(self) -> None:
        """Raise: the index is open for reading."""
        self._check_writable()

    def files(self) -> list[Path]:
        """Return the files that a checksum covers."""
        return self.index.files()

    def refresh(self) -> bool:
        """Load what was committed since; return whether something changed."""
        return self.index.refresh()

    def close(self) -> None:
        """Close the index."""
        self._lifetime.closed = True
        self.index.close()

    def __len__(self) -> int:
        self._check_open()
        written = self._written()
        touched = list(written.touched)
        gone = int(self.index.present(touched).sum())  # type: ignore[attr-defined]
        return len(self.index) - gone + len(written.places)

    def __contains__(self, doc_id: object) -> bool:
        return isinstance(doc_id, str) and bool(self.present([doc_id])[0])

    def _written(self) -> _Written:
        """Read what was written since the last commit, once for each state of the documents."""
        with self._lock:
            sequence = self._store.sequence
            if self._known is None or self._known[0] != sequence:
                self._known = sequence, self._read()
            return self._known[1]

    def _read(self) -> _Written:
        after = self.index.sequence
        gone = [doc_id for ids in self._store.deletes(after) for doc_id in ids]
        changes = [
            (change.number, change.document.doc_id) for _, batch in self._store.changes(after) for change in batch
        ]
        changes.sort()
        folder, codec = self._shards
        numbers = np.array([number for number, _ in changes], np.int64)
        rows = Shards(folder, codec, self._store.pieces(folder.name)).read(numbers)
        ids = [doc_id for _, doc_id in changes]
        return _Written(frozenset([*gone, *ids]), {doc_id: at for at, doc_id in enumerate(ids)}, rows)

    def _place(self, written: _Written, doc_id: str) -> int:
        if doc_id not in written.places:
            raise InputError(f"the id {doc_id!r} is not in the index {self.path}")
        return written.places[doc_id]

    @property
    def _metric(self) -> str:
        return str(self.index.settings.metric)  # type: ignore[attr-defined]

    def _comparable(self, rows: Any) -> NDArray[np.float32]:
        """Return dense vectors as their inner products are compared."""
        vectors = np.atleast_2d(np.asarray(rows, np.float32))
        return normalised(vectors) if self._metric == "cosine" else vectors

    def _scores(self, queries: Any, rows: Any) -> tuple[NDArray[np.floating], NDArray[np.bool_]]:
        """Return the score of every row for every query, and which of them are hits, both [queries, rows]."""
        if isinstance(rows, TokenVectors):
            if not isinstance(queries, TokenVectors):
                queries = TokenVectors(np.array([0, len(queries)]), np.asarray(queries, np.float32))
            scores = max_sim(queries, rows, mean=self._metric == "meanmaxsim")
            return scores, np.logical_and.outer(queries.lengths > 0, rows.lengths > 0)
        if hasattr(rows, "indptr"):
            products = (queries @ rows.T).toarray()
            return products, products != 0
        scores = self._comparable(queries) @ self._comparable(rows).reshape(-1, rows.shape[1]).T
        return scores, np.ones(scores.shape, bool)
