"""Score retrieval systems on one BEIR dataset: BM25, dense, learned sparse, their fusion, and a reranker on top.

    python benchmarks/run_beir.py --dataset scifact --output results/scifact
    python benchmarks/run_beir.py --dataset path/to/beir/folder --reranker cross-encoder/ms-marco-MiniLM-L6-v2 \
        --output results/mine

Writes OUTPUT/results.json and OUTPUT/runs/SYSTEM.trec, and prints one table. The collection that was searched stays in
OUTPUT/index; a second run with the same corpus and models uses it again.
"""

import argparse
import os
import platform
import shlex
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from indexing.errors import InputError, ModelError
from pipelines.cli import run_safely

SYSTEMS = ("bm25", "dense", "sparse", "hybrid", "hybrid+rerank")
SELF_HITS = ("arguana", "quora")
"""BEIR's sets whose queries are documents of the corpus: finding oneself is no find."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and give its exit status."""
    options = parser().parse_args(arguments)
    return run_safely(partial(run, options))


def parser() -> argparse.ArgumentParser:
    """Describe the command line."""
    parser = argparse.ArgumentParser(
        prog="run_beir.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--dataset",
        required=True,
        metavar="NAME|FOLDER",
        help="one of BEIR's on the Hub (scifact, nfcorpus, …), pydocs (made from installed packages, no download), or "
        "a folder in BEIR layout (corpus.jsonl, queries.jsonl, qrels/SPLIT.tsv)",
    )
    parser.add_argument("--split", default="test", help="which qrels (test)")
    parser.add_argument("--data-dir", metavar="DIR", help="where local copies of BEIR's datasets are (RETRIEVE_DATA)")
    parser.add_argument("--systems", default=",".join(SYSTEMS), metavar="NAMES", help=f"({','.join(SYSTEMS)})")
    parser.add_argument("--dense", metavar="MODEL", help="the dense encoder, a path or Hub name (all-MiniLM-L6-v2)")
    parser.add_argument("--sparse", metavar="MODEL", help="a SPLADE encoder; without one the system sparse is not run")
    parser.add_argument(
        "--reranker", metavar="MODEL", help="a cross-encoder (without one: late interaction with the dense encoder)"
    )
    parser.add_argument("--fusion", choices=["weighted-sum", "rrf"], default="weighted-sum", help="(weighted-sum)")
    parser.add_argument("--candidates", type=int, default=50, metavar="N", help="hits the reranker reads (50)")
    parser.add_argument("--k", type=int, default=100, help="hits a query (100)")
    parser.add_argument(
        "--dtype", choices=["auto", "float32", "bfloat16"], default="auto", help="of the encoders (auto)"
    )
    parser.add_argument("--dense-index", choices=["flat", "hnsw"], default="flat", help="exact, or a graph (flat)")
    parser.add_argument("--limit-queries", type=int, metavar="N", help="only N queries, the same ones each time")
    parser.add_argument("--index", metavar="DIR", help="where the collection is or will be built (OUTPUT/index)")
    parser.add_argument("--output", required=True, metavar="DIR", help="where results.json and runs/ go")
    return parser


