"""An index of token vectors, built over the shards of a collection and searched: recall, latency and size."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from indexing.collection.shards import Shards, TokenRows
from indexing.collection.store import DocumentStore
from indexing.collection.stored_rows import StoredTokenRows
from indexing.documents import Document
from indexing.indexes.tokens.index import TokenIndex
from indexing.max_sim import max_sim
from indexing.token_vectors import TokenVectors

K = 10
BATCH = 2048


@dataclass(frozen=True, slots=True)
class BuiltIndex:
    """An index of token vectors whose ids are the documents' numbers.

    Parameters
    ----------
    path
        Its folder.
    stored
        The documents' vectors in shards.
    seconds
        Seconds of its build, the storing of vectors included.
    bytes_a_vector
        Size of the index's files divided by the number of vectors; the shards do not count.
    """

    path: Path
    stored: StoredTokenRows
    seconds: float
    bytes_a_vector: float

    def search(self, queries: TokenVectors, best: NDArray[np.int64], **settings: Any) -> dict[str, float]:
        """Return recall of the `best` documents [queries, K] and the latency of one query at a time.

        `settings` are those of `TokenSettings` that apply to searches.
        """
        import torch  # noqa: F401  # as in a search that encodes its query: it converts float16

        with TokenIndex.open(self.path, read_only=True, stored_rows=self.stored) as index:
            index.settings = replace(index.settings, **settings)
            seconds, processor, found = [], [], 0
            for row in range(queries.texts):
                start, spent = time.perf_counter(), time.process_time()
                hits = index.search(queries.slice(row, row + 1), K)
                seconds.append(time.perf_counter() - start)
                processor.append(time.process_time() - spent)
                found += len({int(doc_id) for doc_id in hits.doc_ids} & set(best[row].tolist()))
        return {
            f"recall@{K}": round(found / best.size, 4),
            "p50_ms": round(float(np.median(seconds)) * 1e3, 1),
            "p95_ms": round(float(np.quantile(seconds, 0.95)) * 1e3, 1),
            "cpu_ms": round(float(np.median(processor)) * 1e3, 1),
        }


@contextmanager
def built(folder: Path, documents: TokenVectors, **settings: Any) -> Iterator[BuiltIndex]:
    """Build an index with centroids in a folder; `settings` are those of `TokenSettings`."""
    path = folder / "index"
    store = DocumentStore.create(folder / "documents.sqlite")
    try:
        shards = Shards(folder / "shards" / "tokens", TokenRows(documents.dimension))
        stored = StoredTokenRows(store, shards.folder, TokenRows(documents.dimension))
        start = time.perf_counter()
        settings = {"train_at": documents.texts} | settings
        with TokenIndex.create(path, documents.dimension, stored_rows=stored, **settings) as index:
            for first in range(0, documents.texts, BATCH):
                part = documents.slice(first, min(first + BATCH, documents.texts))
                ids = [str(number) for number in range(first, first + part.texts)]
                piece = shards.append(store.next_number + np.arange(part.texts), part)
                store.upsert([Document(doc_id, "") for doc_id in ids], {"tokens": piece})
                shards.accept(piece)
                index.upsert(ids, part)
        seconds = time.perf_counter() - start
        size = sum(file.stat().st_size for file in path.iterdir())
        yield BuiltIndex(path, stored, seconds, size / len(documents.vectors))
    finally:
        store.close()


def exact_best(queries: TokenVectors, documents: TokenVectors) -> NDArray[np.int64]:
    """Return the numbers of the K best documents of each query by exact MaxSim, int64 [queries, K]."""
    return np.argsort(-max_sim(queries, documents), axis=1, kind="stable")[:, :K]
