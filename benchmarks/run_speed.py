"""Time this project beside other tools. A ratio is their time divided by ours: above 1 ours is faster.

    python benchmarks/run_speed.py encode --output results/speed
    python benchmarks/run_speed.py rerank --data path/to/beir/folder --output results/speed
    python benchmarks/run_speed.py search --sizes 10000,100000 --output results/speed
    python benchmarks/run_speed.py search --legs bm25,weights --sizes 1000000 --folder indexes --minutes 10

Prints a table and writes OUTPUT/speed.json, which keeps the rows of other tasks. Both sides run in alternation, and
times are medians. Encoders run in separate processes, so that each has its own peak memory.
"""

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # a script finds only modules beside it

from benchmarks.speed import tasks
from benchmarks.speed.measure import processor
from indexing.disk import write_json
from indexing.errors import InputError
from pipelines.cli import script_main, script_parser
from pipelines.evaluation.export import aligned

if TYPE_CHECKING:
    from benchmarks.speed.measure import Row


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = script_parser(__file__, __doc__)
    commands = parser.add_subparsers(metavar="TASK", required=True)

    encode = _task(commands, "encode", tasks.encode, "a dense encoder beside sentence-transformers")
    encode.add_argument("--model", help="a checkpoint (all-MiniLM-L6-v2)")
    sparse = _task(commands, "encode-sparse", tasks.encode_sparse, "a SPLADE encoder beside sentence-transformers")
    sparse.add_argument("--model", help="a checkpoint (a random one of BERT-base's size)")
    rerank = _task(commands, "rerank", tasks.rerank, "a cross-encoder beside sentence-transformers")
    rerank.add_argument("--model", help="a checkpoint (MiniLM with a random head)")
    _size(rerank, "--queries", "number of queries", 50, 5)
    _size(rerank, "--candidates", "candidates per query", 100, 20)
    latency = _task(commands, "latency", tasks.latency, "single queries beside sentence-transformers' backends")
    latency.add_argument("--model", help="a checkpoint (all-MiniLM-L6-v2)")
    latency.add_argument("--data", default="pydocs", metavar="NAME|FOLDER", help="pydocs, or a BEIR folder (pydocs)")
    _size(latency, "--queries", "number of queries", 200, 5)
    for task in (encode, sparse, rerank, latency):
        task.add_argument(
            "--peers",
            metavar="FOLDER",
            help="environment of the peers (benchmarks/peers/.venv, if it is there; without --quick)",
        )
    tokens = _task(commands, "multi-vector", tasks.multi_vector, "late interaction: encoding, MaxSim and search")
    tokens.add_argument("--model", help="a multi-vector checkpoint (MiniLM with a projection to 128 dimensions)")
    tokens.add_argument("--sizes", metavar="N,N", help="numbers of documents to search (5000,50000; quick: 300)")
    _size(tokens, "--queries", "number of queries of MaxSim and search", 100, 10)
    _size(tokens, "--candidates", "candidates per query", 100, 20)
    mine = _task(commands, "mine", tasks.mine, "hard-negative mining beside sentence-transformers")
    mine.add_argument("--model", help="a checkpoint (all-MiniLM-L6-v2)")
    _size(mine, "--queries", "number of queries", 10_000, 100)
    mine.add_argument("--split", default="train", help="qrels of a BEIR folder (train)")
    settings = "default,best,float32,given"
    mine.add_argument("--settings", default=settings, metavar="NAMES", help=f"settings to time ({settings})")
    train = _task(commands, "train", tasks.train, "training a dense encoder beside sentence-transformers")
    train.add_argument("--model", help="a checkpoint (all-MiniLM-L6-v2)")
    splade = _task(
        commands, "train-sparse", partial(tasks.train, sparse=True), "training SPLADE beside sentence-transformers"
    )
    splade.add_argument("--model", help="a checkpoint (all-MiniLM-L6-v2 with a head tied to its word embeddings)")
    for task, steps, batch_size in ((train, 30, 64), (splade, 10, 16)):
        _size(task, "--steps", "training steps", steps, 3)
        _size(task, "--batch-size", "rows per step", batch_size, 8)
        task.add_argument("--split", default="train", help="qrels of a BEIR folder (train)")
    for task, full, quick in ((encode, 1000, 100), (sparse, 500, 40), (tokens, 500, 40)):
        _size(task, "--texts", "number of texts", full, quick)
    for task in (encode, sparse, rerank, tokens, mine, train, splade):
        task.add_argument("--data", default="pydocs", metavar="NAME|FOLDER", help="pydocs, or a BEIR folder (pydocs)")
        task.add_argument("--device", default="cpu", help="device of both sides (cpu)")
        task.add_argument("--threads", type=int, metavar="N", help="threads of each side (torch's choice)")
    for name, help_text, count in (
        ("paraphrases", "paraphrase mining beside sentence-transformers, on vectors", 20_000),
        ("communities", "community detection beside sentence-transformers, on vectors", 20_000),
        ("binary", "binary search with rescoring beside semantic_search_faiss", 1_000_000),
    ):
        similar = _task(commands, name, partial(tasks.similar, task=name), help_text)
        _size(
            similar, "--vectors", "number of vectors: of a BEIR folder's documents (--data), or generated", count, 1000
        )
        similar.add_argument("--data", metavar="NAME|FOLDER", help="pydocs, or a BEIR folder (generated vectors)")
        similar.add_argument("--threads", type=int, metavar="N", help="threads of each side (torch's choice)")
    for name, documents in (("evaluate", "dense"), ("evaluate-sparse", "sparse")):
        evaluate = _task(
            commands,
            name,
            partial(tasks.evaluate, sparse=documents == "sparse"),
            f"the information retrieval evaluator with {documents} vectors given",
        )
        _size(evaluate, "--queries", "number of queries", 1000, 50)
        _size(evaluate, "--documents", "number of documents", 100_000, 2000)
        evaluate.add_argument("--threads", type=int, metavar="N", help="threads of each side (torch's choice)")
    impact = _task(commands, "impact", tasks.impact, "the impact index beside pyserini, Anserini and Lucene")
    _size(impact, "--documents", "number of documents", 20_000, 2000)
    impact.add_argument("--sizes", metavar="N,N", help="numbers of documents beside Seismic and BMP (none)")
    impact.add_argument("--terms", default="120,200", metavar="N,N", help="with --sizes: terms of a document (120,200)")
    impact.add_argument(
        "--query-terms", default="10,34,120", metavar="N,N", help="with --sizes: of a query (10,34,120)"
    )
    impact.add_argument("--peers", metavar="FOLDER", help="environment of Seismic and BMP (benchmarks/peers/.venv)")
    metrics = _task(commands, "metrics", tasks.metrics, "eight measures beside pytrec_eval and ranx")
    _size(metrics, "--queries", "number of queries", 10_000, 200)
    _size(metrics, "--hits", "hits per query", 1000, 100)
    for name, run_task, summary in (
        ("index", tasks.index, "building the dense indexes, and BM25 beside bm25s"),
        ("search", tasks.search, "searching the indexes, with filters, BM25 beside bm25s, sparse legs in Edge"),
    ):
        task = _task(commands, name, run_task, summary)
        task.add_argument("--sizes", metavar="N,N", help="numbers of vectors (10000,100000,1000000; quick: 2000)")
        _size(task, "--texts", "number of BM25 texts", 100_000, 2000)
        _size(task, "--queries", "number of queries", 200, 20)
        if name == "search":
            task.add_argument(
                "--legs", metavar="A,B", help="only these in Edge and Lucene: bm25,text-query,weights (all indexes)"
            )
            task.add_argument(
                "--folder", metavar="DIR", help="with --legs: keep their indexes here and go on (removed)"
            )
            task.add_argument("--minutes", type=float, metavar="N", help="with --legs: stop building after this time")
    hybrid = _task(
        commands, "hybrid", tasks.hybrid, "a deployed hybrid search in one request beside a request for each leg"
    )
    _size(hybrid, "--documents", "number of documents in Edge", 10_000, 500)
    _size(hybrid, "--local-documents", "number of documents in the client's local mode", 2000, 200)
    _size(hybrid, "--queries", "number of queries", 200, 10)
    pipeline = _task(commands, "pipeline", tasks.pipeline, "the search pipeline beside its own parts")
    _size(pipeline, "--documents", "number of documents", 100_000, 2000)
    pipeline.add_argument("--dense-index", choices=["flat", "hnsw"], default="flat", help="FAISS index (flat)")
    _size(pipeline, "--queries", "number of queries", 1000, 60)
    budget = _task(commands, "budget", tasks.budget, "the cost in quality of a reranker's budget")
    budget.add_argument("--reranker", default="late-interaction", metavar="MODEL", help="reranker (late-interaction)")
    _size(budget, "--queries", "number of queries", 300, 20)
    serve = _task(commands, "serve", tasks.serve, "searches and embeddings over HTTP by concurrent clients")
    serve.add_argument("--collection", required=True, metavar="DIR", help="the collection to search")
    serve.add_argument("--model", help="a checkpoint to embed with (all-MiniLM-L6-v2)")
    serve.add_argument(
        "--infinity", metavar="PYTHON", help="interpreter of an environment with infinity-emb[server,torch]"
    )
    _size(serve, "--seconds", "seconds of each side's load", 30, 3)
    for task, quick in ((pipeline, 40), (budget, 50)):
        task.add_argument("--data", default="pydocs", metavar="NAME|FOLDER", help="pydocs, or a BEIR folder (pydocs)")
        _size(task, "--candidates", "candidates per query", 200, quick)
        task.add_argument("--max-ms", type=float, default=200, metavar="MS", help="time limit of the reranker (200)")
    return parser


