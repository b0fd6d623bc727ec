"""Time the search pipeline beside its parts: its overhead over its legs, the gain of a batch, and whether budgets hold.

Everything runs in one process, on a collection of any size. Texts are pieces of real ones. Only some real texts are
encoded; the vectors of the documents are scattered around theirs. Queries are encoded.
"""

import asyncio
import tempfile
import time
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from benchmarks.speed.inputs import different_texts, write_cross_encoder
from benchmarks.speed.measure import Row, timed_row
from indexing.documents import Document
from pipelines.build.job import build_collection
from pipelines.search import SearchPipeline, SearchResults
from retrieve.encoders import CrossEncoder, DenseEncoder
from retrieve.reranking.budget import Budget
from retrieve.reranking.cross_encoder import Reranker

SEED = 0
REAL_TEXTS = 500
QUERY_WORDS = 8
WARM_UP = 20
NEAR = 1e-5
K = 10


class ScatteringEncoder(DenseEncoder):
    """Dense encoder whose document vectors are those of some real texts with noise added."""

    def set_centres(self, texts: Sequence[str]) -> None:
        """Encode the real texts."""
        self._centres = super().encode_document(texts)

    def encode_document(self, texts: Any, **options: Any) -> NDArray[np.float32]:
        """Return unit vectors [texts, dim]; equal texts have equal vectors."""
        seeds = [zlib.crc32(text.encode()) for text in texts]
        noise = np.stack([np.random.default_rng(seed).standard_normal(self.dimension) for seed in seeds])
        vectors = self._centres[np.array(seeds) % len(self._centres)] + 0.5 * noise / np.sqrt(self.dimension)
        return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def searching(
    model: str | Path,
    data: str,
    *,
    documents: int,
    queries: int,
    candidates: int,
    max_ms: float,
    dense_index: Literal["flat", "hnsw"],
) -> list[Row]:
    """Time single searches, a batch, an event loop and a reranker with a time limit, on one collection."""
    texts = different_texts(data, REAL_TEXTS)
    encoder = ScatteringEncoder(model, dtype="float32")
    encoder.set_centres(texts)
    rng = np.random.default_rng(SEED)
    asked = {str(at): " ".join(_piece(texts, rng, QUERY_WORDS)) for at in range(queries)}
    shape = f"{documents} documents, {dense_index}, float32"
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "collection"
        build_collection(_documents(texts, documents), path, dense=encoder, dense_index=dense_index)
        cross = CrossEncoder(write_cross_encoder(Path(folder) / "cross", model, _pairs(texts)))
        with SearchPipeline.open(path, dense=encoder) as pipeline:
            for query in list(asked.values())[:WARM_UP]:
                pipeline.search(query, K)
            pipeline.batch_search(dict(list(asked.items())[:WARM_UP]), K)
            singles, alone_s = _one_by_one(pipeline, asked)
            rows = [_overhead(singles, shape), _batch(pipeline, asked, singles, alone_s, shape)]
            rows.append(_event_loop(pipeline, asked, singles, alone_s, shape))
        with SearchPipeline.open(path, dense=DenseEncoder(model, dtype="bfloat16")) as pipeline:
            rows.append(_batch_in_bfloat16(pipeline, asked, f"{documents} documents, {dense_index}, bfloat16"))
        with SearchPipeline.open(
            path, dense=encoder, depth=candidates, reranker=Reranker(cross), candidates=candidates
        ) as pipeline:
            rows.append(_in_time(pipeline, list(asked.values())[: max(20, queries // 10)], candidates, max_ms, shape))
    return rows


def _one_by_one(pipeline: SearchPipeline, asked: dict[str, str]) -> tuple[dict[str, SearchResults], float]:
    start = time.perf_counter()
    answers = {query_id: pipeline.search(query, K) for query_id, query in asked.items()}
    return answers, time.perf_counter() - start


def _overhead(singles: dict[str, SearchResults], shape: str) -> Row:
    """Compare the whole call with its slowest leg including query encoding; the rest is the pipeline's overhead."""
    totals = np.array([answer.timings["total"] for answer in singles.values()])
    legs = np.array([_slowest_leg(answer.timings) for answer in singles.values()])
    share = float(np.median((totals - legs) / totals))
    return _row(
        "overhead",
        "its slowest leg",
        float(np.median(totals)) / 1000,
        float(np.median(legs)) / 1000,
        1.0,
        f"overhead over the slowest leg with query encoding: p50 {np.median(totals - legs):.2f} ms of "
        f"{np.median(totals):.2f} ms, {share:.1%}; {shape}, {len(singles)} queries",
    )


def _slowest_leg(timings: dict[str, float]) -> float:
    names = {stage.partition(".")[0] for stage in timings if "." in stage}
    return max(timings.get(f"{name}.encode", 0.0) + timings.get(f"{name}.search", 0.0) for name in names)


def _batch(
    pipeline: SearchPipeline, asked: dict[str, str], singles: dict[str, SearchResults], alone_s: float, shape: str
) -> Row:
    start = time.perf_counter()
    answers = pipeline.batch_search(asked, K)
    taken = time.perf_counter() - start
    agreement = float(np.mean([_same(answers[query_id], singles[query_id]) for query_id in asked]))
    return _row("batch", "one by one", taken, alone_s, agreement, f"{len(asked)} queries, {shape}")


def _batch_in_bfloat16(pipeline: SearchPipeline, asked: dict[str, str], shape: str) -> Row:
    """Compare a batch with single searches in bfloat16; padding changes last bits, so agreement is mean overlap@10."""
    singles, alone_s = _one_by_one(pipeline, asked)
    start = time.perf_counter()
    answers = pipeline.batch_search(asked, K)
    taken = time.perf_counter() - start
    overlaps = [
        len({hit.doc_id for hit in answers[query_id]} & {hit.doc_id for hit in alone}) / max(len(alone), 1)
        for query_id, alone in singles.items()
    ]
    detail = f"smallest overlap@{K} {min(overlaps):.1f}, {len(asked)} queries, {shape}"
    return _row("batch, bfloat16", "one by one", taken, alone_s, float(np.mean(overlaps)), detail)


def _same(ours: SearchResults, theirs: SearchResults) -> bool:
    """Return whether the hits are equal up to the order of near-ties."""
    scores = {hit.doc_id: hit.score for hit in theirs}
    return len(ours) == len(theirs) and all(
        abs(one.score - other.score) <= NEAR
        and (one.doc_id == other.doc_id or abs(scores.get(one.doc_id, one.score) - other.score) <= NEAR)
        for one, other in zip(ours, theirs, strict=True)
    )


def _event_loop(
    pipeline: SearchPipeline, asked: dict[str, str], singles: dict[str, SearchResults], alone_s: float, shape: str
) -> Row:
    async def search_all() -> list[SearchResults]:
        return await asyncio.gather(*(pipeline.asearch(query, K) for query in asked.values()))

    start = time.perf_counter()
    answers = asyncio.run(search_all())
    taken = time.perf_counter() - start
    agreement = float(np.mean([_same(*both) for both in zip(answers, singles.values(), strict=True)]))
    return _row(
        "asearch", "one by one", taken, alone_s, agreement, f"{len(asked) / taken:.0f} queries a second, {shape}"
    )


def _in_time(pipeline: SearchPipeline, queries: Sequence[str], candidates: int, max_ms: float, shape: str) -> Row:
    """Compare reranking within `max_ms` with reranking all; agreement is the share of complete rankings."""
    budget = Budget(max_ms=max_ms)
    for query in queries[:3]:
        pipeline.search(query, candidates, budget=budget)
    unlimited = [pipeline.search(query, candidates).timings["reranker"] for query in queries[:5]]
    answers = [pipeline.search(query, candidates, budget=budget) for query in queries]
    taken = np.array([answer.timings["reranker"] for answer in answers])
    read = np.mean([answer.reranked or 0 for answer in answers])
    return _row(
        f"max_ms={max_ms:g}",
        "no budget",
        float(np.percentile(taken, 95)) / 1000,
        float(np.median(unlimited)) / 1000,
        float(np.mean([len(answer) == candidates for answer in answers])),
        f"p95 {np.percentile(taken, 95):.0f} ms, p50 {np.median(taken):.0f} ms, {read:.0f} of {candidates} candidates "
        f"read on average, {len(queries)} queries, {shape}",
    )


def _row(setting: str, peer: str, ours_s: float, theirs_s: float, agreement: float, detail: str) -> Row:
    return timed_row("pipeline", peer, setting, ours_s, theirs_s, agreement, detail)


def _documents(texts: Sequence[str], count: int) -> Iterator[Document]:
    """Generate `count` documents of some 80 words from pieces of real texts."""
    rng = np.random.default_rng(SEED + 1)
    for number in range(count):
        yield Document(f"d{number:07}", " ".join(_piece(texts, rng, 50) + _piece(texts, rng, 30)), f"Number {number}")


def _piece(texts: Sequence[str], rng: np.random.Generator, words: int) -> list[str]:
    drawn = texts[int(rng.integers(len(texts)))].split()
    start = int(rng.integers(max(1, len(drawn) - words + 1)))
    return drawn[start : start + words]


def _pairs(texts: Sequence[str]) -> list[tuple[str, str]]:
    return [(text[:60], other) for text, other in zip(texts, texts[7:], strict=False)][:64]