def run(options: argparse.Namespace) -> int:
    """Load, build, run every system, write and print."""
    from indexing.collection import read_manifest
    from indexing.disk import write_json
    from indexing.runs import write_trec_run
    from pipelines.evaluation.datasets import load_evaluation_set
    from pipelines.evaluation.harness import Outcome, System, run_system
    from pipelines.evaluation.judged import Qrels
    from pipelines.search import LATE_INTERACTION, SearchPipeline
    from retrieve.fusion import FUSIONS

    wanted = check(options)
    dataset = load_evaluation_set(options.dataset, split=options.split, data_dir=options.data_dir)
    if options.limit_queries:
        dataset = dataset.limited(options.limit_queries)
    queries, qrels = dict(dataset.queries), Qrels.from_dict(dataset.qrels)
    drop_self_hits = dataset.name in SELF_HITS
    if drop_self_hits:
        print(f"{dataset.name}: hits whose id is the query's own are left out, as BEIR does", file=sys.stderr)

    not_run: dict[str, str] = {}
    dense = load(dense_encoder, options, ("dense",), "dense", not_run) if needs(wanted, "dense") else None
    sparse = load(sparse_encoder, options, ("sparse",), "sparse", not_run) if needs(wanted, "sparse") else None
    reranker = (
        load(cross_encoder, options, ("hybrid+rerank",), "reranker", not_run) if "hybrid+rerank" in wanted else None
    )
    legs = tuple(name for name, there in (("bm25", True), ("dense", dense), ("sparse", sparse)) if there)
    if all(reasons := [cannot_run(System(name, ()), legs, not_run) for name in wanted]):
        raise InputError(f"none of the systems can be run: {reasons[0]}")
    index = Path(options.index or Path(options.output) / "index")
    prepare(index, dataset.corpus, dense, sparse, options)

    runs = Path(options.output) / "runs"
    for stale in SYSTEMS:
        (runs / f"{stale}.trec").unlink(missing_ok=True)
    outcomes: list[Outcome] = []
    for name in wanted:
        system = System(name, (name,) if name in ("bm25", "dense", "sparse") else legs)
        if reason := cannot_run(system, legs, not_run):
            not_run[name] = reason
            continue
        print(f"\n{name}: {len(queries):,} queries", file=sys.stderr)
        with SearchPipeline.open(
            index,
            legs=system.legs,
            fusion=FUSIONS[options.fusion],
            depth=options.k,
            dense=dense,
            sparse=sparse,
            reranker=(reranker or LATE_INTERACTION) if name == "hybrid+rerank" else None,
            candidates=options.candidates,
        ) as pipeline:
            outcomes.append(run_system(system, pipeline, queries, qrels, k=options.k, drop_self_hits=drop_self_hits))
        try:
            write_trec_run(runs / f"{name}.trec", outcomes[-1].hits, list(queries), tag=name)
        except InputError as error:
            print(f"{runs / name}.trec is not written: {error}", file=sys.stderr)

    results = {
        "dataset": dataset.name,
        "split": dataset.split,
        "documents": read_manifest(index).documents,
        "queries": len(queries),
        "systems": {outcome.system.name: outcome.row() for outcome in outcomes},
        "not_run": {name: reason for name, reason in not_run.items() if name in wanted},
        "environment": environment(options, dense, sparse, reranker),
    }
    write_json(Path(options.output) / "results.json", results)
    print("\n" + table(results))
    print(f"\n{options.output}/results.json, {options.output}/runs/")
    return 0


def check(options: argparse.Namespace) -> list[str]:
    """Check what argparse cannot, before anything is loaded; give the systems in the table's order."""
    asked = [name.strip() for name in options.systems.split(",")]
    unknown = [name for name in asked if name not in SYSTEMS]
    if unknown:
        raise InputError(f"unknown system {unknown[0]!r}: there are {', '.join(SYSTEMS)}")
    for name in ("k", "candidates", "limit_queries"):
        value = getattr(options, name)
        if value is not None and value < 1:
            raise InputError(f"--{name.replace('_', '-')} must be at least 1, not {value}")
    output = Path(options.output)
    if output.exists() and not output.is_dir():
        raise InputError(f"--output {output} is a file: name a directory")
    return [name for name in SYSTEMS if name in asked]


def needs(wanted: Sequence[str], leg: str) -> bool:
    """Say whether one of the wanted systems uses this leg."""
    return leg in wanted or any(name.startswith("hybrid") for name in wanted)


def load(
    make: Callable[[argparse.Namespace], Any],
    options: argparse.Namespace,
    systems: Sequence[str],
    what: str,
    not_run: dict[str, str],
) -> Any:
    """Load a model; where it cannot be found, write down why the systems that need it are not run."""
    try:
        return make(options)
    except ModelError as error:
        if getattr(options, what):
            raise
        not_run.update(dict.fromkeys(systems, str(error)))
        return None


