"""The process that writes in `two_processes.py`: it takes commands over a pipe, and may be killed in any of them."""

import traceback
from collections.abc import Mapping, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import faiss  # noqa: F401
from crash.cheap import WORDS, CheapTokens, CheapVectors, CheapWeights

from indexing.collection.manifest import Leg
from indexing.collection.writer import CollectionWriter
from indexing.documents import Document
from indexing.indexes.lucene import bm25, impact, search  # noqa: F401
from pipelines.build.job import build_legs, update_collection
from pipelines.build.plan import Plan
from pipelines.search.config import update_search_file

FIELDS = {"color": "keyword", "year": "number"}
ENCODERS = {"dense": CheapVectors(), "edge": CheapVectors(), "tokens": CheapTokens(), "sparse": CheapWeights()}


def plan(names: Sequence[str]) -> Plan:
    """Return the plan of a collection with these legs."""
    shape = {"dimension": CheapVectors.dimension, "metric": "cosine"}
    legs = {
        "bm25": Leg("bm25"),
        "dense": Leg("faiss", CheapVectors.identity, {**shape, "kind": "flat"}),
        "edge": Leg("qdrant", CheapVectors.identity, shape),
        "tokens": Leg("tokens", CheapTokens.identity, {"dimension": CheapVectors.dimension, "bits": 16}),
        "sparse": Leg("impact", CheapWeights.identity),
    }
    encoders = {name: ENCODERS[name] for name in names if name != "bm25"}
    vocabularies = {"sparse": WORDS} if "sparse" in names else {}
    return Plan({name: legs[name] for name in names}, encoders, vocabularies, FIELDS)


class Writing:
    """The commands, each a method. A `CollectionWriter` stays open from the first write until a command closes it."""

    def __init__(self, path: Path, legs: Sequence[str], commit_seconds: float) -> None:
        self.path, self.plan, self.commit_seconds = path, plan(legs), commit_seconds
        self._writer: CollectionWriter | None = None

    @property
    def writer(self) -> CollectionWriter:
        if self._writer is None:
            self._writer = CollectionWriter.open(
                self.path, encoders=self.plan.encoders, commit_seconds=self.commit_seconds
            )
        return self._writer

    def upsert(self, documents: Sequence[Document]) -> None:
        encoders = self.plan.encoders
        texts = [document.contents for document in documents]
        rows = {name: encoder.encode_document(texts) for name, encoder in encoders.items()}
        self.writer.upsert(documents, rows)

    def delete(self, ids: Sequence[str]) -> int:
        return self.writer.delete(ids)

    def delete_matching(self, filter: Mapping[str, Any]) -> int:
        return self.writer.delete(filter=filter)

    def commit(self) -> None:
        self.writer.commit()

    def compact(self) -> None:
        self.writer.compact()

    def reindex(self, name: str, **parameters: Any) -> None:
        self.writer.reindex(name, **parameters)

    def close(self) -> None:
        if self._writer is not None:
            writer, self._writer = self._writer, None
            with writer:
                pass

    def abandon(self) -> None:
        """Close without a commit: the journal keeps what was written."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def update(self, documents: Sequence[Document], remove: bool) -> None:
        self.close()
        more = {"show_progress": False, "commit_seconds": self.commit_seconds}
        update_collection(documents, self.path, encoders=self.plan.encoders, remove=remove, **more)

    def build(self, documents: Sequence[Document]) -> None:
        self.close()
        more = {"show_progress": False, "commit_seconds": self.commit_seconds}
        build_legs(documents, self.path, self.plan, overwrite=True, **more)

    def configure(self, changes: Mapping[str, Any]) -> None:
        update_search_file(self.path, changes)


def serve(connection: Connection, path: Path, legs: Sequence[str], commit_seconds: float) -> None:
    """Run commands until the other end is closed; answer each with None, or with the traceback of its error."""
    writing = Writing(path, legs, commit_seconds)
    while True:
        try:
            name, arguments = connection.recv()
        except EOFError:
            return
        try:
            getattr(writing, name)(**arguments)
            connection.send(None)
        except BaseException:
            connection.send(traceback.format_exc())
