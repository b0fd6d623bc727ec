"""``retrieve evaluate``: score a collection on judged queries."""

import argparse
import sys
import tempfile
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from indexing.errors import InputError
from indexing.plurals import counted
from pipelines.commands.command import command, json_text, split_names
from pipelines.commands.system_options import (
    add_scoring_options,
    add_system_options,
    check_options,
    imported_runs,
    plan_of,
    settings_of,
)


def add_parser(commands: Any) -> None:
    """Add the subcommand and its options."""
    parser = command(
        commands,
        "evaluate",
        run,
        "Score a collection on judged queries: each leg alone, all fused, reranked, as its search.yaml says, or "
        "systems from files; quality, speed and size side by side.",
        "retrieve evaluate my-collection --queries queries.jsonl --qrels qrels.tsv\n"
        "retrieve evaluate my-collection --queries queries.jsonl --qrels qrels.tsv --reranker late-interaction "
        "--output scores",
        keeps_in="output",
    )
    parser.add_argument("directory", metavar="DIR", help="a collection built by `retrieve index`")
    parser.add_argument(
        "--queries", required=True, metavar="FILE", help="records with _id and text: .jsonl, .csv, .tsv, Parquet"
    )
    parser.add_argument(
        "--qrels",
        required=True,
        metavar="FILE",
        help="judgements: BEIR's three tab-separated columns (query, document, grade) or TREC's four",
    )
    parser.add_argument("--output", metavar="DIR", help="folder for results.json, report.html, runs and tables (none)")
    parser.add_argument(
        "--config",
        action="append",
        default=[],
        metavar="FILE",
        help="also score the system of a file like search.yaml, under the file's name; repeatable (search.yaml of the "
        "collection is scored as `configured`)",
    )
    parser.add_argument(
        "--tenant", metavar="NAME", help="search only this tenant's documents, by the field of tenants in search.yaml"
    )
    parser.add_argument("--name", metavar="NAME", help="name of the collection in the tables (its directory's name)")
    add_system_options(parser)
    add_scoring_options(parser)
    parser.add_argument("--json", action="store_true", help="print the content of results.json instead of the tables")


def run(options: argparse.Namespace) -> int:
    """Score the systems and print the tables."""
    from indexing.permissions import check_output
    from pipelines.evaluation.export import terminal_tables

    check_options(options)
    if options.output:
        check_output(options.output, folder=True)
    with tempfile.TemporaryDirectory(prefix="retrieve-evaluate-") as temporary:
        results = _evaluate(options, Path(options.output or temporary))
    print(json_text(results, indent=2) if options.json else terminal_tables(results))
    if options.output and not options.json:
        report = "" if options.no_report else f"{options.output}/report.html, "
        print(
            f"\n{report}{options.output}/results.json, .csv, .md; {options.output}/runs/, {options.output}/per_query/"
        )
    return 0


def _evaluate(options: argparse.Namespace, output: Path) -> dict[str, Any]:
    from indexing.collection.reader import Collection
    from indexing.corpora.queries import read_qrels, read_queries
    from indexing.runs import read_trec_run
    from pipelines.evaluation.closing_report import stored_contents
    from pipelines.evaluation.datasets import judged_queries, limit_queries
    from pipelines.evaluation.harness import check_plan, drops_self_hits, write_results
    from pipelines.evaluation.legs import CollectionLegs, reranker_identity, specs_of
    from pipelines.evaluation.report import GivenTexts
    from pipelines.evaluation.systems import CONFIGURED, check_name, configured_systems
    from pipelines.evaluation.task import Task, run_task
    from pipelines.models import Models
    from pipelines.search.config import SearchConfig
    from pipelines.search.judged_parents import judges_parents, known_parents
    from pipelines.search.tenants import with_tenant

    imported, settings = imported_runs(options), settings_of(options)
    if options.name is not None:
        check_name("collection", options.name)
    for path in imported.values():
        read_trec_run(path)
    every = read_qrels(options.qrels)
    queries, qrels = judged_queries(str(options.qrels), read_queries(options.queries), every)
    unknown = len(every) - len(queries)
    if options.limit_queries:
        queries, qrels = limit_queries(queries, qrels, options.limit_queries)
    models = Models()
    with Collection.open(options.directory) as collection:
        store, documents = collection.documents, len(collection)
        tenants = SearchConfig.of_collection(options.directory).tenants
        filter = with_tenant(None, options.tenant, tenants, collection.snapshot)
        specs = specs_of(
            collection,
            dense=options.dense,
            sparse=options.sparse,
            multi_vector=options.late_interaction,
            dtype=options.dtype,
        )
        parents = judges_parents(store, qrels, options.directory)
        judged = list({doc_id for grades in qrels.values() for doc_id in grades})
        known = set(known_parents(store, judged) if parents else store.alive(judged))
        if filter is not None:
            within = collection.matching(filter)
            documents = len(within)
            known &= set(store.parents(within).values() if parents else within)
        checks = {
            "missing_judged": len(judged) - len(known),
            "shared_ids": sum(query_id in store for query_id in queries),
            "unknown_queries": unknown,
        }
    if checks["missing_judged"]:
        where = "in the collection" if filter is None else f"of the tenant {options.tenant!r}"
        verb = "is" if checks["missing_judged"] == 1 else "are"
        print(f"{counted(checks['missing_judged'], 'judged document')} {verb} not {where}", file=sys.stderr)
    names = split_names(options.systems or "")
    with_own = CONFIGURED in names or (options.systems is None and not options.systems_file)
    configured = configured_systems(options.directory, options.config, list(specs), own=with_own)
    if CONFIGURED in names:
        if not any(system.name == CONFIGURED for system in configured):
            raise InputError(f"{options.directory} has no search.yaml, so there is no system {CONFIGURED!r}")
        options.systems = ",".join(name for name in names if name != CONFIGURED)
    if options.systems is None and not options.systems_file:
        options.systems = ",".join([*specs, *(["hybrid"] if len(specs) > 1 else [])])
        options.systems += ",hybrid+rerank" if options.reranker and len(specs) > 1 else ""
    plan = plan_of(options, models, specs)
    for system in configured:
        reranker_identity(system, models)
    plan = replace(plan, systems=(*plan.systems, *configured))
    check_plan(plan, imported, settings, options.baseline)
    name = options.name or Path(options.directory).resolve().name
    task = Task(
        name=name,
        split=Path(options.qrels).name.split(".")[0],
        queries=queries,
        qrels=qrels,
        documents=documents,
        legs=CollectionLegs(options.directory, models, filter),
        checks=checks,
        parents=parents,
        drop_self_hits=drops_self_hits(name, options.self_hits),
    )
    paths = {run: Path(path) for run, path in imported.items()}
    with task.legs:
        entry = run_task(task, plan, output, models, settings, imported=paths, say=partial(print, file=sys.stderr))
    kept = options.output and not options.no_report
    texts = {name: GivenTexts(queries, qrels, stored_contents(Path(options.directory)))} if kept else None
    return write_results(output, {name: entry}, settings, plan, baseline=options.baseline, texts=texts)
