"""Kill jobs that build and change a collection at random instants, run each again, and compare with a clean build.

    python tests/crash/kill_loop.py --kills 100 --seed 1

A build, updates that change, add and remove documents, reindex and compact follow one another, each run until it ends
by itself; in between SIGKILL comes as often as `--kills` says. After each kill a reader must be able to open what is
there. At the end every leg must be that of a clean build of the last version, and `verify` must find nothing.
"""

import argparse
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np

sys.path[:0] = [str(Path(__file__).resolve().parents[2]), str(Path(__file__).resolve().parents[1])]

from crash.cheap import CheapTokens, CheapVectors, CheapWeights, documents, plan, queries

from indexing.collection.reader import Collection
from indexing.collection.verify import verify
from indexing.collection.writer import CollectionWriter
from pipelines.build.job import build_legs, update_collection

COMMIT_SECONDS = 0.3
"""Legs are committed often, so that kills meet commits."""
READY = "ready"
K = 10


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the loop, or one job of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=100, help="how many (100)")
    parser.add_argument("--seed", type=int, default=1, help="of the documents and the instants (1)")
    parser.add_argument("--documents", type=int, default=20_000, help="of the first version (20000)")
    parser.add_argument("--folder", help="where to work (a temporary directory)")
    parser.add_argument("--edge", action="store_true", help="have a leg in Qdrant Edge too")
    parser.add_argument("--job", nargs=2, metavar=("NAME", "VERSION"), help="run one job to its end, as the loop does")
    options = parser.parse_args(arguments)
    if options.job:
        name, version = options.job
        run_job(name, int(version), Path(options.folder), options.documents, options.seed, options.edge)
        return 0
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(options.folder or temporary)
        folder.mkdir(parents=True, exist_ok=True)
        more = {"edge": options.edge, "say": partial(print, flush=True)}
        kills, version = kill_loop(folder / "killed", options.documents, options.kills, options.seed, **more)
        print("killed:", ", ".join(f"{job} {times}" for job, times in sorted(kills.items())))
        problems = compare(folder / "killed", folder / "clean", options.documents, version, options.seed, **more)
    for problem in problems:
        print("WRONG:", problem)
    print("every leg is that of a clean build" if not problems else f"{len(problems)} things are wrong")
    return 1 if problems else 0


def jobs() -> Iterator[tuple[str, int]]:
    """What is done, without end, with the version of the documents each time."""
    yield "build", 0
    version = 0
    while True:
        version += 1
        yield "update", version
        yield "reindex", version
        version += 1
        yield "update", version
        yield "compact", version


