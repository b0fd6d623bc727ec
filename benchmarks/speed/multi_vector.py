"""Late interaction: encoding and MaxSim beside sentence-transformers, search beside brute force and Qdrant Edge.

MaxSim and search read clustered vectors: a document's tokens vary some of the words of its topic, and a query varies
tokens of one document.
"""

import tempfile
import time
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

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
    """Search indexes of several sizes, one query per call, beside brute force and, if it is installed, Qdrant Edge."""
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
    edge = _edge(documents, asked, best)
    if edge is not None:
        seconds, recall, built_s = edge
        detail = f"theirs: recall@{K} {recall:.4f}, float16, built in {built_s:.1f} s; agreement: our recall@{K}"
        rows.append(timed_row(TASK, "Qdrant Edge", f"search {size:,}", ours_s, seconds, found[f"recall@{K}"], detail))
    return rows


def _seconds(search: Any, queries: TokenVectors) -> list[float]:
    seconds = []
    for query in queries.to_list():
        start = time.perf_counter()
        search(query)
        seconds.append(time.perf_counter() - start)
    return seconds


def _edge(documents: TokenVectors, queries: TokenVectors, best: NDArray[np.int64]) -> tuple[float, float, float] | None:
    """Return p50 seconds, recall and seconds of the build of Edge's multivectors; None where it is not installed."""
    try:
        import qdrant_edge as edge
    except ImportError:
        return None
    comparator = edge.MultiVectorConfig(edge.MultiVectorComparator.MaxSim)
    parameters = edge.EdgeVectorParams(
        documents.dimension,
        edge.Distance.Dot,
        multivector_config=comparator,
        datatype=edge.VectorStorageDatatype.Float16,
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
    hits = sum(len(ids & set(row.tolist())) for ids, row in zip(found, best, strict=True))
    return median(seconds), hits / best.size, built_s
