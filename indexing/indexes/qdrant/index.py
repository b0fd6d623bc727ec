"""QdrantIndex: dense, sparse and token vectors in Qdrant: embedded (Edge), on a server, or in the client's local mode.

The folder contains ``settings.json`` (settings, place and last committed journal sequence) and, for engines on this
machine, their files.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array, csr_matrix, issparse

from indexing.documents import check_ids
from indexing.errors import InputError, StorageError
from indexing.filters import Fields, FieldType, FilterLike, batch_field_values, check_fields
from indexing.hits import Hits
from indexing.indexes.base import Index, Terms
from indexing.indexes.names import TOKEN_METRICS
from indexing.indexes.qdrant import files as qdrant_files
from indexing.indexes.qdrant.client import ClientEngine
from indexing.indexes.qdrant.edge import EdgeEngine
from indexing.indexes.qdrant.engine import PointBatch, QdrantEngine, point_id
from indexing.indexes.qdrant.search import QdrantSearch, Queries
from indexing.indexes.qdrant.settings import DENSE, SPARSE, TOKENS, Engine, QdrantServer, QdrantSettings
from indexing.indexes.qdrant.tokens import document_tokens
from indexing.indexes.settings_json import SETTINGS
from indexing.indexes.terms import terms_by_score
from indexing.indexes.vectors import check_vectors, check_weights
from indexing.inputs import local_path
from indexing.plurals import counted
from indexing.token_vectors import TokenVectors


class BothRows(NamedTuple):
    """Rows of an index whose points have a dense and a sparse vector."""

    vectors: NDArray[np.floating]
    weights: csr_matrix


class QdrantIndex(Index):
    """Points with a dense vector, a sparse one, or both, or with token vectors, under string ids.

    Token vectors are compared by MaxSim. A document without any is stored, but is never a hit.

    Ids are mapped to UUIDs (version 5) and kept in the payload as they are; declared fields are payload indexes. Ties
    at the cutoff are resolved by doc_id only among what Qdrant returns. Edge builds its graph in `optimize` only and
    searches exactly before; a server builds it by itself.
    """

    kind = "qdrant"

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
        name: str | None = None,
    ) -> None:
        super().__init__(path, read_only=read_only)
        self.settings, self.server = settings, server
        self.fields: dict[str, FieldType] = dict(fields)
        self._engine, self._engine_name = engine, engine_name
        self._sequence, self.opens_once = sequence, server is None
        self._search = QdrantSearch(path, engine, settings, self.fields, alone=server is None, name=name)

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
        """Make an empty index in a folder that holds none.

        Parameters
        ----------
        path
            The folder.
        dimension, vocabulary
            Of the dense and of the sparse vectors; 0 for none. With ``metric="maxsim"`` or ``"meanmaxsim"`` the
            dimension of token vectors.
        fields
            The metadata fields that searches may filter by, with their types (see `indexing.filters`).
        engine
            ``"edge"`` (the default), ``"local"``, or ``"server"`` (the default when `server` is given).
        server
            Where the server is.
        settings
            As in `QdrantSettings`.
        """
        if settings.get("metric") in TOKEN_METRICS:
            settings = {"m": 0, **settings}  # a graph of token vectors takes long to build, and is seldom faster
        chosen = QdrantSettings(dimension, vocabulary, **settings)
        path, made, name, declared = cls._make(local_path(path, "path"), chosen, fields, engine, server)
        index = cls(path, chosen, declared, made, engine_name=name, server=server)
        index.commit()
        return index

    @classmethod
    def _make(
        cls,
        path: Path,
        settings: QdrantSettings,
        fields: Fields | None,
        engine: Engine | None,
        server: QdrantServer | None,
    ) -> tuple[Path, QdrantEngine, Engine, Fields]:
        """Make the engine of an empty index; return the folder, the engine, its name, and the checked fields."""
        name: Engine = engine or ("edge" if server is None else "server")
        if name not in ("edge", "local", "server") or (name == "server") != (server is not None):
            raise InputError(f"engine must be 'edge', 'local', or 'server' with a server given, not {engine!r}")
        if (path / SETTINGS).exists():
            raise StorageError(f"{path} already holds an index: open it, or remove the folder first")
        path.mkdir(parents=True, exist_ok=True)
        declared = check_fields(fields or {})
        if name == "edge":
            return path, EdgeEngine.create(path / "shard", settings.schema, declared), name, declared
        return path, ClientEngine.create(path / "local", settings.schema, declared, server), name, declared

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
        path = local_path(path, "path")
        stored = qdrant_files.read_settings(path, api_key)
        return cls._opened(path, stored, _engine(path, stored), read_only)

    @classmethod
    def _opened(
        cls, path: Path, stored: qdrant_files.Stored, engine: QdrantEngine, read_only: bool, **more: Any
    ) -> Self:
        return cls(
            path,
            stored.settings,
            stored.fields,
            engine,
            engine_name=stored.engine,
            server=stored.server,
            sequence=stored.sequence,
            read_only=read_only,
            **more,
        )

    def upsert(
        self,
        ids: Sequence[str],
        rows: "NDArray[np.floating] | csr_matrix | BothRows | TokenVectors",
        metadata: Sequence[Mapping[str, Any]] | None = None,
    ) -> None:
        """Store points under their ids: vectors [n, dimension], weights [n, vocabulary], `BothRows` or `TokenVectors`.

        Errors as in `Index.upsert`. When a server stops answering in between (`StorageError`), the same call may be
        repeated.
        """
        self._check_writable()
        check_ids(ids)
        if self.settings.of_tokens:
            self._upsert_tokens(ids, rows, metadata)
            return
        vectors, weights = rows if isinstance(rows, BothRows) else (None, rows) if issparse(rows) else (rows, None)
        if (vectors is None) != (not self.settings.dimension) or (weights is None) != (not self.settings.vocabulary):
            raise InputError(f"points of the index {self.path} have {self._search.parts}: give just that")
        dense = None if vectors is None else check_vectors(vectors, self.settings.dimension, self.path, ids)
        sparse = None if weights is None else check_weights(weights, self.settings.vocabulary, self.path, ids)
        by_name = {name: matrix for name, matrix in ((DENSE, dense), (SPARSE, sparse)) if matrix is not None}
        for matrix in by_name.values():
            if matrix.shape[0] != len(ids):
                raise InputError(f"{counted(len(ids), 'id')} for {counted(matrix.shape[0], 'row')}")
        values = batch_field_values(self.fields, ids, metadata)
        if len(ids):
            self._search.clear_counts()
            self._engine.upsert(PointBatch(list(ids), by_name, values))

    def _upsert_tokens(self, ids: Sequence[str], rows: Any, metadata: Sequence[Mapping[str, Any]] | None) -> None:
        tokens = document_tokens(rows, self.settings, self.path, ids)
        if tokens.texts != len(ids):
            raise InputError(f"{counted(len(ids), 'id')} for the token vectors of {counted(tokens.texts, 'document')}")
        values = batch_field_values(self.fields, ids, metadata)
        if len(ids):
            self._search.clear_counts()
            self._engine.upsert(PointBatch(list(ids), {TOKENS: tokens}, values))

    def delete(self, ids: Sequence[str]) -> int:
        """Remove these ids, ignore unknown ones, and return how many existed."""
        self._check_writable()
        if isinstance(ids, str):
            raise InputError(f"ids must be a list of ids, not the string {ids!r}")
        distinct = list(dict.fromkeys(ids))
        there = self._search.count_ids(distinct) if distinct else 0
        if there:
            self._search.clear_counts()
            self._engine.delete([point_id(doc_id) for doc_id in distinct])
        return there

    def search(self, queries: Queries, k: int, filter: FilterLike | None = None) -> Hits:
        """Return the `k` best of each query as `Index.search`.

        Queries are dense vectors [queries, dimension], weights as CSR, or `TokenVectors`. Scores are inner products (of
        normalised vectors for cosine), or MaxSim, float32. Sparse queries find only documents that
        share a term. A filter that keeps at most `SCAN_BELOW` of all points is searched exactly.
        """
        self._check_open()
        return self._search.search(self.engine_queries(queries), k, filter)

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
        """Search both vectors in one call and let Qdrant fuse the results.

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
        self._check_open()
        if fusion not in ("rrf", "dbsf"):
            raise InputError(f"unknown fusion {fusion!r}: there are 'rrf' and 'dbsf'")
        more = {"fusion": fusion, "rank_constant": rank_constant, "depth": max(depth, k)}
        return self._search.fused_search(vectors, weights, k, filter, **more)

    def score(self, queries: Queries, doc_ids: Sequence[Sequence[str]]) -> NDArray[np.float32]:
        """Score given candidates exactly, as `Index.score`; `EMPTY_SCORE` for a document without token vectors."""
        self._check_open()
        return self._search.score(self.engine_queries(queries), doc_ids)

    def engine_queries(self, queries: Any) -> Any:
        """Return queries in the form that the engine takes: vectors, weights or texts."""
        return queries

    def vectors(self, ids: Sequence[str]) -> NDArray[np.float32] | TokenVectors:
        """Return the kept vectors of these ids, [ids, dimension], or their token vectors, in float32.

        Raises
        ------
        InputError
            For an unknown id, and for points without vectors.
        """
        self._check_open()
        return self._search.vectors(ids)

    def present(self, ids: Sequence[str]) -> NDArray[np.bool_]:
        """Return which of these ids the index holds, bool [ids]."""
        self._check_open()
        return self._search.present(ids)

    def matched_terms(self, queries: Any, hits: Hits, vocabulary: Sequence[str] | None = None) -> list[Terms] | None:
        """Return each shared term with its part of the score; None for dense queries."""
        if vocabulary is None or not isinstance(queries, csr_matrix | csr_array):
            return None
        return terms_by_score(self, csr_matrix(queries), hits, vocabulary)

    def statistics_shards(self) -> int:
        """Return the number of shards that Qdrant keeps the points in."""
        self._check_open()
        return self._engine.shards()

    def optimize(self) -> None:
        """Build the graphs of new points (Edge), or wait until the server has."""
        self._check_writable()
        self._engine.optimize()

    def finish_indexing(self) -> None:
        """Build the graphs: Edge does so only when asked."""
        self.optimize()

    def files(self) -> list[Path]:
        """Return no files: Qdrant changes its files in place."""
        return []

    def refresh(self) -> bool:
        """Read the last committed sequence again: searches always see the engine's present state."""
        self._check_open()
        before, self._sequence = self._sequence, qdrant_files.read_settings(self.path).sequence
        self._search.clear_counts()
        return before != self._sequence

    def commit(self, sequence: int | None = None) -> None:
        """Make everything so far durable as `Index.commit`."""
        self._check_writable()
        self._engine.flush()
        number = self._sequence if sequence is None else int(sequence)
        qdrant_files.write_settings(self.path, self._stored(number))
        self._sequence = number

    def _stored(self, sequence: int) -> qdrant_files.Stored:
        return qdrant_files.Stored(self._engine_name, self.settings, self.fields, self.server, sequence)

    def close(self) -> None:
        """Release the engine."""
        if not self._lifetime.closed:
            self._lifetime.closed = True
            self._engine.close()

    def __len__(self) -> int:
        self._check_open()
        return self._search.count()

    def __contains__(self, doc_id: object) -> bool:
        self._check_open()
        return isinstance(doc_id, str) and self._search.count_ids([doc_id]) > 0


def _engine(path: Path, stored: qdrant_files.Stored) -> QdrantEngine:
    """Open the engine of the index in this folder."""
    if stored.engine == "edge":
        return EdgeEngine.open(path / "shard", stored.settings.schema)
    return ClientEngine.open(path / "local", stored.settings.schema, stored.server)
