"""Time a hybrid search of three legs as one request, fused by Qdrant or here, beside a request for each leg.

The legs are vectors, term weights and words of a deployed collection, in Edge and in qdrant-client's local mode.
Queries are encoded beforehand. Requests are counted where they leave this project: at Edge's shard, or the client.
"""

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.speed.measure import Row, timed_row
from benchmarks.speed.sparse_engines import QUERY_TERMS, TERMS, VOCABULARY, WORDS_PER_DOCUMENT, texts, weights
from indexing.collection.manifest import Leg
from indexing.collection.writer import CollectionWriter
from indexing.deployment.reader import DeployedCollection
from indexing.documents import Document
from indexing.hits import Hits
from pipelines.deploy.job import deploy
from retrieve.fusion.reciprocal_rank import ReciprocalRank

K, DEPTH = 10, 100
DIMENSION = 128
WARM_UP = 5


def searching(documents: int, queries: int, local_documents: int) -> list[Row]:
    """Return rows for Edge and for the client's local mode, which compares with every document in NumPy."""
    rows = []
    for engine, size in (("edge", documents), ("local", local_documents)):
        with tempfile.TemporaryDirectory() as folder:
            _build(Path(folder) / "collection", size)
            deploy(Path(folder) / "collection", Path(folder) / "there", engine=engine, show_progress=False)
            with DeployedCollection.open(Path(folder) / "there") as deployed:
                rows += _compared(deployed, f"{size:,} documents, 3 legs, {engine}", queries)
    return rows


def _build(path: Path, size: int) -> None:
    legs = {
        "dense": Leg("faiss", parameters={"dimension": DIMENSION, "metric": "cosine", "kind": "flat"}),
        "sparse": Leg("impact", parameters={"columns": VOCABULARY}),
        "bm25": Leg("bm25"),
    }
    rng, first = np.random.default_rng(0), 0
    vocabulary = {"sparse": [f"w{number}" for number in range(VOCABULARY)]}
    with CollectionWriter.create(path, legs, vocabularies=vocabulary) as writer:
        for words, terms in zip(texts(size, WORDS_PER_DOCUMENT, 0), weights(size, TERMS, 0), strict=True):
            for start in range(0, len(words), 500):
                part = slice(start, start + 500)
                documents = [Document(f"d{first + at}", text) for at, text in enumerate(words[part], start)]
                vectors = rng.standard_normal((len(documents), DIMENSION), dtype=np.float32)
                writer.upsert(documents, {"dense": vectors, "sparse": terms[part]})
            first += len(words)


def _compared(deployed: DeployedCollection, setting: str, queries: int) -> list[Row]:
    encoded: dict[str, Any] = {
        "dense": np.random.default_rng(1).standard_normal((queries, DIMENSION), dtype=np.float32),
        "sparse": next(weights(queries, QUERY_TERMS, 1)),
        "bm25": next(texts(queries, 6, 1)),
    }
    indexes = {name: deployed.index(name) for name in encoded}
    group, fusion, depths = indexes["dense"].group, ReciprocalRank(), dict.fromkeys(encoded, DEPTH)
    assert group is not None
    requests = _counted(deployed.engine)

    def asked(at: int) -> dict[str, Any]:
        return {name: of_leg[at : at + 1] for name, of_leg in encoded.items()}

    def by_qdrant(at: int) -> Hits:
        return group.fused(asked(at), depths, K, None, fusion="rrf", rank_constant=60, weights=None)

    def fused(found: dict[str, Hits]) -> Hits:
        return fusion([hits.as_leg(name) for name, hits in found.items()]).top(K)

    def in_one(at: int) -> Hits:
        return fused(group.search(asked(at), depths, None))

    def apart(at: int) -> Hits:
        return fused({name: indexes[name].search(row, DEPTH) for name, row in asked(at).items()})

    theirs = _measured(apart, queries, requests)
    rows = []
    for name, search in (("fused by Qdrant", by_qdrant), ("fused here", in_one)):
        ours = _measured(search, queries, requests)
        overlap = np.mean([len(set(a) & set(b)) / max(1, len(b)) for a, b in zip(ours[1], theirs[1], strict=True)])
        detail = (
            f"p50 {1000 * ours[0]:.2f} and {1000 * theirs[0]:.2f} ms, processor {1000 * ours[3]:.2f} and "
            f"{1000 * theirs[3]:.2f} ms; {ours[2]:g} and {theirs[2]:g} requests a search (in one, apart)"
        )
        rows.append(
            timed_row("hybrid", "a request a leg", f"{setting}, {name}", ours[0], theirs[0], float(overlap), detail)
        )
    return rows


def _counted(engine: Any) -> list[int]:
    """Count the requests of an engine in the list that is returned."""
    counts, query = [0], engine.query

    def counting(queries: Any) -> Any:
        counts[0] += 1
        return query(queries)

    engine.query = counting
    return counts


def _measured(
    search: Callable[[int], Hits], queries: int, requests: list[int]
) -> tuple[float, list[list[str]], float, float]:
    """Return the median time of a search, the hits, the requests of a search, and its median processor time."""
    for at in range(min(WARM_UP, queries)):
        search(at)
    requests[0] = 0
    times, spent, found = [], [], []
    for at in range(queries):
        start, used = time.perf_counter(), time.process_time()
        hits = search(at)
        times.append(time.perf_counter() - start)
        spent.append(time.process_time() - used)
        found.append(list(hits[0].doc_ids))
    return float(np.median(times)), found, requests[0] / queries, float(np.median(spent))
