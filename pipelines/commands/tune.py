"""``retrieve tune``: which fusion serves a collection best, by judged queries."""

import argparse
import json
from pathlib import Path
from typing import Any

from indexing.errors import InputError
from pipelines.commands.command import command, positive


def add_parser(commands: Any) -> None:
    """Describe the command line."""
    parser = command(
        commands,
        "tune",
        run,
        "Find the fusion that serves a collection best: method, normaliser, weights and depth, by judged queries.",
        "retrieve tune my-collection --queries queries.jsonl --qrels qrels/train.tsv\n"
        "retrieve tune my-collection --queries my-beir-folder --qrels my-beir-folder/qrels/dev.tsv --dry-run",
    )
    parser.description = (
        "Find the fusion that serves a collection best: method, normaliser, weights and depth, by judged queries. "
        "Each leg runs once. The figure that is reported was measured on queries that the choice did not see "
        "(cross-validation), with a bootstrap interval over the queries; only where that lies above zero is the choice "
        "called a gain and written to DIR/search.yaml, which searches read. Some hundred judged queries are needed to "
        "show a small gain."
    )
    parser.add_argument("directory", metavar="DIR", help="what `retrieve index` built")
    parser.add_argument(
        "--queries", required=True, metavar="FILE", help="queries.jsonl, a TSV or the like, or a folder"
    )
    parser.add_argument("--qrels", required=True, metavar="FILE", help="BEIR's TSV, or TREC's four columns")
    parser.add_argument("--measure", default="ndcg@10", help="what is tuned for, as in MAP@100, RR@10 (ndcg@10)")
    parser.add_argument("--depths", default="50,100,200", metavar="N,N", help="hits a leg gives to try (50,100,200)")
    parser.add_argument("--folds", type=positive, default=5, help="parts of the queries, each held out once (5)")
    parser.add_argument("--seed", type=int, default=0, help="of dealing the folds and of the bootstrap (0)")
    parser.add_argument("--dense", metavar="MODEL", help="where the dense encoder is now, if it was moved")
    parser.add_argument("--sparse", metavar="MODEL", help="where the sparse encoder is now, if it was moved")
    parser.add_argument("--write", choices=["gain", "always", "never"], default="gain", help="the choice, when (gain)")
    parser.add_argument("--dry-run", action="store_const", const="never", dest="write", help="as --write never")
    parser.add_argument("--json", action="store_true", help="the report as JSON")
    parser.add_argument("--quiet", action="store_true", help="no progress bars")


def run(options: argparse.Namespace) -> int:
    """Run it."""
    from indexing.queries import read_qrels, read_queries
    from pipelines.evaluation.measures import Measure
    from pipelines.tuning import UNTUNED_DEPTH, read_choice, run_legs, search_space, tune, write_choice

    # Whatever is wrong with the options is said before the legs run.
    Measure.parse(options.measure)
    depths = [_depth(text) for text in options.depths.split(",")]
    texts, qrels = read_queries(options.queries), read_qrels(options.qrels)
    if unknown := [query_id for query_id in qrels if query_id not in texts]:
        raise InputError(
            f"{options.qrels}: {len(unknown)} judged queries, {unknown[0]!r} for one, have no text in {options.queries}"
        )
    if not 2 <= options.folds <= len(qrels):
        raise InputError(f"{len(qrels)} judged queries cannot be dealt into {options.folds} folds (--folds)")
    untuned = read_choice(options.directory)
    runs = run_legs(
        options.directory,
        {query_id: texts[query_id] for query_id in qrels},
        depth=max(*depths, untuned.depth if untuned else UNTUNED_DEPTH),
        dense=options.dense,
        sparse=options.sparse,
        show_progress=not options.quiet,
    )
    report = tune(
        runs,
        qrels,
        untuned=untuned,
        choices=search_space(runs.names, depths),
        measure=options.measure,
        folds=options.folds,
        seed=options.seed,
        show_progress=not options.quiet,
    )
    write = options.write == "always" or (options.write == "gain" and report.is_gain)
    path = write_choice(options.directory, report.chosen) if write else None
    if options.json:
        print(json.dumps({**report.as_dict(), "written": path and str(path)}, indent=2, ensure_ascii=False))
        return 0
    print(report)
    print(_what_was_done(path, Path(options.directory), options.write))
    return 0


def _what_was_done(path: Path | None, directory: Path, write: str) -> str:
    if path is not None:
        return f"Written to {path}: `retrieve search {directory}` uses it from now on."
    if write == "never":
        return "Nothing was written, as you said."
    return "Nothing was written; --write always writes the choice all the same."


def _depth(text: str) -> int:
    if not text.strip().isdecimal() or not int(text):
        raise InputError(f"--depths takes whole numbers of 1 or more with commas between, as in 50,100, not {text!r}")
    return int(text)
