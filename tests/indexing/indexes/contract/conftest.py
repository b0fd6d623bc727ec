"""Every index behind one interface, so that one suite can be run on all of them.

A document's content is a number: from it each backend makes what it holds (a vector, weights, a text).
"""

import json
import os
import sqlite3
import uuid
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.sparse import csr_matrix

from indexing.documents import Document
from indexing.filters import parse_filter, sqlite_indexes, sqlite_where
from indexing.hits import Hits
from indexing.indexes.faiss.index import FaissIndex
from indexing.indexes.lucene.bm25 import Bm25Index
from indexing.indexes.lucene.impact import ImpactIndex
from indexing.indexes.qdrant.index import QdrantIndex
from indexing.indexes.qdrant.settings import QdrantServer

FIELDS = {"lang": "keyword", "year": "number", "seen": "date", "draft": "boolean"}
TERMS = 16

Metadata = Mapping[str, Any]


def rows_of(contents: Sequence[int]) -> np.ndarray:
    """Different rows of 16 numbers from 0.01 to 3, some of them 0."""
    rows = [np.random.default_rng(one).uniform(0.01, 3, TERMS) for one in contents]
    kept = [np.random.default_rng(one + 1_000_000).random(TERMS) < 0.6 for one in contents]
    return (np.array(rows) * np.array(kept)).astype(np.float32).reshape(-1, TERMS)


class Backend:
    """One kind of index in one folder."""

    name: str
    exact = True

    def __init__(self, path: Path) -> None:
        self.path = path

    def payload(self, contents: Sequence[int]) -> Any:
        return rows_of(contents)

    def bad(self) -> dict[str, Any]:
        """Payloads of one document that must be refused."""
        return {"nan": np.full((1, TERMS), np.nan, np.float32), "dimension": np.ones((1, TERMS + 1), np.float32)}

    def scores(self, contents: Sequence[int], queries: Sequence[int]) -> np.ndarray | None:
        """The scores there should be, [queries, documents]."""
        rows, asked = rows_of(contents).astype(np.float64), rows_of(queries).astype(np.float64)
        return (asked / np.linalg.norm(asked, axis=1, keepdims=True)) @ (
            rows / np.linalg.norm(rows, axis=1, keepdims=True)
        ).T

    def create(self) -> Any:
        raise NotImplementedError

    def open(self, **options: Any) -> Any:
        raise NotImplementedError

    def upsert(self, index: Any, ids: Sequence[str], payload: Any, metadata: Sequence[Metadata]) -> None:
        index.upsert(ids, payload, metadata=metadata)

    def delete(self, index: Any, ids: Sequence[str]) -> int:
        return index.delete(ids)

    def search(self, index: Any, payload: Any, k: int, filter: Any = None) -> Hits:
        return index.search(payload, k, filter=filter)


class Faiss(Backend):
    """FAISS with its filters computed by SQLite, as in a collection."""

    def __init__(self, path: Path, **settings: Any) -> None:
        super().__init__(path)
        self._settings = settings
        self._store = sqlite3.connect(":memory:")
        self._store.execute("CREATE TABLE documents (doc_id TEXT PRIMARY KEY, metadata TEXT)")
        for statement in sqlite_indexes(FIELDS):
            self._store.execute(statement)

    def create(self) -> FaissIndex:
        return FaissIndex.create(self.path, TERMS, **self._settings)

    def open(self, **options: Any) -> FaissIndex:
        return FaissIndex.open(self.path, **options)

    def upsert(self, index: Any, ids: Sequence[str], payload: Any, metadata: Sequence[Metadata]) -> None:
        index.upsert(ids, payload)
        rows = [(doc_id, json.dumps(one)) for doc_id, one in zip(ids, metadata, strict=True)]
        self._store.executemany("INSERT OR REPLACE INTO documents VALUES (?, ?)", rows)

    def search(self, index: Any, payload: Any, k: int, filter: Any = None) -> Hits:
        if filter is None:
            return index.search(payload, k)
        sql, values = sqlite_where(parse_filter(filter, FIELDS), FIELDS)
        kept = self._store.execute(f"SELECT doc_id FROM documents WHERE {sql}", values)
        return index.search(payload, k, allowed=[row[0] for row in kept])


