"""Late interaction: encoding and MaxSim beside sentence-transformers, search beside brute force, Edge and fast-plaid.

MaxSim and search read clustered vectors: a document's tokens vary some of the words of its topic, and a query varies
tokens of one document.
"""

import tempfile
import time
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from benchmarks.speed.encoding import Comparison, cosines
from benchmarks.speed.measure import Job, Row, measure, measured_row, timed_row
from benchmarks.speed.token_index import K, built, exact_best
from indexing.max_sim import max_sim, max_sim_of
from indexing.token_vectors import TokenVectors

TASK = "multi-vector"
DIMENSION = 128
QUERY_TOKENS = 32
LENGTHS = (40, 80)
"""Smallest and largest number of a document's tokens."""
TOPICS, TOPIC_WORDS, WORDS = 200, 60, 4000
SEED = 5
POINTS_AT_ONCE = 500
GRAPH_UP_TO = 10_000
"""Edge builds its graph by MaxSim of whole documents: hours beyond this number of them, so it compares all there."""


def flat(vectors: Any) -> NDArray[np.float32]:
    """Return the token vectors of all texts, `TokenVectors` or a list of tensors, as float32 [tokens, dim]."""
    if isinstance(vectors, TokenVectors):
        return np.asarray(vectors.vectors, np.float32)
    return np.concatenate([text.float().cpu().numpy() for text in vectors])


ENCODING = Comparison(
    TASK,
    "MultiVectorEncoder",
    "MultiVectorEncoder",
    "encode_document",
    flat,
    cosines,
    np.min,
    "cosine of a token with",
)


def clustered(documents: int, queries: int, seed: int = SEED) -> tuple[TokenVectors, TokenVectors]:
    """Return the token vectors of documents (float16) and of queries (float32), all of unit length."""
    rng = np.random.default_rng(seed)
    words = rng.standard_normal((WORDS, DIMENSION), dtype=np.float32)
    topics = rng.integers(0, WORDS, (TOPICS, TOPIC_WORDS))
    lengths = rng.integers(LENGTHS[0], LENGTHS[1] + 1, documents)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    vectors = np.empty((int(offsets[-1]), DIMENSION), np.float16)
    for start in range(0, documents, POINTS_AT_ONCE):
        stop = min(start + POINTS_AT_ONCE, documents)
        topic = np.repeat(rng.integers(0, TOPICS, stop - start), lengths[start:stop])
        chosen = words[topics[topic, rng.integers(0, TOPIC_WORDS, len(topic))]]
        vectors[offsets[start] : offsets[stop]] = _varied(chosen, rng, 0.5)
    asked = [rng.integers(offsets[at], offsets[at + 1], QUERY_TOKENS) for at in rng.integers(0, documents, queries)]
    found = _varied(vectors[np.concatenate(asked)].astype(np.float32), rng, 0.05)
    return TokenVectors(offsets, vectors), TokenVectors(np.arange(queries + 1) * QUERY_TOKENS, found)


def _varied(vectors: NDArray[np.float32], rng: np.random.Generator, share: float) -> NDArray[np.float32]:
    varied = vectors + share * rng.standard_normal(vectors.shape, dtype=np.float32)
    return varied / np.linalg.norm(varied, axis=1, keepdims=True)


def reranking(queries: int, candidates: int, *, repeats: int, threads: int | None = None) -> list[Row]:
    """Time MaxSim of each query with its candidates, one query per call, on float32 vectors held in memory."""
    mine, other = measure(((ours, queries, candidates), (theirs, queries, candidates)), repeats, threads)
    agreement = float(np.abs(mine.result - other.result).max())
    detail = f"{queries} queries of {QUERY_TOKENS} vectors, one per call; agreement: largest difference of a score"
    return [measured_row(TASK, f"MaxSim of {candidates}", mine, other, agreement, detail)]


def ours(queries: int, candidates: int) -> Job:
    """Score with `max_sim`."""
    documents, asked = _pairs(queries, candidates)

    def score() -> list[NDArray[np.float32]]:
        return [max_sim(asked.slice(at, at + 1), documents[at])[0] for at in range(queries)]

    score()
    return score, np.array


def theirs(queries: int, candidates: int) -> Job:
    """Score with their `maxsim`, which gets tensors of different lengths."""
    import torch
    from sentence_transformers.util import maxsim

    documents, asked = _pairs(queries, candidates)
    lists = [[torch.from_numpy(text) for text in part.to_list()] for part in documents]
    tensors = [torch.from_numpy(text) for text in asked.to_list()]

    def score() -> list[Any]:
        return [maxsim([query], part)[0].numpy() for query, part in zip(tensors, lists, strict=True)]

    score()
    return score, np.array


def _pairs(queries: int, candidates: int) -> tuple[list[TokenVectors], TokenVectors]:
    documents, asked = clustered(queries * candidates, queries)
    documents = documents._replace(vectors=documents.vectors.astype(np.float32))
    return [documents.slice(at * candidates, (at + 1) * candidates) for at in range(queries)], asked


