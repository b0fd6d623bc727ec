"""Time the indexes of term weights beside Seismic and BMP as the number of documents and of their terms grows.

Terms and weights are those of `sparse_engines`: Zipf-like frequencies, weights of a gamma distribution. All run one
query a call; times are medians of processor time of the calling thread, which other load does not disturb. The peers
run in a process of their environment. Recall is of the exact best documents by float32 weights. That of the impact
index (Lucene) is below 1 where weights rounded to 1/100 change the order; the postings index is exact.
"""

import json
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy.sparse import csr_matrix, vstack

from benchmarks.speed.measure import Row, timed_row
from benchmarks.speed.peers import HERE
from benchmarks.speed.sparse_engines import VOCABULARY, weights
from indexing.indexes.base import Index
from indexing.indexes.lucene.impact import ImpactIndex
from indexing.indexes.postings.index import PostingsIndex
from indexing.indexes.registry import kind_of

K = 10
WARM_UP = 200
"""Calls before timing starts: Java compiles a method after some hundred calls."""
ENGINES = ("seismic", "bmp")
OURS: dict[str, Callable[[Path], Index]] = {
    "impact": lambda path: ImpactIndex.create(path, vocabulary=[f"w{number}" for number in range(VOCABULARY)]),
    "postings": lambda path: PostingsIndex.create(path, VOCABULARY),
}


def growth(
    sizes: Sequence[int], terms: Sequence[int], query_terms: Sequence[int], queries: int, python: Path
) -> list[Row]:
    """Return a row for each setting of each peer, by documents, their terms, and terms of a query."""
    rows = []
    for size in sizes:
        for each in terms:
            rows.extend(_compared(size, each, query_terms, queries, python))
    return rows


def _compared(size: int, terms: int, query_terms: Sequence[int], queries: int, python: Path) -> list[Row]:
    documents = vstack(list(weights(size, terms, 0)), format="csr")
    asked = {number: next(weights(queries, number, 1)) for number in query_terms}
    best = {number: exact_best(documents, matrix) for number, matrix in asked.items()}
    ours = {name: searched(make, documents, asked) for name, make in OURS.items()}
    rows = []
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        _save(folder / "documents.npz", documents)
        for number, matrix in asked.items():
            _save(folder / f"{number}.npz", matrix)
        for engine in ENGINES:
            answer = _peer(engine, folder, query_terms, python)
            for row in answer["answers"]:
                number = int(Path(row["queries"]).stem)
                for name, (times, build, stored) in ours.items():
                    our_s, our_found = times[number]
                    detail = (
                        f"p50 of processor time {1000 * our_s:.2f} and {1000 * row['seconds']:.2f} ms, our recall "
                        f"{recall(our_found, best[number]):.4f}; build {build:.1f} and {answer['build']:.1f} "
                        f"processor s; ours {stored / 1e6:.0f} MB"
                    )
                    setting = f"{name}, {size:,} documents of {terms} terms, queries of {number}"
                    found_share = recall(row["found"], best[number])
                    rows.append(
                        timed_row("impact", row["setting"], setting, our_s, row["seconds"], found_share, detail)
                    )
    return rows


def searched(
    make: Callable[[Path], Index], documents: csr_matrix, asked: dict[int, csr_matrix]
) -> tuple[dict[int, tuple[float, list[list[int]]]], float, int]:
    """Index and search; return times and hits by the terms of a query, processor seconds of the build, and bytes."""
    with tempfile.TemporaryDirectory() as folder:
        start = time.process_time()
        with make(Path(folder) / "index") as index:
            index.upsert([str(number) for number in range(documents.shape[0])], documents)
            index.optimize()
            kind = kind_of(index.kind)
        build = time.process_time() - start
        with kind.open(Path(folder) / "index", read_only=True) as index:
            found = {}
            for number, matrix in asked.items():
                single = [matrix[at] for at in range(matrix.shape[0])]
                for call in range(WARM_UP):
                    index.search(single[call % len(single)], K)
                times, hits = [], []
                for query in single:
                    start = time.thread_time()
                    ranking = index.search(query, K)[0]
                    times.append(time.thread_time() - start)
                    hits.append([int(doc_id) for doc_id in ranking.doc_ids])
                found[number] = (float(np.median(times)), hits)
            return found, build, index.size_bytes


def _peer(engine: str, folder: Path, query_terms: Sequence[int], python: Path) -> Any:
    job = {
        "engine": engine,
        "documents": str(folder / "documents.npz"),
        "queries": [str(folder / f"{number}.npz") for number in query_terms],
        "k": K,
        "answer": str(folder / "answer.json"),
    }
    (folder / "job.json").write_text(json.dumps(job))
    subprocess.run([python, HERE / "sparse.py", folder / "job.json"], check=True, stdout=subprocess.DEVNULL)
    return json.loads((folder / "answer.json").read_text())


def exact_best(documents: csr_matrix, queries: csr_matrix) -> list[set[int]]:
    """Return the best documents of each query by float32 weights."""
    scores = (queries @ documents.T.tocsc()).toarray()
    return [set(row.tolist()) for row in np.argpartition(-scores, K - 1, axis=1)[:, :K]]


def recall(found: Sequence[Sequence[int]], best: Sequence[set[int]]) -> float:
    """Return the mean share of the best documents that were found."""
    return float(np.mean([len(set(hits) & true) / K for hits, true in zip(found, best, strict=True)]))


def _save(file: Path, matrix: csr_matrix) -> None:
    np.savez(file, data=matrix.data, indices=matrix.indices, indptr=matrix.indptr)
