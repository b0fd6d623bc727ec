"""Comparison of paraphrase mining, community detection and binary search with sentence-transformers."""

import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.speed.measure import Job, Row, measure, measured_row

WIDTH, CENTRES, SEED = 384, 400, 5
PAIRS = 500_000
THRESHOLD, SMALLEST = 0.6, 10
K, CANDIDATES = 10, 40


def write_vectors(path: Path, count: int, texts: list[str] | None) -> Path:
    """Write vectors of unit length: of texts by all-MiniLM-L6-v2, or generated ones around some centres."""
    if texts is not None:
        from retrieve import DenseEncoder, default_dense_model

        rows = DenseEncoder(default_dense_model()).encode(texts[:count])
    else:
        rng = np.random.default_rng(SEED)
        centres = rng.standard_normal((CENTRES, WIDTH), dtype=np.float32)
        rows = np.empty((count, WIDTH), np.float32)
        for low in range(0, count, 50_000):
            part = rng.standard_normal((min(50_000, count - low), WIDTH), dtype=np.float32)
            part += centres[rng.integers(CENTRES, size=len(part))]
            rows[low : low + len(part)] = part
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    np.save(path, rows)
    return path


def compare(task: str, path: Path, *, repeats: int, threads: int | None) -> list[Row]:
    """Time a task of both sides; agreement is the share of equal pairs, groups, or the recall of both."""
    mine, other = measure(((ours, task, str(path)), (theirs, task, str(path))), repeats, threads)
    count = len(np.load(path, mmap_mode="r"))
    if task == "binary":
        recalls = [float(side.result["recall"]) for side in (mine, other)]
        detail = (
            f"{count:,} vectors, {K} of {CANDIDATES} candidates; recall@{K} {recalls[0]:.3f} and {recalls[1]:.3f}, "
            f"p50 of a query {mine.result['p50_ms']:.2f} and {other.result['p50_ms']:.2f} ms, "
            f"{mine.result['bytes']:.0f} and {other.result['bytes']:.0f} bytes a vector; agreement: our recall"
        )
        return [measured_row("binary", "int8 rows kept", mine, other, recalls[0], detail)]
    found, expected = ({tuple(item) for item in side.result["found"]} for side in (mine, other))
    agreement = len(found & expected) / max(1, len(found | expected))
    detail = f"{count:,} vectors; agreement: share of equal {'pairs' if task == 'paraphrases' else 'groups'}"
    return [measured_row(task, "default", mine, other, agreement, detail)]


def ours(task: str, path: str) -> Job:
    """Create our side of a task."""
    from pipelines.similar import community_detection, paraphrase_mining_embeddings

    vectors = np.load(path)
    if task == "paraphrases":
        return lambda: paraphrase_mining_embeddings(vectors, max_pairs=PAIRS), _pairs
    if task == "communities":
        return lambda: community_detection(vectors, THRESHOLD, SMALLEST), _groups
    from tempfile import mkdtemp

    from indexing.indexes.faiss.index import FaissIndex

    index = FaissIndex.create(
        Path(mkdtemp()) / "index", vectors.shape[1], kind="binary", rescore_multiplier=CANDIDATES // K
    )
    index.upsert([str(at) for at in range(len(vectors))], vectors)
    queries, exact = _queries(vectors)

    def search(some: NDArray[np.float32]) -> list[list[int]]:
        return [[int(doc_id) for doc_id in row.doc_ids] for row in index.search(some, K)]

    return lambda: search(queries), lambda found: _judged(found, exact, search, queries, WIDTH / 8 + WIDTH)


def theirs(task: str, path: str) -> Job:
    """Create their side of a task."""
    import torch
    from sentence_transformers.util import community_detection, paraphrase_mining_embeddings
    from sentence_transformers.util.quantization import quantize_embeddings, semantic_search_faiss

    vectors = np.load(path)
    if task == "paraphrases":
        tensor = torch.from_numpy(vectors)
        return lambda: paraphrase_mining_embeddings(tensor, max_pairs=PAIRS), _pairs
    if task == "communities":
        tensor = torch.from_numpy(vectors)
        return lambda: community_detection(tensor, threshold=THRESHOLD, min_community_size=SMALLEST), _groups
    queries, exact = _queries(vectors)
    codes = quantize_embeddings(vectors, precision="ubinary")
    _, _, index = semantic_search_faiss(queries[:1], codes, corpus_precision="ubinary", top_k=K, output_index=True)

    def search(some: NDArray[np.float32]) -> list[list[int]]:
        rows, _ = semantic_search_faiss(
            some, corpus_index=index, corpus_precision="ubinary", top_k=K, rescore_multiplier=CANDIDATES // K
        )
        return [[hit["corpus_id"] for hit in row] for row in rows]

    return lambda: search(queries), lambda found: _judged(found, exact, search, queries, WIDTH / 8)


def _queries(vectors: NDArray[np.float32], count: int = 100) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Return queries near some vectors, and the exact nearest vectors of each."""
    rng = np.random.default_rng(SEED + 1)
    near = vectors[rng.choice(len(vectors), count, replace=False)]
    queries = near + 0.7 * rng.standard_normal(near.shape, dtype=np.float32) / np.sqrt(near.shape[1])
    queries = (queries / np.linalg.norm(queries, axis=1, keepdims=True)).astype(np.float32)
    scores = queries @ vectors.T
    return queries, np.argpartition(-scores, K, axis=1)[:, :K]


def _judged(found: Any, exact: NDArray[np.int64], search: Any, queries: NDArray[np.float32], size: float) -> Any:
    seconds = []
    for at in range(len(queries)):
        start = time.perf_counter()
        search(queries[at : at + 1])
        seconds.append(time.perf_counter() - start)
    recall = float(np.mean([len(set(row) & set(best)) / K for row, best in zip(found, exact.tolist(), strict=True)]))
    return {"recall": recall, "p50_ms": 1000 * float(np.median(seconds)), "bytes": size}


def _pairs(found: Any) -> dict[str, list[list[int]]]:
    return {"found": [[int(one), int(other)] for _, one, other in found]}


def _groups(found: Any) -> dict[str, list[list[int]]]:
    return {"found": [sorted(int(at) for at in group) for group in found]}
