"""Plans a deployment on paper: measures bytes and processor time a passage for each leg in Qdrant Edge, and multiplies.

    python benchmarks/run_scale.py --documents 20000

The plan is for 10 million, 100 million and a billion passages of 60 words. What must be in memory is stated by leg: a
graph with quantised vectors, or all of a sparse index; the rest stays on disk. Prices are assumptions of yours.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.evaluation_sets import markdown
from benchmarks.speed.sparse_engines import TERMS, VOCABULARY, WORDS_PER_DOCUMENT, texts, weights
from indexing.indexes.base import Index
from indexing.indexes.qdrant.bm25 import QdrantBm25Index
from indexing.indexes.qdrant.index import QdrantIndex
from indexing.indexes.qdrant.text_query import QdrantTextIndex
from indexing.token_vectors import TokenVectors
from pipelines.cli import script_main, script_parser

SIZES = (10_000_000, 100_000_000, 1_000_000_000)
BATCH = 2000
TOKEN_DIMENSION = 128
TOKENS = 80


class Constant(NamedTuple):
    """Cost of a passage in one leg: bytes on disk, those of them to be kept in memory, and processor seconds."""

    leg: str
    disk: float
    memory: float
    seconds: float


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    made = script_parser(__file__, __doc__)
    made.add_argument("--documents", type=int, default=20_000, metavar="N", help="passages to measure with (20000)")
    made.add_argument("--dimension", type=int, default=384, metavar="N", help="of dense vectors (384)")
    made.add_argument("--memory-price", type=float, default=4.0, metavar="P", help="of a GB of memory a month (4)")
    made.add_argument("--disk-price", type=float, default=0.1, metavar="P", help="of a GB of disk a month (0.1)")
    made.add_argument("--hour-price", type=float, default=0.04, metavar="P", help="of a processor for an hour (0.04)")
    made.set_defaults(run=run)
    return made


def run(options: argparse.Namespace) -> int:
    """Measure, and print the constants and the plan."""
    found = constants(options.documents, options.dimension)
    print(markdown([_shown(one) for one in found]), end="\n\n")
    rows = [_plan(one, size, options) for size in SIZES for one in found]
    print(markdown(rows))
    return 0


def constants(documents: int, dimension: int) -> list[Constant]:
    """Return the measured constants of each leg."""
    rng = np.random.default_rng(0)
    few = max(1, documents // 10)

    def vectors(part: int) -> np.ndarray:
        return rng.standard_normal((part, dimension)).astype(np.float32)

    def tokens(part: int) -> TokenVectors:
        lengths = np.maximum(1, rng.poisson(TOKENS, part))
        return TokenVectors.of([rng.standard_normal((n, TOKEN_DIMENSION)).astype(np.float32) for n in lengths])

    # A quantised graph needs the codes and the links in memory; full vectors are read to score the hits again.
    links, codes = 2 * 16 * 4, {"scalar": dimension, "binary": dimension / 8}
    found = []
    for name, quantization in (("float32", None), ("int8", "scalar"), ("binary", "binary")):
        disk, seconds = measured(
            lambda path, quantization=quantization: QdrantIndex.create(path, dimension, quantization=quantization),
            vectors,
            documents,
        )
        kept = links + (4 * dimension if quantization is None else codes[quantization])
        found.append(Constant(f"dense {dimension}, {name}", disk, kept, seconds))
    disk, seconds = measured(
        lambda path: QdrantIndex.create(path, vocabulary=VOCABULARY),
        lambda part: next(weights(part, TERMS, 0)),
        documents,
    )
    found.append(Constant(f"SPLADE, {TERMS} terms", disk, disk, seconds))
    of_texts: tuple[tuple[str, Callable[[Path], Index]], ...] = (
        (f"BM25, {WORDS_PER_DOCUMENT} words", QdrantBm25Index.create_of_texts),
        (f"BM25 that Qdrant scores itself, {WORDS_PER_DOCUMENT} words", QdrantTextIndex.create_of_texts),
    )
    for name, make in of_texts:
        disk, seconds = measured(make, lambda part: next(texts(part, WORDS_PER_DOCUMENT, 0)), documents)
        found.append(Constant(name, disk, disk, seconds))
    disk, seconds = measured(
        lambda path: QdrantIndex.create(path, TOKEN_DIMENSION, metric="maxsim", on_disk=True), tokens, few
    )
    found.append(Constant(f"{TOKENS} token vectors of {TOKEN_DIMENSION}", disk, 0, seconds))
    return found


def measured(make: Callable[[Path], Index], rows: Callable[[int], Any], documents: int) -> tuple[float, float]:
    """Fill an index; return its bytes on disk and the processor seconds, of one passage."""
    seconds = 0.0
    with tempfile.TemporaryDirectory() as folder, make(Path(folder) / "index") as index:
        for first in range(0, documents, BATCH):
            part = min(BATCH, documents - first)
            given = rows(part)
            start = time.process_time()
            index.upsert([f"passage-{number}" for number in range(first, first + part)], given, [{}] * part)
            seconds += time.process_time() - start
        start = time.process_time()
        index.optimize()
        index.commit(1)
        seconds += time.process_time() - start
        return index.size_bytes / documents, seconds / documents


def _shown(one: Constant) -> dict[str, str]:
    return {
        "leg": one.leg,
        "bytes on disk": f"{one.disk:,.0f}",
        "of them in memory": f"{one.memory:,.0f}",
        "processor µs to index": f"{1e6 * one.seconds:,.0f}",
    }


def _plan(one: Constant, size: int, options: argparse.Namespace) -> dict[str, str]:
    disk, memory, hours = one.disk * size / 1e9, one.memory * size / 1e9, one.seconds * size / 3600
    cost = memory * options.memory_price + disk * options.disk_price
    return {
        "passages": f"{size / 1e6:,.0f} M",
        "leg": one.leg,
        "disk, GB": f"{disk:,.0f}",
        "memory, GB": f"{memory:,.0f}",
        "processor hours": f"{hours:,.1f}",
        "a month": f"{cost:,.0f}",
        "to index once": f"{hours * options.hour_price:,.0f}",
    }


main = script_main(parser, run)

if __name__ == "__main__":
    sys.exit(main())
