"""Time building, searching and filtering of the indexes, beside each other and beside bm25s.

Vectors are synthetic and clustered like real embeddings, because graphs do badly on uniform vectors. Queries are
perturbed documents. Each call has one query, as in a service; times are medians over the queries.
"""

import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from tqdm import tqdm

from benchmarks.speed.measure import Row, timed_row
from indexing.collection.store import DocumentStore
from indexing.documents import Document
from indexing.filters import Fields, parse_filter
from indexing.indexes.base import Index
from indexing.indexes.faiss.index import FaissIndex
from indexing.indexes.lucene.bm25 import Bm25Index
from indexing.indexes.lucene.impact import ImpactIndex
from indexing.indexes.qdrant.index import QdrantIndex

if TYPE_CHECKING:
    from indexing.hits import Hits

SEED = 0
DIMENSION = 384
CLUSTER_SIZE = 100
"""Mean number of documents per cluster."""
SPREAD = 0.7
"""Distance of a document from the centre of its cluster, which has length 1."""
K = 10
BATCH = 10_000
LOCAL_MAX_SIZE = 100_000
"""Largest size for qdrant-client's local mode, which compares with every vector in NumPy."""
WARM_UP = 5
JAVA_WARM_UP = 500
"""Calls before timing starts: Java compiles a method after some hundred calls."""
WORDS = 50_000
WORDS_PER_DOCUMENT = 60
FIELDS: Fields = {"part": "number"}
PARTS = 100
"""Number of values of the field `part`: a filter on one value keeps one document in so many."""
PART = 7
"""The value that the repeated filter keeps."""


@dataclass
class Built:
    """A filled index, its build time and size, and the function that searches with one query."""

    name: str
    index: Any
    seconds: float
    size: int
    search: "Callable[[int], Hits]"