class Qdrant(Backend):
    def __init__(self, path: Path, *, sparse: bool = False, engine: str = "edge", server: Any = None) -> None:
        super().__init__(path)
        self._sparse, self._engine, self._server = sparse, engine, server

    def payload(self, contents: Sequence[int]) -> Any:
        return csr_matrix(rows_of(contents)) if self._sparse else rows_of(contents)

    def bad(self) -> dict[str, Any]:
        return {name: csr_matrix(one) if self._sparse else one for name, one in super().bad().items()}

    def scores(self, contents: Sequence[int], queries: Sequence[int]) -> np.ndarray | None:
        return rows_of(queries) @ rows_of(contents).T if self._sparse else super().scores(contents, queries)

    def create(self) -> QdrantIndex:
        shape = {"vocabulary": TERMS} if self._sparse else {"dimension": TERMS}
        return QdrantIndex.create(self.path, **shape, fields=FIELDS, engine=self._engine, server=self._server)

    def open(self, **options: Any) -> QdrantIndex:
        return QdrantIndex.open(self.path, **options)

    def upsert(self, index: Any, ids: Sequence[str], payload: Any, metadata: Sequence[Metadata]) -> None:
        vectors = {"weights": payload} if self._sparse else {"vectors": payload}
        index.upsert(ids, **vectors, metadata=metadata)


class Impact(Backend):
    def payload(self, contents: Sequence[int]) -> Any:
        return csr_matrix(rows_of(contents))

    def bad(self) -> dict[str, Any]:
        return {name: csr_matrix(one) for name, one in super().bad().items()}

    def scores(self, contents: Sequence[int], queries: Sequence[int]) -> np.ndarray | None:
        return np.rint(rows_of(queries) * 100) @ np.rint(rows_of(contents) * 100).T

    def create(self) -> ImpactIndex:
        return ImpactIndex.create(self.path, vocabulary=[f"t{number}" for number in range(TERMS)], fields=FIELDS)

    def open(self, **options: Any) -> ImpactIndex:
        return ImpactIndex.open(self.path, **options)


class Bm25(Backend):
    def __init__(self, path: Path, **settings: Any) -> None:
        super().__init__(path)
        self._settings = settings

    def payload(self, contents: Sequence[int]) -> list[str]:
        counts = np.ceil(rows_of(contents)).astype(int)
        return [" ".join(f"t{term} " * count for term, count in enumerate(row)) for row in counts]

    def bad(self) -> dict[str, Any]:
        return {}

    def scores(self, contents: Sequence[int], queries: Sequence[int]) -> np.ndarray | None:
        return None  # tests/indexing/indexes/lucene/test_bm25.py has the formula

    def create(self) -> Bm25Index:
        return Bm25Index.create(self.path, fields=FIELDS, **self._settings)

    def open(self, **options: Any) -> Bm25Index:
        return Bm25Index.open(self.path, **options)

    def upsert(self, index: Any, ids: Sequence[str], payload: Any, metadata: Sequence[Metadata]) -> None:
        rows = zip(ids, payload, metadata, strict=True)
        index.upsert([Document(doc_id, text, text[:40], one) for doc_id, text, one in rows])


BACKENDS = {
    "faiss-flat": partial(Faiss, kind="flat"),
    "faiss-hnsw": partial(Faiss, kind="hnsw"),
    "faiss-ivf": partial(Faiss, kind="ivf", nlist=4, nprobe=4, training_sample=150),
    "qdrant-edge": Qdrant,
    "qdrant-edge-sparse": partial(Qdrant, sparse=True),
    "qdrant-local": partial(Qdrant, engine="local"),
    "qdrant-local-sparse": partial(Qdrant, engine="local", sparse=True),
    "bm25": Bm25,
    "bm25-multifield": partial(Bm25, weights={"title": 2.0, "text": 1.0}),
    "impact": Impact,
}
SERVERS = {
    "qdrant-server": {},
    "qdrant-server-grpc": {"grpc": True},
    "qdrant-server-sparse": {"sparse": True},
}
_NO_SERVER = pytest.mark.skipif("QDRANT_URL" not in os.environ, reason="QDRANT_URL names no server")


@pytest.fixture(params=[*BACKENDS, *(pytest.param(name, marks=_NO_SERVER) for name in SERVERS)], scope="module")
def make_backend(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Give a function that makes the backend in a folder of its own."""
    made: list[str] = []

    def make() -> Backend:
        path = tmp_path_factory.mktemp("contract") / "index"
        if request.param in BACKENDS:
            return BACKENDS[request.param](path)
        options = dict(SERVERS[request.param])
        made.append(f"contract-{uuid.uuid4().hex}")
        server = QdrantServer(os.environ["QDRANT_URL"], made[-1], grpc=options.pop("grpc", False))
        return Qdrant(path, engine="server", server=server, **options)

    yield make
    if made:
        from qdrant_client import QdrantClient

        client = QdrantClient(url=os.environ["QDRANT_URL"], api_key=os.environ.get("QDRANT_API_KEY"))
        for name in made:
            client.delete_collection(name)
