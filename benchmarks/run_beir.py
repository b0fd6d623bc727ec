"""Score retrieval systems on BEIR datasets: BM25, dense, learned sparse, fusions, rerankers, and imported runs.

    python benchmarks/run_beir.py --dataset scifact --output results/scifact
    python benchmarks/run_beir.py --dataset scifact,cqadupstack --systems-file systems.yaml --output results/mine
    python benchmarks/run_beir.py --dataset scifact --systems bm25 --run theirs=theirs.trec --output results/theirs

Writes OUTPUT/report.html, OUTPUT/results.json (also .csv, .md), OUTPUT/runs/DATASET/SYSTEM.trec, OUTPUT/per_query/ and
OUTPUT/mteb/, and prints the tables. Indexes and answers are cached in OUTPUT: after an interruption the same command
resumes, and a command with more systems or datasets computes only those.
"""

import argparse
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from indexing.errors import InputError
from pipelines.cli import script_main, script_parser
from pipelines.commands.system_options import (
    add_scoring_options,
    add_system_options,
    check_options,
    imported_runs,
    plan_of,
    settings_of,
)


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = script_parser(__file__, __doc__)
    data = parser.add_argument_group("data")
    data.add_argument(
        "--dataset",
        required=True,
        metavar="NAME|FOLDER,…",
        help="BEIR's sets by name (scifact, nfcorpus, …; cqadupstack stands for its twelve), any Hub dataset with the "
        "same tables (owner/name), pydocs (made from installed packages, no download), or folders in BEIR layout "
        "(corpus.jsonl, queries.jsonl, qrels/SPLIT.tsv); several with commas between; NAME:SPLIT for another split",
    )
    data.add_argument("--split", help="split of the qrels (test; dev for msmarco)")
    data.add_argument(
        "--qrels", metavar="FILE", help="judge a single dataset by this file instead (TREC or BEIR format)"
    )
    add_benchmark_options(parser, data)
    return parser


def add_benchmark_options(parser: argparse.ArgumentParser, group: "argparse._ArgumentGroup") -> None:
    """Add the options that all benchmarks share: those for data, index and output to a group."""
    group.add_argument(
        "--data-dir",
        metavar="DIR",
        help="local copies of datasets, as BEIR folders (DIR/scifact) or as the Hub has them (DIR/BeIR/scifact with "
        "DIR/BeIR/scifact-qrels); read instead of the Hub (RETRIEVE_DATA)",
    )
    group.add_argument(
        "--dense-index", choices=["flat", "hnsw"], default="flat", help="exact search, or an HNSW graph (flat)"
    )
    group.add_argument(
        "--index",
        metavar="DIR",
        help="one collection with all legs, existing or to be built (OUTPUT/index/DATASET/LEG)",
    )
    group.add_argument("--output", required=True, metavar="DIR", help="folder for results, indexes and cached answers")
    add_system_options(parser)
    add_scoring_options(parser)


def run(options: argparse.Namespace) -> int:
    """Score on the named datasets."""
    from pipelines.evaluation.datasets import CQADUPSTACK, CQADUPSTACK_PARTS, parse_reference

    references = []
    for given in (part.strip() for part in options.dataset.split(",")):
        name, split = parse_reference(given)
        for part in CQADUPSTACK_PARTS if name == CQADUPSTACK and not Path(name).exists() else (name,):
            references.append((part, options.split or split))
    if options.qrels and len(references) > 1:
        raise InputError("--qrels judges a single dataset")
    return score(references, options)


def score(references: Sequence[tuple[str, str]], options: argparse.Namespace) -> int:
    """Score the requested systems on these datasets, each a name and a split, and print the tables."""
    from indexing.corpora.queries import read_qrels
    from pipelines.evaluation.datasets import EvaluationSet, load_evaluation_set
    from pipelines.evaluation.export import terminal_tables
    from pipelines.evaluation.harness import run_benchmark
    from pipelines.models import Models

    check_options(options)
    output = Path(options.output)
    if output.exists() and not output.is_dir():
        raise InputError(f"--output {output} is a file: name a directory")
    imported, settings = imported_runs(options), settings_of(options)

    def load(name: str, split: str) -> EvaluationSet:
        dataset = load_evaluation_set(name, split, data_dir=options.data_dir, check_corpus=False)
        if getattr(options, "qrels", None):
            dataset = dataset.judged_by(read_qrels(options.qrels))
        return dataset.limited(options.limit_queries) if options.limit_queries else dataset

    models = Models()
    results = run_benchmark(
        [partial(load, name, split) for name, split in references],
        plan_of(options, models),
        output,
        models=models,
        settings=settings,
        self_hits=options.self_hits,
        baseline=options.baseline,
        index=options.index,
        imported=imported,
        report=not options.no_report,
        say=partial(print, file=sys.stderr),
    )
    print("\n" + terminal_tables(results))
    report = "" if options.no_report else f"{output}/report.html, "
    print(f"\n{report}{output}/results.json, .csv, .md; {output}/runs/, {output}/per_query/, {output}/mteb/")
    return 0


main = script_main(parser, run)

if __name__ == "__main__":
    sys.exit(main())