def clustered(count: int, queries: int, dimension: int = DIMENSION) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return unit vectors around random centres, float32 [count, dimension], and queries near some of them."""
    rng = np.random.default_rng(SEED)
    centres = rng.standard_normal((max(1, count // CLUSTER_SIZE), dimension)).astype(np.float32)
    centres /= np.linalg.norm(centres, axis=1, keepdims=True)
    rows = np.empty((count, dimension), np.float32)
    for start in range(0, count, BATCH):
        stop = min(start + BATCH, count)
        rows[start:stop] = centres[rng.integers(len(centres), size=stop - start)]
        rows[start:stop] += _noise(rng, stop - start, dimension)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    asked = rows[rng.integers(count, size=queries)] + _noise(rng, queries, dimension)
    return rows, asked / np.linalg.norm(asked, axis=1, keepdims=True)


def dense(sizes: Sequence[int], queries: int, *, task: str) -> list[Row]:
    """Build and search every dense index at every size; `task` selects whose times are compared.

    A ratio is the time of exact search (FAISS Flat) divided by that of this index for ``search``, and the same with
    build times for ``index``. Agreement is recall@10 against exact search.
    """
    rows: list[Row] = []
    for size in sizes:
        vectors, asked = clustered(size, queries)
        exact: Built | None = None
        expected: list[list[str]] = []
        for name, make in tqdm(_dense_kinds(size), desc=f"{size:,} vectors", unit="index"):
            with tempfile.TemporaryDirectory() as folder:
                built = _fill(name, make(Path(folder) / "index"), vectors, asked)
                if exact is None:
                    exact, expected = built, [built.search(query)[0].doc_ids for query in range(queries)]
                times, found = _times(built.search, queries)
                flat_times = times if built is exact else _times(exact.search, queries)[0]
                ours, theirs = (times, flat_times) if task == "search" else ([built.seconds], [exact.seconds])
                recall = np.mean([len(set(a) & set(b)) / len(b) for a, b in zip(found, expected, strict=True)])
                detail = (
                    f"p50 {1000 * np.median(times):.2f} ms, p95 {1000 * np.quantile(times, 0.95):.2f} ms, "
                    f"build {built.seconds:.1f} s, {built.size / 1e6:.1f} MB on disk"
                )
                rows.append(
                    _row(task, "FAISS Flat (exact)", f"{size:,} x {DIMENSION}, {name}", ours, theirs, recall, detail)
                )
                if built is not exact:
                    built.index.close()
        if exact is not None:
            exact.index.close()
    return rows


def words(size: int, queries: int, *, task: str) -> Row:
    """Build and search BM25 beside bm25s on synthetic texts; agreement is the overlap of the top tens."""
    texts = zipf_texts(size, WORDS_PER_DOCUMENT, np.random.default_rng(SEED))
    asked = zipf_texts(queries, 6, np.random.default_rng(SEED + 1))
    ids = [f"d{number}" for number in range(size)]
    start = time.perf_counter()
    theirs, tokens = _bm25s(texts)
    theirs_build = time.perf_counter() - start
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        with Bm25Index.create(Path(folder) / "index") as index:
            index.upsert(ids, texts)
        build = time.perf_counter() - start
        with Bm25Index.open(Path(folder) / "index", read_only=True) as index:
            times, found = _times(lambda query: index.search([asked[query]], K), queries, JAVA_WARM_UP)

            def search_theirs(query: int) -> list[int]:
                return theirs.retrieve(tokens(asked[query]), k=K, show_progress=False).documents[0].tolist()

            their_times, their_hits = [], []
            for query in range(queries):
                start = time.perf_counter()
                their_hits.append(search_theirs(query))
                their_times.append(time.perf_counter() - start)
            overlap = np.mean(
                [len({f"d{at}" for at in b} & set(a)) / max(1, len(a)) for a, b in zip(found, their_hits, strict=True)]
            )
            ours_s, theirs_s = (times, their_times) if task == "search" else ([build], [theirs_build])
            size_mb = index.size_bytes / 1e6
    detail = f"p50 {1000 * np.median(times):.2f} ms, build {build:.1f} s, {size_mb:.1f} MB on disk"
    return _row(task, "bm25s", f"{size:,} texts of {WORDS_PER_DOCUMENT} words, BM25", ours_s, theirs_s, overlap, detail)


def filtered(size: int, queries: int) -> list[Row]:
    """Search with a filter that keeps 1% beside the same search without it.

    A ratio is the time without the filter divided by the time with a filter that was used before; the detail has the
    time of a filter's first use. Agreement is the share of queries whose top ten equal a full scan of the documents
    that the filter keeps.
    """
    ids = [f"d{number}" for number in range(size)]
    metadata = [{"part": number % PARTS} for number in range(size)]

    def matching(filter: Any) -> list[str]:
        return store.matching(parse_filter(filter, FIELDS), FIELDS)

    vectors = clustered(size, queries)
    weights = _weights(size, 100), _weights(queries, 30, SEED + 1)
    texts = (
        zipf_texts(size, WORDS_PER_DOCUMENT, np.random.default_rng(SEED)),
        zipf_texts(queries, 6, np.random.default_rng(SEED + 1)),
    )
    vocabulary = [f"t{at}" for at in range(WORDS)]
    indexes: dict[str, tuple[Callable[[Path], Index], tuple[Any, Any]]] = {
        "FAISS flat": (lambda path: FaissIndex.create(path, DIMENSION, matching=matching), vectors),
        "FAISS hnsw": (lambda path: FaissIndex.create(path, DIMENSION, kind="hnsw", matching=matching), vectors),
        "Qdrant Edge": (lambda path: QdrantIndex.create(path, DIMENSION, fields=FIELDS), vectors),
        "BM25": (lambda path: Bm25Index.create(path, fields=FIELDS), texts),
        "impacts": (lambda path: ImpactIndex.create(path, vocabulary=vocabulary, fields=FIELDS), weights),
    }
    rows: list[Row] = []
    with (
        tempfile.TemporaryDirectory() as folder,
        DocumentStore.create(Path(folder) / "documents.sqlite", fields=FIELDS) as store,
    ):
        store.upsert([Document(doc_id, doc_id, "", fields) for doc_id, fields in zip(ids, metadata, strict=True)])
        for name, (create, (documents, asked)) in indexes.items():
            with create(Path(folder) / name) as index:
                for start in range(0, size, BATCH):
                    part = slice(start, start + BATCH)
                    index.upsert(ids[part], documents[part], metadata[part])
                index.finish_indexing()
                index.commit()
                # Lucene's full ranking is exact, a graph's is not.
                in_java = documents is not vectors[0]
                expected = _filtered_rankings(index, asked, size) if in_java else _scan(*vectors)
                warm_up = JAVA_WARM_UP if in_java else WARM_UP
                rows.append(_filter_row(f"{size:,}, filter keeps 1%, {name}", index, asked, expected, warm_up))
    return rows


def zipf_texts(count: int, length: int, rng: np.random.Generator) -> list[str]:
    """Return `count` texts of `length` words with skewed frequencies."""
    share = 1 / np.arange(2, WORDS + 2) ** 0.9
    drawn = rng.choice(WORDS, (count, length), p=share / share.sum())
    names = np.array([f"w{number}" for number in range(WORDS)])
    return [" ".join(row) for row in names[drawn]]


def _dense_kinds(size: int) -> list[tuple[str, Callable[[Path], Any]]]:
    kinds: list[tuple[str, Callable[[Path], Any]]] = [
        ("FAISS Flat", lambda path: FaissIndex.create(path, DIMENSION)),
        ("FAISS HNSW", lambda path: FaissIndex.create(path, DIMENSION, kind="hnsw")),
        ("Qdrant Edge", lambda path: QdrantIndex.create(path, DIMENSION)),
    ]
    if size <= LOCAL_MAX_SIZE:
        kinds.append(("qdrant-client local", lambda path: QdrantIndex.create(path, DIMENSION, engine="local")))
    return kinds


def _fill(name: str, index: Any, vectors: NDArray[np.float32], asked: NDArray[np.float32]) -> Built:
    start = time.perf_counter()
    for first in range(0, len(vectors), BATCH):
        part = vectors[first : first + BATCH]
        index.upsert([f"d{number}" for number in range(first, first + len(part))], part)
    index.optimize()
    index.commit()
    seconds = time.perf_counter() - start
    return Built(name, index, seconds, index.size_bytes, lambda query: index.search(asked[query], K))


def _times(
    search: "Callable[[int], Hits]", queries: int, warm_up: int = WARM_UP
) -> tuple[list[float], list[list[str]]]:
    """Search every query once after `warm_up` calls; return the seconds and the ids of the hits."""
    for call in range(warm_up):
        search(call % queries)
    times, found = [], []
    for query in range(queries):
        start = time.perf_counter()
        hits = search(query)
        times.append(time.perf_counter() - start)
        found.append(hits[0].doc_ids)
    return times, found


def _filter_row(setting: str, index: Index, asked: Any, expected: Sequence[Sequence[str]], warm_up: int) -> Row:
    """Compare searches with a repeated filter, with a new filter each, and without a filter."""

    def search(filter: "Callable[[int], dict[str, Any] | None]") -> "Callable[[int], Hits]":
        return lambda query: index.search(asked[query : query + 1], K, filter(query))

    queries = len(expected)
    without, _ = _times(search(lambda query: None), queries, warm_up)
    fresh, _ = _times(search(lambda query: {"part": {"gte": 8 + query, "lt": 9 + query}}), min(queries, 20), 0)
    times, found = _times(search(lambda query: {"part": PART}), queries, warm_up)
    agreement = np.mean([list(a) == list(b) for a, b in zip(found, expected, strict=True)])
    detail = (
        f"p50 {1000 * np.median(times):.2f} ms, without {1000 * np.median(without):.2f} ms, "
        f"first time {1000 * np.median(fresh):.2f} ms"
    )
    return _row("search", "the same without filter", setting, times, without, agreement, detail)


def _filtered_rankings(index: Index, asked: Any, size: int) -> list[list[str]]:
    rankings = index.search(asked, size)
    return [[doc_id for doc_id in ranking.doc_ids if int(doc_id[1:]) % PARTS == PART][:K] for ranking in rankings]


def _scan(vectors: NDArray[np.float32], asked: NDArray[np.float32]) -> list[list[str]]:
    kept = np.arange(PART, len(vectors), PARTS)
    scores = asked @ vectors[kept].T
    return [[f"d{kept[at]}" for at in np.argsort(-row, kind="stable")[:K]] for row in scores]


def _weights(rows: int, terms: int, seed: int = SEED) -> csr_matrix:
    rng = np.random.default_rng(seed)
    columns = np.sort(rng.integers(0, WORDS // 10, (rows, terms)), axis=1)
    matrix = csr_matrix(
        (rng.gamma(2.0, 0.4, rows * terms).astype(np.float32), columns.ravel(), np.arange(0, rows * terms + 1, terms)),
        shape=(rows, WORDS),
    )
    matrix.sum_duplicates()
    return matrix


def _bm25s(texts: Sequence[str]) -> tuple[Any, Callable[[str], Any]]:
    import bm25s
    import Stemmer

    stemmer = Stemmer.Stemmer("porter")

    def tokens(text: "str | Sequence[str]") -> Any:
        given = [text] if isinstance(text, str) else list(text)
        return bm25s.tokenize(given, stopwords="en", stemmer=stemmer, show_progress=False)

    retriever = bm25s.BM25(method="lucene", k1=0.9, b=0.4)
    retriever.index(tokens(texts), show_progress=False)
    return retriever, tokens


def _noise(rng: np.random.Generator, count: int, dimension: int) -> NDArray[np.float32]:
    return rng.standard_normal((count, dimension)).astype(np.float32) * np.float32(SPREAD / np.sqrt(dimension))


def _row(
    task: str, peer: str, setting: str, ours: Sequence[float], theirs: Sequence[float], agreement: Any, detail: str
) -> Row:
    ours_s, theirs_s = float(np.median(ours)), float(np.median(theirs))
    return timed_row(task, peer, setting, ours_s, theirs_s, float(agreement), detail)
