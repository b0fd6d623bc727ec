"""Measure what a small update of a large FAISS index costs, beside building the index: seconds and bytes written.

    python benchmarks/run_updates.py --kind flat --vectors 1000000 --dimension 384 --folder /tmp/updates

An update replaces half of its rows and adds the other half. Each step runs in a process of its own: it opens the
index, changes and commits it. Bytes are those that the process wrote to files. A folder is used again: a build that
`--seconds` stopped goes on where it stopped, and a complete one is measured from a copy. Linux only.
"""

import argparse
import shutil
import sys
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # a script finds only modules beside it

from benchmarks.evaluation_sets import markdown
from benchmarks.speed.costs import Cost, measured
from indexing.disk import write_json
from indexing.indexes.faiss.index import FaissIndex
from indexing.json_text import parse_json
from pipelines.cli import script_main, script_parser

BATCH = 5000
QUERIES, K = 40, 10


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    made = script_parser(__file__, __doc__)
    made.add_argument("--kind", default="flat", help="kind of FAISS index (flat)")
    made.add_argument("--vectors", type=int, default=1_000_000, metavar="N", help="size of the index (1000000)")
    made.add_argument("--dimension", type=int, default=384, metavar="N", help="of the vectors (384)")
    made.add_argument("--share", type=float, default=0.01, metavar="S", help="of an update in the index (.01)")
    made.add_argument("--updates", type=int, default=3, metavar="N", help="updates, one after another (3)")
    made.add_argument("--m", type=int, default=32, help="links per node of hnsw (32)")
    made.add_argument("--ef-construction", type=int, default=200, metavar="N", help="of hnsw (200)")
    made.add_argument("--seconds", type=float, default=420, metavar="S", help="stop a build after so many (420)")
    made.add_argument("--folder", required=True, help="where the index is built and kept")
    made.set_defaults(run=run)
    return made


def run(options: argparse.Namespace) -> int:
    """Build, update and search; print a row for each step."""
    folder = Path(options.folder)
    folder.mkdir(parents=True, exist_ok=True)
    base, record = folder / "base", folder / "build.json"
    if not record.exists():
        part, held = measured(_build, options, base)
        parts = folder / "parts.json"
        costs = [*(parse_json(parts.read_text()) if parts.exists() else []), list(part)]
        write_json(parts, costs)
        if held < options.vectors:
            print(f"{held:,} of {options.vectors:,} vectors are indexed: run the command again to go on")
            return 0
        whole = np.array(costs)
        write_json(record, [*whole[:, :3].sum(axis=0).tolist(), float(whole[:, 3].max())])
    built = Cost(*parse_json(record.read_text()))
    rows = [_row("build", built, built)]
    changed = folder / "changed"
    shutil.rmtree(changed, ignore_errors=True)
    shutil.copytree(base, changed)
    cost, found = measured(_search, options, changed)
    rows.append(_row(f"{QUERIES} queries", cost, built, found))
    for number in range(options.updates):
        cost, _ = measured(_update, options, changed, number)
        rows.append(_row(f"update {number + 1}", cost, built))
    cost, found = measured(_search, options, changed)
    rows.append(_row(f"{QUERIES} queries", cost, built, found))
    print(markdown(rows))
    return 0


def _build(options: argparse.Namespace, path: Path) -> int:
    end = time.monotonic() + options.seconds
    settings = {"m": options.m, "ef_construction": options.ef_construction} if options.kind == "hnsw" else {}
    if (path / "settings.json").exists():
        index = FaissIndex.open(path)
    else:
        index = FaissIndex.create(path, options.dimension, kind=options.kind, **settings)
    with index:
        for start in range(len(index), options.vectors, BATCH):
            if time.monotonic() > end:
                break
            stop = min(start + BATCH, options.vectors)
            index.upsert([f"document-{number}" for number in range(start, stop)], _vectors(start, stop, options))
        return len(index)


def _update(options: argparse.Namespace, path: Path, number: int) -> int:
    """Replace rows spread over the index, and add as many new ones."""
    half = int(options.share * options.vectors / 2)
    step = options.vectors // half
    ids = [f"document-{step * place + number}" for place in range(half)]
    ids += [f"new-{number}-{place}" for place in range(half)]
    first = options.vectors * (number + 2)
    with FaissIndex.open(path) as index:
        index.upsert(ids, _vectors(first, first + 2 * half, options))
        return len(index)


def _search(options: argparse.Namespace, path: Path) -> str:
    """Search one query a call, as a reader does; return the median time of a search and of one in a batch."""
    index = FaissIndex.open(path, read_only=True)
    queries = _vectors(0, QUERIES, options) + np.float32(0.3)
    for query in queries[:3]:
        index.search(query, K)
    times = []
    for query in queries:
        start = time.perf_counter()
        index.search(query, K)
        times.append(time.perf_counter() - start)
    start = time.perf_counter()
    index.search(queries, K)
    batch = (time.perf_counter() - start) / QUERIES
    return f"{1000 * np.median(times):.2f} ms each, {1000 * batch:.2f} in a batch"


def _vectors(start: int, stop: int, options: argparse.Namespace) -> np.ndarray:
    return np.random.default_rng(start).standard_normal((stop - start, options.dimension), dtype=np.float32)


def _row(step: str, cost: Cost, built: Cost, found: str = "") -> dict[str, str]:
    def share(part: float, whole: float) -> str:
        return f"{100 * part / whole:.1f}%" if whole else ""

    return {
        "step": step,
        "s": f"{cost.seconds:.1f}",
        "processor s": f"{cost.processor:.1f}",
        "of the build": share(cost.processor, built.processor),
        "MB written": f"{cost.written:.1f}",
        "of the build's": share(cost.written, built.written),
        "peak MB": f"{cost.peak:.0f}",
        "a search": found,
    }


main = script_main(parser, run)

if __name__ == "__main__":
    sys.exit(main())
