"""Measure the memory of indexing as a corpus grows; it must be bounded by the batch and the index itself.

    python benchmarks/run_index_memory.py --documents 10000 1000000 --output results/index-memory

Generated documents with random vectors go through the same job as `retrieve index`, each size in its own process.
The parent process samples the anonymous resident memory (RssAnon), because Qdrant Edge blocks all threads of its
process while it builds. "above" is the peak minus the most that the indexes report. "instant" subtracts
the memory that they report at the moment of each sample: FAISS doubles its buffer when it is full, and holds both
buffers while it copies. Edge on disk reports no memory, so its "above" is that of the whole process; so it is for
token vectors. Linux only.
Writes OUTPUT/memory.json.
"""

import argparse
import multiprocessing
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # a script finds only modules beside it

import numpy as np

from benchmarks.speed.measure import memory
from indexing.collection.manifest import Leg
from indexing.collection.writer import CollectionWriter
from indexing.disk import write_json
from indexing.documents import Document
from indexing.errors import InputError, RetrieveError
from indexing.token_vectors import TokenVectors
from pipelines.build.ingest import Stopwatch, ingest
from pipelines.cli import script_main, script_parser

SAMPLE_INTERVAL = 0.02
"""Seconds between two samples."""
ALLOWED_MB, ALLOWED_TOKENS_MB = 500.0, 600.0
"""Largest allowed growth of "above" from the first to the last size, without and with a leg of token vectors."""
TOKENS = 120
"""Number of token vectors of a document."""


def known_legs(encoder: "RandomVectors") -> dict[str, Leg]:
    """Return the legs that can be measured."""
    vectors: dict[str, Any] = {"dimension": encoder.identity["dimension"]}
    return {
        "bm25": Leg("bm25"),
        "flat": Leg("faiss", encoder.identity, vectors | {"kind": "flat"}),
        "hnsw": Leg("faiss", encoder.identity, vectors | {"kind": "hnsw"}),
        "edge": Leg("qdrant", encoder.identity, vectors | {"on_disk": True}),
        "tokens": Leg("tokens", encoder.identity, vectors | {"metric": "maxsim"}),
    }


class RandomVectors:
    """Encoder stand-in that returns random vectors."""

    def __init__(self, dimension: int) -> None:
        self.identity: dict[str, Any] = {"name": "random-vectors", "weights_sha256": "0", "dimension": dimension}
        self._dimension, self._random = dimension, np.random.default_rng(0)

    def encode_document(self, texts: Sequence[str]) -> np.ndarray:
        """Return a random vector for each text."""
        return self._random.standard_normal((len(texts), self._dimension), dtype=np.float32)


class RandomTokens(RandomVectors):
    """Encoder stand-in that returns `TOKENS` random vectors of unit length for a text."""

    def encode_document(self, texts: Sequence[str]) -> Any:
        """Return the token vectors of each text."""
        vectors = super().encode_document([""] * (TOKENS * len(texts)))
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        return TokenVectors(np.arange(len(texts) + 1) * TOKENS, vectors)


def documents(count: int) -> Iterator[Document]:
    """Generate texts of 60 words."""
    words = np.array([f"word{number}" for number in range(50_000)])
    random = np.random.default_rng(1)
    for start in range(0, count, 1000):
        chosen = words[(random.random((1000, 60)) ** 3 * len(words)).astype(int)]
        for row in range(min(1000, count - start)):
            yield Document(f"document-{start + row}", " ".join(chosen[row]))


def measure(count: int, legs: Sequence[str], dimension: int, folder: str | None) -> dict[str, Any]:
    """Index `count` documents in a separate process; return its memory figures and speed.

    Raises
    ------
    RetrieveError
        If that process fails; it prints the reason.
    """
    context = multiprocessing.get_context("spawn")
    held, (here, there) = context.Array("d", 2, lock=False), context.Pipe()
    process = context.Process(target=_index, args=(there, held, count, legs, dimension, folder), daemon=True)
    process.start()
    there.close()
    peak = instant = 0.0
    while not here.poll(SAMPLE_INTERVAL):
        try:
            now = memory("RssAnon", process.pid or "self")
        except (KeyError, OSError):  # the process has just ended
            continue
        peak, instant = max(peak, now), max(instant, now - held[0])
    try:
        seconds = here.recv()
    except EOFError:
        raise RetrieveError(f"indexing {count:,} documents failed; the reason is printed above") from None
    finally:
        process.join()
    return {
        "documents": count,
        "legs": list(legs),
        "peak_mb": peak,
        "held_mb": held[1],
        "above_mb": peak - held[1],
        "instant_mb": instant,
        "documents_per_second": count / seconds,
    }


