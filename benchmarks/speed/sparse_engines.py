"""Time BM25 and SPLADE-like weights in Qdrant Edge beside the same in Lucene, as the number of documents grows.

Words have Zipf-like frequencies and documents log-normal lengths; weights have terms of the same frequencies, 100 a
document and 30 a query. Processor time is reported beside the clock's, which other load disturbs.
"""

import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy.sparse import csr_matrix

from benchmarks.speed.measure import Row, timed_row
from indexing.indexes.base import Index
from indexing.indexes.lucene.bm25 import Bm25Index
from indexing.indexes.lucene.impact import ImpactIndex
from indexing.indexes.qdrant.bm25 import QdrantBm25Index
from indexing.indexes.qdrant.index import QdrantIndex

K = 10
BATCH = 10_000
VOCABULARY = 30_000
WORDS_PER_DOCUMENT = 60
TERMS, QUERY_TERMS = 100, 30
WARM_UP = 200
"""Calls before timing starts: Java compiles a method after some hundred calls."""


def searching(sizes: Sequence[int], queries: int) -> list[Row]:
    """Return a row for BM25 and one for term weights of each size: ours in Edge, theirs in Lucene."""
    vocabulary = [f"w{number}" for number in range(VOCABULARY)]
    rows = []
    for size in sizes:
        rows.append(
            _compared(
                f"BM25 of {size:,} texts",
                lambda path: QdrantBm25Index.create_of_texts(path),
                lambda path: Bm25Index.create(path),
                lambda size=size: texts(size, WORDS_PER_DOCUMENT, 0),
                next(texts(queries, 6, 1)),
            )
        )
        rows.append(
            _compared(
                f"term weights of {size:,} documents",
                lambda path: QdrantIndex.create(path, vocabulary=VOCABULARY),
                lambda path: ImpactIndex.create(path, vocabulary=vocabulary),
                lambda size=size: weights(size, TERMS, 0),
                next(weights(queries, QUERY_TERMS, 1)),
            )
        )
    return rows


def texts(count: int, length: int, seed: int) -> Iterator[list[str]]:
    """Yield batches of texts with words of Zipf-like frequencies, of log-normal lengths around `length`."""
    rng = np.random.default_rng(seed)
    names = np.array([f"w{number}" for number in range(VOCABULARY)])
    for start in range(0, count, BATCH):
        lengths = np.maximum(1, rng.lognormal(np.log(length), 0.4, min(BATCH, count - start)).astype(int))
        words = names[_terms(rng, int(lengths.sum()))]
        yield [" ".join(part) for part in np.split(words, np.cumsum(lengths)[:-1])]


def weights(count: int, terms: int, seed: int) -> Iterator[csr_matrix]:
    """Yield batches of term weights, with terms of Zipf-like frequencies."""
    rng = np.random.default_rng(seed)
    for start in range(0, count, BATCH):
        rows = min(BATCH, count - start)
        columns = np.sort(_terms(rng, rows * terms).reshape(rows, terms), axis=1).ravel()
        data = rng.gamma(2.0, 0.4, rows * terms).astype(np.float32)
        matrix = csr_matrix((data, columns, np.arange(0, rows * terms + 1, terms)), shape=(rows, VOCABULARY))
        matrix.sum_duplicates()
        yield matrix


def _terms(rng: np.random.Generator, count: int) -> np.ndarray:
    """Draw terms whose frequency falls as 1 / (rank + 10)."""
    share = np.cumsum(1 / np.arange(10, VOCABULARY + 10))
    return np.searchsorted(share, rng.random(count) * share[-1])


def _compared(
    setting: str,
    edge: Callable[[Path], Index],
    lucene: Callable[[Path], Index],
    rows: Callable[[], Iterator[Any]],
    asked: Any,
) -> Row:
    measured = []
    for make in (edge, lucene):
        with tempfile.TemporaryDirectory() as folder, make(Path(folder) / "index") as index:
            measured.append(_measured(index, rows, asked))
    (ours, our_hits, our_build, our_size, used), (theirs, their_hits, their_build, their_size, they_used) = measured
    overlap = np.mean([len(set(a) & set(b)) / max(1, len(b)) for a, b in zip(our_hits, their_hits, strict=True)])
    detail = (
        f"p50 {1000 * ours:.2f} and {1000 * theirs:.2f} ms, processor {1000 * used:.2f} and {1000 * they_used:.2f} ms; "
        f"build {our_build:.1f} and {their_build:.1f} processor s; "
        f"{our_size / 1e6:.1f} and {their_size / 1e6:.1f} MB (Edge, Lucene)"
    )
    return timed_row("search", "Lucene", f"{setting}, Qdrant Edge", ours, theirs, float(overlap), detail)


def _measured(
    index: Index, rows: Callable[[], Iterator[Any]], asked: Any
) -> tuple[float, list[Sequence[str]], float, int, float]:
    """Fill an index and search it.

    Returns
    -------
    The median time of a search, the hits, the processor seconds of the build, the bytes, and the median processor time.
    """
    first, seconds = 0, 0.0
    for batch in rows():
        count = batch.shape[0] if hasattr(batch, "shape") else len(batch)
        start = time.process_time()
        index.upsert([f"d{number}" for number in range(first, first + count)], batch, [{}] * count)
        seconds += time.process_time() - start
        first += count
    start = time.process_time()
    index.finish_indexing()
    index.optimize()
    index.commit(1)
    seconds += time.process_time() - start
    single = [asked[at : at + 1] for at in range(asked.shape[0] if hasattr(asked, "shape") else len(asked))]
    for call in range(WARM_UP):
        index.search(single[call % len(single)], K)
    times, found, spent = [], [], []
    for query in single:
        start, used = time.perf_counter(), time.process_time()
        hits = index.search(query, K)
        times.append(time.perf_counter() - start)
        spent.append(time.process_time() - used)
        found.append(hits[0].doc_ids)
    return float(np.median(times)), found, seconds, index.size_bytes, float(np.median(spent))
