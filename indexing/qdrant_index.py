"""QdrantIndex: dense and sparse vectors in Qdrant: embedded (Edge), a server or cluster, or the client's local mode.

The folder holds ``settings.json`` (what the index is, where it lives, and the last journal sequence it holds) and,
for the engines that live on this machine, their files.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix, issparse

from indexing import qdrant_files
from indexing.disk import folder_bytes
from indexing.documents import check_ids
from indexing.errors import InputError, StorageError
from indexing.filters import Fields, FieldType, Filter, FilterLike, check_fields, parse_filter, values_of
from indexing.filters.qdrant import qdrant_filter
from indexing.hits import Hits, encode_strings
from indexing.qdrant_embedded import EdgeEngine
from indexing.qdrant_points import Found, PointBatch, QdrantEngine, Question, Sparse, point_id, sparse_rows
from indexing.qdrant_remote import ClientEngine
from indexing.qdrant_settings import Engine, QdrantServer, QdrantSettings
from indexing.vectors import check_vectors, check_weights

SCAN_BELOW = 0.1
"""When a filter keeps at most this share of the points, they are compared with the query one by one: exact."""
QUERIES_AT_ONCE = 64
COUNTS_KEPT = 1024

Queries: TypeAlias = "NDArray[np.floating] | csr_matrix"


class QdrantIndex:
    """Points with a dense vector, a sparse one, or both, under string ids.

    An ``upsert`` of an id that is there replaces the point, whole. Ids are mapped to UUIDs (version 5) and stand in
    the payload as they are; declared fields are payload indexes. Use `create` or `open`; as a context manager it
    commits when the block ends without an error.

    Ties at the cutoff are resolved by doc_id only among what Qdrant returns. Edge builds its graph in `optimize` only
    and searches exactly before; a server builds it by itself.
    """

    def __init__(
        self,
        path: Path,
        settings: QdrantSettings,
        fields: Fields,
        engine: QdrantEngine,
        *,
        engine_name: Engine,
        server: QdrantServer | None,
        sequence: int = 0,
        read_only: bool = False,
    ) -> None:
        self.path, self.settings, self.server, self.read_only = path, settings, server, read_only
        self.fields: dict[str, FieldType] = dict(fields)
        self._engine, self._engine_name = engine, engine_name
        self._sequence = sequence
        self._counts: dict[Filter | None, int] = {}
        self._closed = False

    @classmethod
    def create(
        cls,
        path: str | Path,
        dimension: int = 0,
        *,
        vocabulary: int = 0,
        fields: Fields | None = None,
        engine: Engine | None = None,
        server: QdrantServer | None = None,
        **settings: Any,
    ) -> Self:
        """Make an empty index at `path` (a folder that does not hold one).

        Parameters
        ----------
        path
            The folder.
        dimension, vocabulary
            Of the dense and of the sparse vectors; 0 for none.
        fields
            The metadata fields that searches may filter by, with their types (see `indexing.filters`).
        engine
            ``"edge"`` (the default), ``"local"``, or ``"server"`` (the default when `server` is given).
        server
            Where the server is.
        settings
            As in `QdrantSettings`.
        """
        path, chosen = Path(path), QdrantSettings(dimension, vocabulary, **settings)
        name: Engine = engine or ("edge" if server is None else "server")
        if name not in ("edge", "local", "server") or (name == "server") != (server is not None):
            raise InputError(f"engine must be 'edge', 'local', or 'server' with a server given, not {engine!r}")
        if (path / qdrant_files.SETTINGS).exists():
            raise StorageError(f"{path} already holds an index: open it, or remove the folder first")
        path.mkdir(parents=True, exist_ok=True)
        declared = check_fields(fields or {})
        made: QdrantEngine
        if name == "edge":
            made = EdgeEngine.create(path / "shard", chosen, declared)
        else:
            made = ClientEngine.create(path / "local", chosen, declared, server)
        index = cls(path, chosen, declared, made, engine_name=name, server=server)
        index.commit()
        return index

    @classmethod
    def open(cls, path: str | Path, *, read_only: bool = False, api_key: str | None = None) -> Self:
        """Open the index in this folder.

        Parameters
        ----------
        path
            The folder.
        read_only
            Refuse changes. Edge and the local mode still admit one process only.
        api_key
            For the server; by default the environment's ``QDRANT_API_KEY``.

        Raises
        ------
        StorageError
            When there is no index, or another process has it open.
        """
        path = Path(path)
        stored = qdrant_files.read_settings(path, api_key)
        engine: QdrantEngine
        if stored.engine == "edge":
            engine = EdgeEngine.open(path / "shard", stored.settings)
        else:
            engine = ClientEngine.open(path / "local", stored.settings, stored.server)
        return cls(
            path,
            stored.settings,
            stored.fields,
            engine,
            engine_name=stored.engine,
            server=stored.server,
            sequence=stored.sequence,
            read_only=read_only,
        )

    @property
    def sequence(self) -> int:
        """The journal sequence that the last commit recorded."""
        return self._sequence

    def upsert(
        self,
        ids: Sequence[str],
        vectors: NDArray[np.floating] | None = None,
        weights: csr_matrix | None = None,
        *,
        metadata: Sequence[Mapping[str, Any]] | None = None,
    ) -> None:
        """Store points; one whose id is there is replaced. Doing it twice changes nothing.

        Parameters
        ----------
        ids
            Their doc_ids.
        vectors, weights
            Dense [n, dimension] and sparse [n, vocabulary]; all that the index has must be given.
        metadata
            Of each document; what is not declared is passed over.

        Raises
        ------
        InputError
            For an empty or repeated id, a wrong shape, a NaN or an infinity, metadata of a wrong type: nothing of the
            call is stored.
        StorageError
            When a server stays away; what was stored before may be stored again.
        """
        self._check_writable()
        check_ids(ids)
        if (vectors is None) != (not self.settings.dimension) or (weights is None) != (not self.settings.vocabulary):
            raise InputError(f"points of the index {self.path} have {self._parts()}: give just that")
        dense = None if vectors is None else check_vectors(vectors, self.settings.dimension, self.path, ids)
        sparse = None if weights is None else check_weights(weights, self.settings.vocabulary, self.path, ids)
        for given in (dense, sparse):
            if given is not None and given.shape[0] != len(ids):
                raise InputError(f"{len(ids)} ids for {given.shape[0]} rows")
        values = values_of(self.fields, ids, metadata)
        if len(ids):
            self._counts.clear()
            self._engine.upsert(PointBatch(list(ids), dense, sparse, values))

    def add(
        self,
        ids: Sequence[str],
        vectors: NDArray[np.floating] | None = None,
        weights: csr_matrix | None = None,
        *,
        metadata: Sequence[Mapping[str, Any]] | None = None,
    ) -> None:
        """Do what `upsert` does, under the name the other indexes have for it."""
        self.upsert(ids, vectors, weights, metadata=metadata)

    def delete(self, ids: Sequence[str]) -> int:
        """Remove these ids; those that are not there are passed over. Returns how many were there."""
        self._check_writable()
        if isinstance(ids, str):
            raise InputError(f"ids must be a list of ids, not the string {ids!r}")
        points = [point_id(doc_id) for doc_id in dict.fromkeys(ids)]
        there = self._engine.count(self._among(points)) if points else 0
        if there:
            self._counts.clear()
            self._engine.delete(points)
        return there

    def search(self, queries: Queries, k: int, filter: FilterLike | None = None) -> Hits:
        """Find the `k` best of each query: dense vectors [queries, dimension] (or one), or a CSR matrix of weights.

        Scores are inner products (of normalised vectors for cosine), float32. Sparse queries find only documents that
        share a term. With a filter (see `parse_filter`) only what it keeps is found, exactly when that is at most
        `SCAN_BELOW` of all.
        """
        dense, sparse = self._questions(queries)
        count = len(dense) if dense is not None else len(sparse or ())
        return self._ask(count, dense, sparse, k, filter)

    def fused_search(
        self,
        vectors: NDArray[np.floating],
        weights: csr_matrix,
        k: int,
        filter: FilterLike | None = None,
        *,
        fusion: str = "rrf",
        rank_constant: int = 60,
        depth: int = 100,
    ) -> Hits:
        """Find by both vectors, fused by Qdrant itself, in one call.

        Parameters
        ----------
        vectors, weights
            Row ``i`` of both is query ``i``.
        k
            How many hits.
        filter
            As for `search`; for both legs.
        fusion
            ``"rrf"``: the sum of ``1 / (rank_constant + rank)`` over the legs, ranks from 1 (Cormack et al. 2009;
            Qdrant's own ``k`` is one more). ``"dbsf"``: the sum of each leg's scores, shifted and scaled so that its
            mean less (plus) three standard deviations is 0 (1).
        depth
            Hits taken from each leg (on a cluster: from each shard).
        """
        if fusion not in ("rrf", "dbsf"):
            raise InputError(f"unknown fusion {fusion!r}: there are 'rrf' and 'dbsf'")
        dense, sparse = self._questions(vectors)[0], self._questions(weights)[1]
        if dense is None or sparse is None or len(dense) != len(sparse):
            raise InputError("a fused search takes dense vectors and a CSR matrix of as many rows")
        more = {"fusion": fusion, "rank_constant": rank_constant, "depth": max(depth, k)}
        return self._ask(len(dense), dense, sparse, k, filter, **more)

    def score(self, queries: Queries, doc_ids: Sequence[Sequence[str]]) -> NDArray[np.float32]:
        """Score given candidates: for query ``i`` the documents ``doc_ids[i]``, exactly.

        Returns
        -------
        ndarray
            float32 [candidates of all queries], in their order.

        Raises
        ------
        InputError
            For an id that is not there.
        """
        dense, sparse = self._questions(queries)
        count = len(dense) if dense is not None else len(sparse or ())
        if count != len(doc_ids):
            raise InputError(f"{len(doc_ids)} lists of candidates for {count} queries")
        self._check_known(list(dict.fromkeys(chain.from_iterable(doc_ids))))
        scores: list[float] = []
        for start in range(0, count, QUERIES_AT_ONCE):
            rows = [row for row in range(start, min(start + QUERIES_AT_ONCE, count)) if len(doc_ids[row])]
            questions = [
                Question(
                    dense=None if dense is None else dense[row],
                    sparse=None if sparse is None else sparse[row],
                    limit=len(doc_ids[row]),
                    filter=self._among([point_id(doc_id) for doc_id in doc_ids[row]]),
                    exact=True,
                )
                for row in rows
            ]
            answers = self._engine.query(questions) if questions else []
            for row, found in zip(rows, answers, strict=True):
                by_id = dict(found)
                # A document that shares no term with a sparse query is not found, and scores 0.
                scores.extend(by_id.get(doc_id, 0.0) for doc_id in doc_ids[row])
        return np.array(scores, np.float32)

    def optimize(self) -> None:
        """Build the graphs of what was added since (Edge), or wait until the server has."""
        self._check_writable()
        self._engine.optimize()

    def commit(self, sequence: int | None = None) -> None:
        """Make everything so far durable.

        Parameters
        ----------
        sequence
            The last journal sequence that this state holds; by default that of the commit before.
        """
        self._check_writable()
        self._engine.flush()
        number = self._sequence if sequence is None else int(sequence)
        qdrant_files.write_settings(
            self.path, qdrant_files.Stored(self._engine_name, self.settings, self.fields, self.server, number)
        )
        self._sequence = number

    def close(self) -> None:
        """Let the engine go."""
        if not self._closed:
            self._closed = True
            self._engine.close()

    @property
    def size_bytes(self) -> int:
        """Bytes that are taken on this machine's disk ; a server's are its own."""
        return folder_bytes(self.path)

    def __len__(self) -> int:
        return self._count(None)

    def __contains__(self, doc_id: object) -> bool:
        return isinstance(doc_id, str) and bool(self._engine.count(self._among([point_id(doc_id)])))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if error is None and not self.read_only and not self._closed:
                self.commit()
        finally:
            self.close()

    def _ask(
        self,
        count: int,
        dense: list[list[float]] | None,
        sparse: list[Sparse] | None,
        k: int,
        filter: FilterLike | None,
        **more: Any,
    ) -> Hits:
        if k < 1:
            raise InputError(f"k must be at least 1, not {k}")
        parsed = None if filter is None else parse_filter(filter, self.fields)
        most = self._count(parsed)
        if not most:
            return Hits.empty(count)
        narrow = None if parsed is None else qdrant_filter(parsed, self.fields, self._engine.conditions)
        question = Question(
            dense=None,
            sparse=None,
            limit=min(k, most),
            filter=narrow,
            exact=parsed is not None and most <= SCAN_BELOW * self._count(None),
            **more,
        )
        found: Found = []
        for start in range(0, count, QUERIES_AT_ONCE):
            found += self._engine.query(
                [
                    replace(
                        question,
                        dense=None if dense is None else dense[row],
                        sparse=None if sparse is None else sparse[row],
                    )
                    for row in range(start, min(start + QUERIES_AT_ONCE, count))
                ]
            )
        return _hits(found)

    def _count(self, parsed: Filter | None) -> int:
        """Count what a filter keeps; kept until the next change here (a server's may change elsewhere)."""
        if parsed not in self._counts or self.server is not None:
            narrow = None if parsed is None else qdrant_filter(parsed, self.fields, self._engine.conditions)
            if len(self._counts) >= COUNTS_KEPT:
                self._counts.clear()
            self._counts[parsed] = self._engine.count(narrow)
        return self._counts[parsed]

    def _questions(self, queries: Queries) -> tuple[list[list[float]] | None, list[Sparse] | None]:
        if issparse(queries):
            if not self.settings.vocabulary:
                raise InputError(f"points of the index {self.path} have {self._parts()}, no sparse vectors")
            return None, list(sparse_rows(check_weights(queries, self.settings.vocabulary, self.path)))
        if not self.settings.dimension:
            raise InputError(f"points of the index {self.path} have {self._parts()}, no dense vectors")
        rows = check_vectors(np.atleast_2d(np.asarray(queries)), self.settings.dimension, self.path)
        return rows.tolist(), None

    def _check_known(self, ids: list[str]) -> None:
        if not ids or self._engine.count(self._among([point_id(doc_id) for doc_id in ids])) == len(ids):
            return
        missing = next(doc_id for doc_id in ids if doc_id not in self)
        raise InputError(f"the id {missing!r} is not in the index {self.path}")

    def _among(self, points: Sequence[str]) -> Any:
        conditions = self._engine.conditions
        return conditions.group(must=[conditions.points(points)])

    def _check_writable(self) -> None:
        if self._closed:
            raise StorageError(f"the index {self.path} is closed: open it again")
        if self.read_only:
            raise StorageError(f"{self.path} is open for reading only: open it without read_only=True to change it")

    def _parts(self) -> str:
        dense = f"dense vectors of dimension {self.settings.dimension}" if self.settings.dimension else ""
        sparse = f"weights over {self.settings.vocabulary} terms" if self.settings.vocabulary else ""
        return " and ".join(part for part in (dense, sparse) if part)


def _hits(found: Found) -> Hits:
    ids, codes = encode_strings([doc_id for hits in found for doc_id, _ in hits])
    scores = np.fromiter((score for hits in found for _, score in hits), np.float32, count=len(codes))
    rows = np.repeat(np.arange(len(found)), [len(hits) for hits in found])
    return Hits.ranked(len(found), rows, codes, scores, ids)