def run(options: argparse.Namespace) -> int:
    """Run one task; print its rows and write them to `--output`."""
    _set_sizes(options)
    rows = options.run(options)
    here = processor()
    for row in rows:
        row["processor"] = here
    print(f"{table(rows)}\n\n{here}")
    if options.output:
        path = Path(options.output) / "speed.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        stored = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else []
        measured = {row["task"] for row in rows}
        write_json(path, [row for row in stored if row["task"] not in measured] + rows)
        print(f"\n{path}")
    return 0


def table(rows: "Sequence[Row]") -> str:
    """Return the rows as a text table."""
    head = ["task", "peer", "setting", "ratio", "agreement", "ours s", "theirs s", "ours MB", "theirs MB"]
    lines = [
        [
            row["task"],
            row["peer"],
            row["setting"],
            f"{row['ratio']:.2f}",
            f"{row['agreement']:.6f}",
            f"{row['ours_s']:.3f}",
            f"{row['theirs_s']:.3f}",
            *("-" if peak is None else f"{peak:.0f}" for peak in (row["ours_peak_mb"], row["theirs_peak_mb"])),
        ]
        for row in rows
    ]
    details = ["", *(row.get("detail", "") for row in rows)]
    return "\n".join(map("  ".join, zip(aligned([head, *lines], left=3), details, strict=True)))