def kill_loop(
    path: Path, count: int, kills: int, seed: int, *, edge: bool = False, say=lambda text: None
) -> tuple[Counter[str], int]:
    """Run jobs and kill them, until there were so many kills; then end the job, and compact.

    Gives the kills by job and the version of the documents that stands at last.
    """
    rng, share = random.Random(seed), max(1, kills // 12)
    done: Counter[str] = Counter()
    typical: dict[str, float] = {}
    name, version = "build", 0
    for name, version in jobs():
        tries = 0
        while True:
            tries += 1
            # No job takes more than its share of the kills, so that each kind meets some.
            killing = done.total() < kills and tries <= share
            limit = rng.random() * typical.get(name, 3.0) if killing else None
            seconds, killed = attempt(path, name, version, count, seed, edge, limit)
            if not killed:
                typical[name] = max(seconds, 0.2)
                break
            done[name] += 1
            say(f"kill {done.total():>3}: {name} of version {version} after {limit:.2f} s")
            read(path)
        if done.total() >= kills:
            break
    if name != "compact":
        attempt(path, "compact", version, count, seed, edge, None)
    return done, version


def attempt(
    path: Path, name: str, version: int, count: int, seed: int, edge: bool, limit: float | None
) -> tuple[float, bool]:
    """Start a job and kill it after so many seconds; gives how long it ran, and whether it was killed."""
    command = [sys.executable, __file__, "--job", name, str(version), "--folder", str(path)]
    command += ["--documents", str(count), "--seed", str(seed)] + (["--edge"] if edge else [])
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as job:
        assert job.stdout is not None
        assert job.stderr is not None
        job.stdout.readline()  # the engines are loaded
        start = time.monotonic()
        try:
            job.wait(limit)
        except subprocess.TimeoutExpired:
            job.kill()
            job.wait()
            return time.monotonic() - start, True
        if job.returncode:
            raise RuntimeError(f"{name} failed:\n{job.stderr.read()}")
        return time.monotonic() - start, False


def run_job(name: str, version: int, path: Path, count: int, seed: int, edge: bool) -> None:
    """Do one thing to the collection at `path`."""
    import faiss  # noqa: F401

    from indexing.indexes.lucene import jvm

    jvm.start()
    print(READY, flush=True)
    if name == "build":
        if not path.exists():
            build_legs(
                documents(count, version, seed),
                path,
                plan(edge=edge),
                show_progress=False,
                commit_seconds=COMMIT_SECONDS,
            )
    elif name == "update":
        corpus, encoders = documents(count, version, seed), plan(edge=edge).encoders
        update_collection(
            corpus, path, encoders=encoders, remove=True, show_progress=False, commit_seconds=COMMIT_SECONDS
        )
    else:
        with CollectionWriter.open(path, commit_seconds=COMMIT_SECONDS) as collection:
            if name == "compact":
                collection.compact()
            else:
                collection.reindex("dense")
                collection.reindex("graph", m=16 + version % 2 * 16)
                collection.reindex("bm25")
                collection.reindex("tokens")
                if edge:
                    collection.reindex("edge", m=16 + version % 2 * 16)


def read(path: Path) -> None:
    """Open everything as a reader does, whatever a kill has left."""
    if not path.exists():
        return
    with Collection.open(path) as collection:
        for name in collection.manifest.legs:
            found = collection.index(name).search(encoded(name, queries(3, 0)), K)
            collection.documents.get(sorted(set(found.doc_ids)))


def compare(
    path: Path, clean: Path, count: int, version: int, seed: int, *, edge: bool = False, say=lambda text: None
) -> list[str]:
    """Build this version anew at `clean`, and say in what the collection at `path` differs from it."""
    shutil.rmtree(clean, ignore_errors=True)
    build_legs(documents(count, version, seed), clean, plan(edge=edge), show_progress=False)
    problems = [problem.message for problem in verify(path)]
    with Collection.open(path) as ours, Collection.open(clean) as theirs:
        mine, others = list(ours.documents), list(theirs.documents)
        say(f"{len(mine)} documents, {len(others)} in the clean build")
        if len({document.doc_id for document in mine}) != len(mine):
            problems.append("documents are doubled")
        if {d.doc_id: d for d in mine} != {d.doc_id: d for d in others}:
            problems.append("documents are lost or not the last version's")
        asked = queries(200, seed)
        for name in ("bm25", "sparse", "weights", "dense", "tokens"):
            left, right = (c.index(name).search(encoded(name, asked), K) for c in (ours, theirs))
            same = list(left.doc_ids) == list(right.doc_ids) and np.array_equal(left.scores, right.scores)
            if name == "tokens":  # a matrix product rounds by the number of its rows, which segments decide
                same = len(left.scores) == len(right.scores) and np.allclose(left.scores, right.scores, rtol=1e-5)
            say(f"{name}: {len(left.doc_ids)} hits and scores {'identical' if same else 'DIFFER'}")
            if not same:
                problems.append(f"the leg {name} gives other hits or scores")
        exact = theirs.index("dense").search(encoded("dense", asked), K)
        for name in ("graph", "edge") if edge else ("graph",):
            recalls = [_recall(c.index(name).search(encoded(name, asked), K), exact) for c in (ours, theirs)]
            say(f"{name}: recall@{K} {recalls[0]:.4f}, of the clean build {recalls[1]:.4f}")
            if abs(recalls[0] - recalls[1]) > 0.01:
                problems.append(f"the recall of the leg {name} is {recalls[0]:.4f}, not {recalls[1]:.4f}")
        for name in ours.manifest.legs:
            if len(ours.index(name)) != len(mine):
                problems.append(f"the leg {name} holds {len(ours.index(name))} documents, not {len(mine)}")
    return problems


def encoded(name: str, texts: list[str]):
    """Give queries as this leg takes them."""
    if name == "bm25":
        return texts
    return {"sparse": CheapWeights, "weights": CheapWeights, "tokens": CheapTokens}.get(
        name, CheapVectors
    )().encode_document(texts)


def _recall(found, exact) -> float:
    pairs = zip(found, exact, strict=True)
    return float(np.mean([len(set(hits.doc_ids) & set(true.doc_ids)) / len(true) for hits, true in pairs]))


if __name__ == "__main__":
    sys.exit(main())
