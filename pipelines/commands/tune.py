"""``retrieve tune``: choose the fusion, and the weight of a reranker, from judged queries."""

import argparse
import shlex
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from indexing.errors import InputError
from indexing.plurals import counted
from pipelines.commands.command import command, json_text, positive

if TYPE_CHECKING:
    from pipelines.tuning.fusion import Choice, TuningReport
    from pipelines.tuning.reranker_weight import WeightReport


def add_parser(commands: Any) -> None:
    """Add the subcommand and its options."""
    parser = command(
        commands,
        "tune",
        run,
        "Find the best fusion for a collection from judged queries: method, normalizer, weights and depth.",
        "retrieve tune my-collection --queries queries.jsonl --qrels qrels/train.tsv\n"
        "retrieve tune my-collection --queries my-beir-folder --qrels my-beir-folder/qrels/dev.tsv --dry-run\n"
        "retrieve tune my-collection --queries queries.jsonl --qrels qrels/train.tsv --reranker late-interaction",
    )
    more = (
        "Each leg runs once. The reported figure is measured on held-out queries (cross-validation), with a bootstrap "
        "interval over the queries. Only if that interval lies above zero is the choice called a gain and written to "
        "DIR/search.yaml, which searches read. A small gain needs some hundred judged queries to show. With --reranker "
        "the first stage's share of the final score is tuned too, on the fusion chosen before; the reranker reads each "
        "candidate once."
    )
    parser.description = f"{parser.description}\n\n{textwrap.fill(more, 98)}"
    parser.add_argument("directory", metavar="DIR", help="a collection built by `retrieve index`")
    parser.add_argument(
        "--queries", required=True, metavar="FILE", help="queries.jsonl, a TSV file, or a folder in BEIR layout"
    )
    parser.add_argument("--qrels", required=True, metavar="FILE", help="judgements: BEIR's TSV, or TREC's four columns")
    parser.add_argument("--measure", default="ndcg@10", help="measure to maximize, as in MAP@100, RR@10 (ndcg@10)")
    parser.add_argument(
        "--depths", default="50,100,200", metavar="N,N", help="numbers of hits per leg to try (50,100,200)"
    )
    parser.add_argument(
        "--reranker", metavar="MODEL", help="also tune the weight of this cross-encoder, or of late-interaction (none)"
    )
    parser.add_argument("--candidates", type=positive, metavar="N", help="hits that the reranker reads (50)")
    parser.add_argument("--folds", type=positive, default=5, help="number of folds, each held out once (5)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the folds and of the bootstrap (0)")
    parser.add_argument("--dense", metavar="MODEL", help="present path of the dense encoder, if it was moved")
    parser.add_argument("--sparse", metavar="MODEL", help="present path of the sparse encoder, if it was moved")
    parser.add_argument(
        "--write", choices=["gain", "always", "never"], default="gain", help="when to write the choice (gain)"
    )
    parser.add_argument("--dry-run", action="store_const", const="never", dest="write", help="same as --write never")
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
    parser.add_argument("--quiet", action="store_true", help="no progress bars")