def _task(
    commands: "argparse._SubParsersAction[argparse.ArgumentParser]",
    name: str,
    run: "Callable[[argparse.Namespace], list[Row]]",
    summary: str,
) -> argparse.ArgumentParser:
    task = commands.add_parser(name, help=summary, description=getattr(run, "func", run).__doc__)
    task.add_argument("--output", metavar="DIR", help="folder for speed.json (not written)")
    _size(task, "--repeats", "runs of each side", 3, 1)
    task.add_argument("--quick", action="store_true", help="run with small sizes, to test the setup")
    task.set_defaults(run=run)
    return task


def _size(task: argparse.ArgumentParser, option: str, what: str, full: int, quick: int) -> None:
    """Add a number with one default for full runs and one for --quick; `run` sets it."""
    action = task.add_argument(option, type=int, metavar="N", help=f"{what} ({full}; quick: {quick})")
    task.set_defaults(defaults={**(task.get_default("defaults") or {}), action.dest: (full, quick)})


def _set_sizes(options: argparse.Namespace) -> None:
    for name, (full, quick) in options.defaults.items():
        value = getattr(options, name)
        if value is not None and value < 1:
            raise InputError(f"--{name.replace('_', '-')} must be at least 1, not {value}")
        setattr(options, name, value or (quick if options.quick else full))


main = script_main(parser, run)

if __name__ == "__main__":
    sys.exit(main())