def _index(pipe: Any, held: Any, count: int, legs: Sequence[str], dimension: int, folder: str | None) -> None:
    """Index; update `held` with the MB that the indexes hold now and at most, and send the seconds taken."""
    encoder = RandomVectors(dimension)
    chosen = {name: leg for name, leg in known_legs(encoder).items() if name in legs}
    tokens = RandomTokens(dimension)
    encoders = {name: tokens if name == "tokens" else encoder for name, leg in chosen.items() if leg.encoder}
    with tempfile.TemporaryDirectory(dir=folder) as directory:
        start = time.perf_counter()
        with (
            CollectionWriter.create(Path(directory) / "collection", chosen, encoders=encoders) as collection,
            _reporting([collection.index(name) for name in legs], held) as report,
        ):
            ingest(collection, documents(count), encoders, clock=Stopwatch(), total=count)
            report()  # a commit may map what it has written
            collection.commit()
        pipe.send(time.perf_counter() - start)


@contextmanager
def _reporting(indexes: Sequence[Any], held: Any) -> Iterator[Callable[[], None]]:
    """Update `held` with the MB that the indexes hold until the block ends; yields a function that does it at once."""
    ended = threading.Event()

    def report() -> None:
        held[0] = sum(getattr(index, "memory_bytes", 0) for index in indexes) / 2**20
        held[1] = max(held)

    def keep_reporting() -> None:
        while not ended.wait(SAMPLE_INTERVAL):
            report()

    reporter = threading.Thread(target=keep_reporting)
    reporter.start()
    try:
        yield report
    finally:
        ended.set()
        reporter.join()


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = script_parser(__file__, __doc__)
    parser.add_argument(
        "--documents", type=int, nargs="+", default=[10_000, 1_000_000], metavar="N", help="sizes (10000 1000000)"
    )
    parser.add_argument(
        "--legs", default="flat", help="comma-separated: bm25, flat, hnsw, edge (Qdrant Edge, on disk), tokens (flat)"
    )
    parser.add_argument("--dimension", type=int, default=384, help="dimension of the vectors (384)")
    parser.add_argument("--folder", help="folder for temporary collections (the system's)")
    parser.add_argument("--output", metavar="DIR", help="folder for memory.json (not written)")
    return parser


def run(options: argparse.Namespace) -> int:
    """Measure each size; print the rows and write them to `--output`.

    Return the exit status: 1 if memory grows by more than is allowed.
    """
    legs, known = options.legs.split(","), known_legs(RandomVectors(options.dimension))
    if unknown := [leg for leg in legs if leg not in known]:
        raise InputError(f"--legs: {', '.join(unknown)} cannot be measured, only {', '.join(known)} can")
    rows = []
    for count in options.documents:
        rows.append(measure(count, legs, options.dimension, options.folder))
    print(f"{'documents':>10}  {'peak MB':>8}  {'index MB':>8}  {'above MB':>8}  {'instant MB':>10}  {'docs/s':>7}")
    for row in rows:
        print(
            f"{row['documents']:>10,}  {row['peak_mb']:>8.0f}  {row['held_mb']:>8.0f}  {row['above_mb']:>8.0f}  "
            f"{row['instant_mb']:>10.0f}  {row['documents_per_second']:>7.0f}"
        )
    allowed = ALLOWED_TOKENS_MB if "tokens" in legs else ALLOWED_MB
    growth = rows[-1]["above_mb"] - rows[0]["above_mb"]
    print(f"above the indexes, the last size takes {growth:.0f} MB more than the first (at most {allowed:.0f})")
    if options.output:
        folder = Path(options.output)
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / "memory.json", rows)
        print(folder / "memory.json")
    return 0 if growth <= allowed else 1


main = script_main(parser, run)

if __name__ == "__main__":
    sys.exit(main())
