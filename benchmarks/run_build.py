"""Measure building a collection of given vectors, end to end: documents a second, memory and bytes, by legs.

    python benchmarks/run_build.py --documents 1000000 --folder /tmp/build

Documents of some 50 words with Zipf-like frequencies, a title and two filter fields are written to a JSONL file, and
then indexed as `retrieve index` does, by an encoder that only looks vectors up. Each build runs in a process of its
own. Bytes are those that the process wrote to files. Linux only.
"""

import argparse
import json
import shutil
import sys
from collections import Counter
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # a script finds only modules beside it

from benchmarks.evaluation_sets import markdown
from benchmarks.speed.costs import measured
from indexing.corpora.corpus import read_corpus
from indexing.inputs import whole_number
from pipelines.build.job import build_collection
from pipelines.cli import script_main, script_parser
from retrieve.encoders import DenseEncoder

LEGS = ("none", "dense", "bm25", "bm25+dense")
WORDS, LENGTH, BATCH = 60_000, 50, 10_000
VECTORS = 20_000
"""Different vectors; documents share them, so that making them costs nothing."""


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    made = script_parser(__file__, __doc__)
    made.add_argument("--documents", type=int, default=1_000_000, metavar="N", help="size of the corpus (1000000)")
    made.add_argument("--dimension", type=int, default=384, metavar="N", help="of the vectors (384)")
    made.add_argument("--folder", required=True, help="where the corpus and the collections are written")
    made.set_defaults(run=run)
    return made


def run(options: argparse.Namespace) -> int:
    """Write the corpus; read it, then build each collection; print a row for each."""
    documents = whole_number(options.documents, "documents")
    folder = Path(options.folder)
    folder.mkdir(parents=True, exist_ok=True)
    corpus = folder / f"corpus-{documents}.jsonl"
    if not corpus.exists():
        write_corpus(corpus, documents)
    rows = []
    for legs in LEGS:
        cost, threads = measured(_build, corpus, folder / "built", legs, whole_number(options.dimension, "dimension"))
        rows.append(
            {
                "legs": legs.replace("none", "only read and check"),
                "s": f"{cost.seconds:.1f}",
                "processor s": f"{cost.processor:.1f}",
                "documents a second": f"{documents / cost.seconds:,.0f}",
                "MB written": f"{cost.written:,.0f}",
                "peak MB": f"{cost.peak:,.0f}",
                "processor s by thread": ", ".join(f"{name} {seconds:.0f}" for name, seconds in threads),
            }
        )
        print(f"{legs}: {cost.seconds:.1f} s", file=sys.stderr)
    print(markdown(rows))
    return 0


def write_corpus(path: Path, documents: int) -> None:
    """Write generated documents as JSONL."""
    rng = np.random.default_rng(0)
    share = 1 / np.arange(1, WORDS + 1)
    words = np.array([f"word{number}" for number in range(WORDS)])
    part = path.with_suffix(".part")
    with part.open("w", encoding="utf-8") as file:
        for start in range(0, documents, BATCH):
            lengths = np.maximum(5, rng.lognormal(np.log(LENGTH), 0.4, min(BATCH, documents - start)).astype(int))
            chosen = words[rng.choice(WORDS, int(lengths.sum()), p=share / share.sum())]
            for number, text in enumerate(np.split(chosen, np.cumsum(lengths)[:-1]), start):
                record = {"_id": f"doc{number:08d}", "title": f"Title {number}", "text": " ".join(text)}
                metadata = {"year": 1990 + number % 36, "kind": "abc"[number % 3]}
                file.write(json.dumps(record | {"metadata": metadata}) + "\n")
    part.replace(path)


def _build(corpus: Path, path: Path, legs: str, dimension: int) -> list[tuple[str, float]]:
    """Build a collection with these legs, or only read the corpus; return the processor time of the threads."""
    shutil.rmtree(path, ignore_errors=True)
    source = read_corpus(corpus)
    if legs == "none":
        for _ in source:
            pass
    else:
        vectors = np.random.default_rng(1).standard_normal((VECTORS, dimension), dtype=np.float32)
        seen = 0

        def look_up(texts: list[str]) -> np.ndarray:
            nonlocal seen
            rows = np.arange(seen, seen + len(texts)) % VECTORS
            seen += len(texts)
            return vectors[rows]

        dense = DenseEncoder.of(look_up, dimension, identity="given@1") if "dense" in legs else None
        fields = {"year": "number", "kind": "keyword"}
        build_collection(source, path, bm25="bm25" in legs, dense=dense, fields=fields, show_progress=False)
        shutil.rmtree(path)
    return _threads()


def _threads() -> list[tuple[str, float]]:
    """Return the processor seconds of this process's threads by name, the largest first, from one second on."""
    seconds: Counter[str] = Counter()
    for task in Path("/proc/self/task").iterdir():
        name, _, rest = (task / "stat").read_text().partition("(")[2].rpartition(")")
        fields = rest.split()
        seconds[name] += (int(fields[11]) + int(fields[12])) / 100
    return [(name, each) for name, each in seconds.most_common(5) if each >= 1]


main = script_main(parser, run)

if __name__ == "__main__":
    sys.exit(main())
