"""Every kind of index, made and opened through the registry alone, as a collection does.

A document's content is a number: from it come its vector, its weights or its text, whichever the kind takes.
"""

import os
import uuid
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from index_rows import TERMS, numbers_of, rows_from
from indexing.collection.shards import Shards, TokenRows
from indexing.collection.store import DocumentStore
from indexing.collection.stored_rows import StoredTokenRows
from indexing.documents import Document
from indexing.filters import Fields, parse_filter
from indexing.indexes.base import Index, Lookups, Making
from indexing.indexes.registry import kind_of, rows_of
from indexing.max_sim import max_sim

FIELDS: Fields = {"lang": "keyword", "year": "number", "seen": "date", "draft": "boolean"}
VOCABULARY = [f"t{number}" for number in range(TERMS)]
VECTORS: dict[str, Any] = {"dimension": TERMS}
WEIGHTS: dict[str, Any] = {"columns": TERMS}
WORDS: dict[str, Any] = {"analyzer": "anserini-default-english"}

Metadata = Mapping[str, Any]

INDEXES: dict[str, tuple[str, dict[str, Any]]] = {
    "faiss-flat": ("faiss", {**VECTORS, "kind": "flat"}),
    "faiss-hnsw": ("faiss", {**VECTORS, "kind": "hnsw"}),
    "faiss-ivf": ("faiss", {**VECTORS, "kind": "ivf", "nlist": 4, "nprobe": 4, "training_sample": 150}),
    "qdrant-edge": ("qdrant", VECTORS),
    "qdrant-edge-sparse": ("qdrant", WEIGHTS),
    "qdrant-local": ("qdrant", {**VECTORS, "engine": "local"}),
    "qdrant-local-sparse": ("qdrant", {**WEIGHTS, "engine": "local"}),
    "qdrant-edge-tokens": ("qdrant", {**VECTORS, "metric": "maxsim"}),
    "qdrant-edge-tokens-graph": ("qdrant", {**VECTORS, "metric": "maxsim", "m": 16}),
    "qdrant-local-tokens": ("qdrant", {**VECTORS, "metric": "maxsim", "engine": "local"}),
    "qdrant-edge-words": ("qdrant", WORDS),
    "qdrant-local-words": ("qdrant", {**WORDS, "engine": "local"}),
    "qdrant-edge-text": ("qdrant", {"analyzer": "qdrant-en"}),
    "qdrant-local-text": ("qdrant", {"analyzer": "qdrant", "engine": "local"}),
    "bm25": ("bm25", {}),
    "bm25-multifield": ("bm25", {"weights": {"title": 2.0, "text": 1.0}}),
    "impact": ("impact", WEIGHTS),
    "postings": ("postings", WEIGHTS),
    "tokens": ("tokens", VECTORS),
    "tokens-stored": ("tokens", {**VECTORS, "bits": 0}),
    "tokens-stored-centroids": ("tokens", {**VECTORS, "bits": 0, "train_at": 150, "centroids": 8, "nprobe": 8}),
    "tokens-centroids": ("tokens", {**VECTORS, "bits": 16, "train_at": 150, "centroids": 8, "nprobe": 8}),
}
SERVERS: dict[str, tuple[str, dict[str, Any]]] = {
    "qdrant-server": ("qdrant", VECTORS),
    "qdrant-server-grpc": ("qdrant", {**VECTORS, "server": {"grpc": True}}),
    "qdrant-server-sparse": ("qdrant", WEIGHTS),
    "qdrant-server-tokens": ("qdrant", {**VECTORS, "metric": "maxsim"}),
    "qdrant-server-words": ("qdrant", WORDS),
    "qdrant-server-text": ("qdrant", {"analyzer": "qdrant-en"}),
}
_NO_SERVER = [
    pytest.mark.qdrant_server,
    pytest.mark.skipif("QDRANT_URL" not in os.environ, reason="QDRANT_URL names no server"),
]