def searching(sizes: list[int], queries: int) -> list[Row]:
    """Search indexes of several sizes, one query per call, beside brute force and what is installed of `_PEERS`."""
    return [row for size in sizes for row in _search(size, queries)]


def _search(size: int, queries: int) -> list[Row]:
    documents, asked = clustered(size, queries)
    best = exact_best(asked, documents)
    with tempfile.TemporaryDirectory() as folder, built(Path(folder), documents, bits=0) as index:
        found = index.search(asked, best)
        detail = (
            f"{len(documents.vectors):,} vectors, built in {index.seconds:.1f} s, {index.bytes_a_vector:.1f} bytes a "
            f"vector beside the shards, processor {found['cpu_ms']} ms a query; agreement: recall@{K}"
        )
    ours_s = found["p50_ms"] / 1e3
    exact = median(_seconds(partial(max_sim_of, documents=documents), asked))
    rows = [timed_row(TASK, "brute force", f"search {size:,}", ours_s, exact, found[f"recall@{K}"], detail)]
    for peer, measured in _PEERS.items():
        theirs = measured(documents, asked, best)
        if theirs is not None:
            detail = f"theirs: recall@{K} {theirs.recall:.4f}, {theirs.detail}; agreement: our recall@{K}"
            recall = found[f"recall@{K}"]
            rows.append(timed_row(TASK, peer, f"search {size:,}", ours_s, theirs.seconds, recall, detail))
    return rows


class _Peer(NamedTuple):
    """Median seconds of a query, recall of the exact best, and size and time of the build in words."""

    seconds: float
    recall: float
    detail: str


def _seconds(search: Any, queries: TokenVectors) -> list[float]:
    seconds = []
    for query in queries.to_list():
        start = time.perf_counter()
        search(query)
        seconds.append(time.perf_counter() - start)
    return seconds


def _edge(documents: TokenVectors, queries: TokenVectors, best: NDArray[np.int64]) -> _Peer | None:
    """Search Edge's multivectors in float16; None where it is not installed."""
    try:
        import qdrant_edge as edge
    except ImportError:
        return None
    graph = (
        None
        if documents.texts <= GRAPH_UP_TO
        else edge.HnswIndexConfig(m=0, ef_construct=128, full_scan_threshold=10_000)
    )
    parameters = edge.EdgeVectorParams(
        documents.dimension,
        edge.Distance.Dot,
        multivector_config=edge.MultiVectorConfig(edge.MultiVectorComparator.MaxSim),
        datatype=edge.VectorStorageDatatype.Float16,
        hnsw_config=graph,
    )
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        shard = edge.EdgeShard.create(folder, edge.EdgeConfig(vectors={"tokens": parameters}))
        for first in range(0, documents.texts, POINTS_AT_ONCE):
            part = documents.slice(first, min(first + POINTS_AT_ONCE, documents.texts))
            texts = part._replace(vectors=part.vectors.astype(np.float32)).to_list()
            points = [edge.Point(first + at, {"tokens": text.tolist()}, {}) for at, text in enumerate(texts)]
            shard.update(edge.UpdateOperation.upsert_points(points))
        shard.optimize()  # Edge builds no graph by itself
        built_s = time.perf_counter() - start
        found: list[set[int]] = []

        def search(query: NDArray[np.float32]) -> None:
            nearest = edge.Query.Nearest(query.tolist(), using="tokens")
            found.append({point.id for point in shard.query(edge.QueryRequest(limit=K, query=nearest))})

        seconds = _seconds(search, queries)
        shard.close()
    how = "a graph" if graph is None else "no graph"
    return _Peer(median(seconds), _recall(found, best), f"float16, {how}, built in {built_s:.1f} s")


def _fast_plaid(documents: TokenVectors, queries: TokenVectors, best: NDArray[np.int64]) -> _Peer | None:
    """Search fast-plaid's index with its own settings (4 bits) on the CPU; None where it is not installed."""
    try:
        import torch
        from fast_plaid.search import FastPlaid
    except ImportError:
        return None
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        index = FastPlaid(folder, device="cpu")
        index.create([torch.from_numpy(text) for text in documents.to_list()])
        built_s = time.perf_counter() - start
        found: list[set[int]] = []

        def search(query: NDArray[np.float32]) -> None:
            (hits,) = index.search(torch.from_numpy(query)[None], top_k=K, show_progress=False)
            found.append({int(number) for number, _ in hits})

        search(queries.slice(0, 1).vectors)  # it reads the index at the first search
        found.clear()
        seconds = _seconds(search, queries)
        size = sum(file.stat().st_size for file in Path(folder).rglob("*") if file.is_file())
    detail = f"4 bits, built in {built_s:.1f} s, {size / len(documents.vectors):.1f} bytes a vector"
    return _Peer(median(seconds), _recall(found, best), detail)


def _recall(found: list[set[int]], best: NDArray[np.int64]) -> float:
    return sum(len(ids & set(row.tolist())) for ids, row in zip(found, best, strict=True)) / best.size


_PEERS = {"Qdrant Edge": _edge, "fast-plaid": _fast_plaid}
"""Engines that searches are compared with, besides brute force."""
