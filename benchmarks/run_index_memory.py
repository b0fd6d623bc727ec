"""Measure the memory of indexing as a corpus grows: it must be bounded by the batch and what the index itself holds.

    python benchmarks/run_index_memory.py --documents 10000 1000000 --output results/index-memory

Generated documents with random vectors in place of an encoder go through the same job as `retrieve index`, each size
in a process of its own. The peak of anonymous resident memory (RssAnon) is sampled meanwhile; "above" is that peak less
what the indexes report to hold at the end. "instant" takes off what they report at the same instant: FAISS doubles its
room when it is full, and while it copies has the old and the new. Qdrant Edge on disk reports none: for it "above" is
the whole process. Linux only. Writes OUTPUT/memory.json.
"""

import argparse
import multiprocessing
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run as a script, it finds its neighbours only

import numpy as np

from benchmarks.speed.measure import memory
from indexing.collection import Collection, Leg
from indexing.disk import write_json
from indexing.documents import Document
from pipelines.cli import run_safely
from pipelines.ingest import Stopwatch, ingest

EVERY = 0.02
"""Seconds between two samples."""
ALLOWED_MB = 500.0
"""How far the largest size may lie above the smallest."""


class RandomVectors:
    """Stands where an encoder would."""

    def __init__(self, dimension: int) -> None:
        self.identity = {"name": "random-vectors", "weights_sha256": "0", "dimension": dimension}
        self._dimension, self._random = dimension, np.random.default_rng(0)

    def encode_document(self, texts: Sequence[str]) -> np.ndarray:
        """Give a vector for each text."""
        return self._random.standard_normal((len(texts), self._dimension), dtype=np.float32)


class Sampler(threading.Thread):
    """Keeps the peak of RssAnon, and the peak of what it is above what the indexes hold at the same instant."""

    def __init__(self, collection: Any) -> None:
        super().__init__(daemon=True)
        self.instant = self.peak = 0.0
        self._indexes = [collection.index(name) for name in collection.manifest.legs]
        self._ended = threading.Event()

    def run(self) -> None:
        """Sample until `end`."""
        while not self._ended.wait(EVERY):
            held = sum(getattr(index, "memory_bytes", 0) for index in self._indexes) / 2**20
            now = memory("RssAnon")
            self.instant, self.peak = max(self.instant, now - held), max(self.peak, now)

    def end(self) -> None:
        """Stop sampling."""
        self._ended.set()
        self.join()


def documents(count: int) -> Iterator[Document]:
    """Generate texts of 60 words."""
    words = np.array([f"word{number}" for number in range(50_000)])
    random = np.random.default_rng(1)
    for start in range(0, count, 1000):
        chosen = words[(random.random((1000, 60)) ** 3 * len(words)).astype(int)]
        for row in range(min(1000, count - start)):
            yield Document(f"document-{start + row}", " ".join(chosen[row]))


def measure(count: int, legs: Sequence[str], dimension: int, folder: str | None) -> dict[str, Any]:
    """Index so many documents in this process, and say what memory it took."""
    encoder = RandomVectors(dimension)
    known = {
        "bm25": Leg("bm25"),
        "flat": Leg("faiss", encoder.identity, {"dimension": dimension, "kind": "flat"}),
        "hnsw": Leg("faiss", encoder.identity, {"dimension": dimension, "kind": "hnsw"}),
        "edge": Leg("qdrant", encoder.identity, {"dimension": dimension, "on_disk": True}),
    }
    encoders = {name: encoder for name in legs if known[name].encoder}
    with tempfile.TemporaryDirectory(dir=folder) as directory:
        path = Path(directory) / "collection"
        start = time.perf_counter()
        with Collection.create(path, {name: known[name] for name in legs}, encoders=encoders) as collection:
            sampler = Sampler(collection)
            sampler.start()
            ingest(collection, documents(count), encoders, clock=Stopwatch(), total=count)
            collection.commit()
            sampler.end()
            held = sum(getattr(collection.index(name), "memory_bytes", 0) for name in legs) / 2**20
        seconds = time.perf_counter() - start
    return {
        "documents": count,
        "legs": list(legs),
        "peak_mb": sampler.peak,
        "held_mb": held,
        "above_mb": sampler.peak - held,
        "instant_mb": sampler.instant,
        "documents_per_second": count / seconds,
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and give its exit status: 1 when memory grows by more than it may."""
    options = parser().parse_args(arguments)
    return run_safely(partial(run, options))


def parser() -> argparse.ArgumentParser:
    """Describe the command line."""
    parser = argparse.ArgumentParser(
        prog="run_index_memory.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--documents", type=int, nargs="+", default=[10_000, 1_000_000], metavar="N", help="sizes")
    parser.add_argument(
        "--legs", default="flat", help="of bm25, flat, hnsw and edge (Qdrant Edge, on disk), with commas between (flat)"
    )
    parser.add_argument("--dimension", type=int, default=384, help="of the vectors (384)")
    parser.add_argument("--folder", help="where the collections are built for the time (the system's)")
    parser.add_argument("--output", metavar="DIR", help="where memory.json goes (nowhere)")
    return parser


def run(options: argparse.Namespace) -> int:
    """Measure each size, print and keep the rows."""
    legs = options.legs.split(",")
    rows = []
    for count in options.documents:
        with multiprocessing.get_context("spawn").Pool(1) as process:
            rows.append(process.apply(measure, (count, legs, options.dimension, options.folder)))
    print(f"{'documents':>10}  {'peak MB':>8}  {'index MB':>8}  {'above MB':>8}  {'instant MB':>10}  {'docs/s':>7}")
    for row in rows:
        print(
            f"{row['documents']:>10,}  {row['peak_mb']:>8.0f}  {row['held_mb']:>8.0f}  {row['above_mb']:>8.0f}  "
            f"{row['instant_mb']:>10.0f}  {row['documents_per_second']:>7.0f}"
        )
    grown = rows[-1]["above_mb"] - rows[0]["above_mb"]
    print(f"above the indexes, the last size takes {grown:.0f} MB more than the first (at most {ALLOWED_MB:.0f})")
    if options.output:
        folder = Path(options.output)
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / "memory.json", rows)
        print(folder / "memory.json")
    return 0 if grown <= ALLOWED_MB else 1


if __name__ == "__main__":
    sys.exit(main())