class Subject:
    """One index in a folder of its own, beside a document store with the same documents."""

    def __init__(self, name: str, path: Path, backend: str, parameters: Mapping[str, Any]) -> None:
        self.name, self.path = name, path
        self.kind, self.parameters, self.rows = kind_of(backend), parameters, rows_of(backend, parameters)
        self.shared = "server" in parameters
        self.one_process = name.startswith("qdrant") and not self.shared
        self.store = DocumentStore.create(path.with_name("documents.sqlite"), fields=FIELDS)
        self.shards, self.stored_rows = None, None
        if self.rows == "tokens":
            codec = TokenRows(TERMS)
            self.shards = Shards(path.with_name("shards") / "tokens", codec)
            self.stored_rows = StoredTokenRows(self.store, self.shards.folder, codec)

    def matching(self, filter: Any) -> list[str]:
        return self.store.matching(parse_filter(filter, FIELDS), FIELDS)

    def create(self) -> Index:
        making = Making(FIELDS, lambda: VOCABULARY, Lookups(self.matching, self.stored_rows))
        return self.kind.create(self.path, self.parameters, making)

    def open(self, *, read_only: bool = False) -> Index:
        lookups = Lookups(self.matching, self.stored_rows)
        return self.kind.open(self.path, read_only=read_only, lookups=lookups)

    def payload(self, contents: Sequence[int]) -> Any:
        return rows_from(self.rows, numbers_of(contents))

    def upsert(self, index: Index, ids: Sequence[str], payload: Any, metadata: Sequence[Metadata]) -> None:
        self.record(ids, payload, metadata)
        index.upsert(ids, payload, metadata)

    def record(self, ids: Sequence[str], payload: Any, metadata: Sequence[Metadata]) -> None:
        """Write documents to the store, and their rows to the shards, as a collection does before its legs."""
        documents = [Document(doc_id, "", "", one) for doc_id, one in zip(ids, metadata, strict=True)]
        pieces = {}
        if self.shards is not None and ids:
            first = self.store.next_number
            pieces["tokens"] = self.shards.append(np.arange(first, first + len(ids)), payload)
        self.store.upsert(documents, pieces)
        for piece in pieces.values():
            self.shards.accept(piece)

    def bad(self) -> list[Any]:
        """Rows of one document that must be refused, for kinds that could be given such."""
        if self.rows == "text":
            return []
        wide, broken = np.ones((1, TERMS + 1), np.float32), np.full((1, TERMS), np.nan, np.float32)
        return [rows_from(self.rows, wide), rows_from(self.rows, broken)]

    def scores(self, contents: Sequence[int], queries: Sequence[int]) -> np.ndarray | None:
        """The scores by the formula [queries, documents]; of BM25 tests/indexing/indexes/lucene/test_bm25.py has it."""
        if self.rows == "tokens":
            kept, asked = self.payload(contents), self.payload(queries)
            return max_sim(asked, kept._replace(vectors=kept.vectors.astype(np.float16)))
        rows, asked = numbers_of(contents).astype(np.float64), numbers_of(queries).astype(np.float64)
        if self.rows == "vectors":
            rows, asked = (one / np.linalg.norm(one, axis=1, keepdims=True) for one in (rows, asked))
        elif self.name in ("impact",):
            rows, asked = np.rint(rows * 100), np.rint(asked * 100)
        return None if self.rows == "text" else asked @ rows.T


@pytest.fixture(params=[*INDEXES, *(pytest.param(name, marks=_NO_SERVER) for name in SERVERS)], scope="module")
def make_subject(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Return a function that makes the subject in a folder of its own."""
    made: list[str] = []

    def make() -> Subject:
        backend, parameters = (INDEXES | SERVERS)[request.param]
        if request.param in SERVERS:
            made.append(f"contract-{uuid.uuid4().hex}")
            server = {"url": os.environ["QDRANT_URL"], "collection": made[-1], **parameters.get("server", {})}
            parameters = {**parameters, "server": server}
        return Subject(request.param, tmp_path_factory.mktemp("contract") / "index", backend, parameters)

    yield make
    if made:
        from qdrant_client import QdrantClient

        client = QdrantClient(url=os.environ["QDRANT_URL"], api_key=os.environ.get("QDRANT_API_KEY"))
        for name in made:
            client.delete_collection(name)
