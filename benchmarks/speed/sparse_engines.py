"""Time BM25 (two ways) and SPLADE-like weights in Qdrant Edge beside Lucene, as the number of documents grows.

Words have Zipf-like frequencies and documents log-normal lengths; weights have terms of the same frequencies, 100 a
document and 30 a query. Processor time is reported beside the clock's, which other load disturbs.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from scipy.sparse import csr_matrix

from benchmarks.speed.measure import Row, timed_row
from benchmarks.speed.resumed_build import Place
from indexing.errors import InputError
from indexing.indexes.base import Index
from indexing.indexes.lucene.bm25 import Bm25Index
from indexing.indexes.lucene.impact import ImpactIndex
from indexing.indexes.qdrant.bm25 import QdrantBm25Index
from indexing.indexes.qdrant.index import QdrantIndex
from indexing.indexes.qdrant.text_query import QdrantTextIndex

K = 10
BATCH = 10_000
VOCABULARY = 30_000
WORDS_PER_DOCUMENT = 60
TERMS, QUERY_TERMS = 100, 30
WARM_UP = 200
"""Calls before timing starts: Java compiles a method after some hundred calls."""


@dataclass(frozen=True)
class Setting:
    """One kind of rows: a name, its file name, the class and the maker of each engine's index, rows, and queries."""

    name: str
    short: str
    edge: tuple[Any, Callable[[Path], Index]]
    lucene: tuple[Any, Callable[[Path], Index]]
    rows: Callable[[int], Iterator[Any]]
    queries: Callable[[int], Any]


class Measured(NamedTuple):
    """Measurements of one index: medians of a search in seconds, its hits, processor seconds of the build, bytes."""

    search: float
    hits: list[Sequence[str]]
    build: float
    size: int
    used: float


SETTINGS = (
    Setting(
        "BM25 of {:,} texts",
        "bm25",
        (QdrantBm25Index, lambda path: QdrantBm25Index.create_of_texts(path)),
        (Bm25Index, lambda path: Bm25Index.create(path)),
        lambda size: texts(size, WORDS_PER_DOCUMENT, 0),
        lambda count: next(texts(count, 6, 1)),
    ),
    Setting(
        "BM25 of {:,} texts that Qdrant scores itself",
        "text-query",
        (QdrantTextIndex, lambda path: QdrantTextIndex.create_of_texts(path)),
        (Bm25Index, lambda path: Bm25Index.create(path)),
        lambda size: texts(size, WORDS_PER_DOCUMENT, 0),
        lambda count: next(texts(count, 6, 1)),
    ),
    Setting(
        "term weights of {:,} documents",
        "weights",
        (QdrantIndex, lambda path: QdrantIndex.create(path, vocabulary=VOCABULARY)),
        (ImpactIndex, lambda path: ImpactIndex.create(path, vocabulary=[f"w{number}" for number in range(VOCABULARY)])),
        lambda size: weights(size, TERMS, 0),
        lambda count: next(weights(count, QUERY_TERMS, 1)),
    ),
)
LEGS = tuple(setting.short for setting in SETTINGS)


def searching(
    sizes: Sequence[int], queries: int, *, legs: Sequence[str] = LEGS, place: Place | None = None
) -> list[Row]:
    """Return a row for each kind of leg and size: ours in Edge, theirs in Lucene.

    Parameters
    ----------
    sizes
        Numbers of documents.
    queries
        Number of queries.
    legs
        Kinds of legs, of `LEGS`.
    place
        Where the indexes are built; by default in folders that are removed.
    """
    unknown = next((leg for leg in legs if leg not in LEGS), None)
    if unknown is not None:
        raise InputError(f"--legs takes {', '.join(LEGS)}, not {unknown!r}")
    chosen = [setting for setting in SETTINGS if setting.short in legs]
    rows = []
    for size in sizes:
        lucene: dict[Any, Measured] = {}
        for setting in chosen:
            kind = setting.lucene[0]
            if kind not in lucene:
                lucene[kind] = _measured(setting, "lucene", size, queries, place or Place())
            ours = _measured(setting, "edge", size, queries, place or Place())
            rows.append(_row(setting.name.format(size), ours, lucene[kind]))
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


def _row(setting: str, ours: Measured, theirs: Measured) -> Row:
    overlap = np.mean([len(set(a) & set(b)) / max(1, len(b)) for a, b in zip(ours.hits, theirs.hits, strict=True)])
    detail = (
        f"p50 {1000 * ours.search:.2f} and {1000 * theirs.search:.2f} ms, "
        f"processor {1000 * ours.used:.2f} and {1000 * theirs.used:.2f} ms; "
        f"build {ours.build:.1f} and {theirs.build:.1f} processor s; "
        f"{ours.size / 1e6:.1f} and {theirs.size / 1e6:.1f} MB (Edge, Lucene)"
    )
    return timed_row("search", "Lucene", f"{setting}, Qdrant Edge", ours.search, theirs.search, float(overlap), detail)


def _measured(setting: Setting, engine: str, size: int, queries: int, place: Place) -> Measured:
    """Fill an index and search it."""
    kind, make = setting.edge if engine == "edge" else setting.lucene
    # Both settings of texts have the same index in Lucene.
    name = f"{setting.short if engine == 'edge' else kind.__name__}-{size}-{engine}"
    asked = setting.queries(queries)
    with place.index(name, make, kind.open) as index:
        seconds = place.build(index, setting.rows(size), BATCH, size)
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
        return Measured(float(np.median(times)), found, seconds, index.size_bytes, float(np.median(spent)))