def dense_encoder(options: argparse.Namespace) -> Any:
    """Load the dense encoder."""
    from retrieve.default_models import default_dense_model
    from retrieve.encoders import DenseEncoder

    return DenseEncoder(options.dense or default_dense_model(), dtype=options.dtype)


def sparse_encoder(options: argparse.Namespace) -> Any:
    """Load the sparse encoder."""
    from retrieve.encoders import SparseEncoder

    if not options.sparse:
        raise ModelError("no --sparse model was given")
    return SparseEncoder(options.sparse, dtype=options.dtype)


def cross_encoder(options: argparse.Namespace) -> Any:
    """Load the cross-encoder, if one was named."""
    from retrieve.encoders import CrossEncoder
    from retrieve.rerankers import Reranker

    return Reranker(CrossEncoder(options.reranker, dtype=options.dtype)) if options.reranker else None


def prepare(index: Path, corpus: Any, dense: Any, sparse: Any, options: argparse.Namespace) -> None:
    """Build the collection, or use the one that is there when it is of this corpus and these encoders."""
    from pipelines.build import build_collection, is_built

    if is_built(index, corpus, dense=dense, sparse=sparse, dense_index=options.dense_index):
        print(f"using the collection in {index}", file=sys.stderr)
        return
    report = build_collection(
        corpus,
        index,
        dense=dense,
        sparse=sparse,
        dense_index=options.dense_index,
        overwrite=options.index is None,  # a directory that was named may be somebody's work
    )
    print(report, file=sys.stderr)


def cannot_run(system: Any, legs: Sequence[str], not_run: dict[str, str]) -> str | None:
    """Say why a system cannot be run, if it cannot."""
    if system.name in not_run:
        return not_run[system.name]
    if system.name.startswith("hybrid") and len(legs) < 2:
        return f"a hybrid needs two legs, and there is only {legs[0]}"
    if system.name == "hybrid+rerank" and "dense" not in legs:
        return "no --reranker was given, and late interaction needs a dense encoder"
    return None


def environment(options: argparse.Namespace, dense: Any, sparse: Any, reranker: Any) -> dict[str, Any]:
    """Say where and with what the figures came about."""
    import torch

    packages = ("retrieve-rerank", "torch", "transformers", "faiss-cpu", "pyserini", "numpy")
    return {
        "command": shlex.join(["python", *sys.argv]),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "machine": f"{platform.system()} {platform.machine()}",
        "processors": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "packages": {name: _version(name) for name in packages},
        "models": {
            "dense": dense.identity["name"] if dense else None,
            "sparse": sparse.identity["name"] if sparse else None,
            "reranker": options.reranker or "late-interaction",
        },
        "dtype": str(dense.identity["dtype"]) if dense else None,
        "dense_index": options.dense_index,
        "fusion": options.fusion,
        "k": options.k,
        "candidates": options.candidates,
    }


def table(results: dict[str, Any]) -> str:
    """Lay the results out for a terminal."""
    head = ["system", "nDCG@10", "MAP@100", "MRR@10", "R@100", "p50 ms", "p95 ms", "index MB"]
    rows = [
        [
            name,
            *(f"{row[measure]:.4f}" for measure in ("ndcg@10", "map@100", "mrr@10", "recall@100")),
            f"{row['p50_ms']:.1f}",
            f"{row['p95_ms']:.1f}",
            f"{row['index_bytes'] / 1e6:.1f}",
        ]
        for name, row in results["systems"].items()
    ]
    widths = [max(len(line[column]) for line in [head, *rows]) for column in range(len(head))]
    lines = [
        "  ".join(
            [line[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(line[1:], widths[1:], strict=True))]
        )
        for line in [head, *rows]
    ]
    title = (
        f"{results['dataset']} {results['split']}: {results['documents']:,} documents, {results['queries']:,} queries"
    )
    missing = [f"not run: {name}: {reason}" for name, reason in results["not_run"].items()]
    return "\n".join([title, *lines, *missing])


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


if __name__ == "__main__":
    sys.exit(main())