def run(options: argparse.Namespace) -> int:
    """Tune, print the report, and write the choice if it is a gain."""
    from indexing.collection.manifest import read_manifest
    from indexing.corpora.queries import read_qrels, read_queries
    from indexing.permissions import check_output
    from pipelines.measures.measures import Measure
    from retrieve.remote import is_url

    # Wrong options are reported before the legs run.
    Measure.parse(options.measure)
    depths = [_depth(text) for text in options.depths.split(",")]
    if options.candidates and not options.reranker:
        raise InputError("--candidates is for a reranker: name it with --reranker")
    read_manifest(Path(options.directory))
    if options.write != "never":
        check_output(Path(options.directory) / "search.yaml")
    texts, qrels = read_queries(options.queries), read_qrels(options.qrels)
    if unknown := [query_id for query_id in qrels if query_id not in texts]:
        raise InputError(
            f"{options.qrels}: {len(unknown)} judged queries, {unknown[0]!r} for one, have no text in {options.queries}"
        )
    if not 2 <= options.folds <= len(qrels):
        raise InputError(
            f"{len(qrels)} judged queries cannot be divided into {counted(options.folds, 'fold')} (--folds)"
        )
    judged = {query_id: texts[query_id] for query_id in qrels}
    report: dict[str, Any] = {}
    first_stage = None
    if not options.reranker or len(read_manifest(Path(options.directory)).legs) > 1:
        fusion, first_stage, path = _fusion(options, judged, qrels, depths)
        report = {**fusion.as_dict(), "written": path and str(path)}
        if not options.json:
            print(f"{fusion}\n{_outcome(path, Path(options.directory), options.write)}", flush=True)
    if options.reranker:
        weight, path = _weight(options, judged, qrels, first_stage)
        report["reranker"] = {**weight.as_dict(), "written": path and str(path)}
        if not options.json:
            between = "\n" if len(report) > 1 else ""
            remote = is_url(options.reranker)
            print(f"{between}{weight}\n{_outcome(path, Path(options.directory), options.write, remote=remote)}")
    if options.json:
        print(json_text(report, indent=2))
    return 0


def _fusion(
    options: argparse.Namespace, queries: Mapping[str, str], qrels: Mapping[str, Mapping[str, int]], depths: list[int]
) -> "tuple[TuningReport, Choice, Path | None]":
    """Tune the fusion; return the report, the fusion of future searches, and the file if one was written."""
    from pipelines.tuning.fusion import read_choice, run_legs, search_space, tune, write_choice
    from retrieve.hybrid import DEPTH

    untuned = read_choice(options.directory)
    runs = run_legs(
        options.directory,
        queries,
        qrels=qrels,
        depth=max(*depths, untuned.depth if untuned else DEPTH),
        dense=options.dense,
        sparse=options.sparse,
        show_progress=not (options.quiet or options.json),
    )
    report = tune(
        runs,
        qrels,
        untuned=untuned,
        choices=search_space(runs.names, depths),
        measure=options.measure,
        folds=options.folds,
        seed=options.seed,
        show_progress=not (options.quiet or options.json),
    )
    write = options.write == "always" or (options.write == "gain" and report.is_gain)
    path = write_choice(options.directory, report.chosen) if write else None
    return report, report.chosen if write else report.untuned, path


def _weight(
    options: argparse.Namespace,
    queries: Mapping[str, str],
    qrels: Mapping[str, Mapping[str, int]],
    first_stage: "Choice | None",
) -> "tuple[WeightReport, Path | None]":
    """Tune the reranker's weight on that first stage; return the report, and the file if one was written."""
    from pipelines.tuning.reranker_weight import tune_weight, write_weight

    report = tune_weight(
        options.directory,
        queries,
        qrels,
        options.reranker,
        candidates=options.candidates,
        first_stage=first_stage,
        measure=options.measure,
        folds=options.folds,
        seed=options.seed,
        dense=options.dense,
        sparse=options.sparse,
        show_progress=not (options.quiet or options.json),
    )
    write = options.write == "always" or (options.write == "gain" and report.is_gain)
    return report, write_weight(options.directory, report) if write else None


def _outcome(path: Path | None, directory: Path, write: str, *, remote: bool = False) -> str:
    command = f"retrieve search {shlex.quote(str(directory))}"
    if path is not None and remote:
        return f"Written to {path}: `{command} --config {shlex.quote(str(path))}` calls that server from now on."
    if path is not None:
        return f"Written to {path}: `{command}` uses it from now on."
    if write == "never":
        return "Nothing was written (--write never)."
    return "Nothing was written; --write always would write the choice anyway."


def _depth(text: str) -> int:
    if not text.strip().isdecimal() or not int(text):
        raise InputError(f"--depths takes whole numbers of 1 or more separated by commas, as in 50,100, not {text!r}")
    return int(text)
