"""``retrieve mine``: find hard negatives for queries with relevant documents."""

import argparse
import shlex
from dataclasses import asdict
from pathlib import Path
from typing import Any, get_args

from indexing.errors import InputError
from pipelines.commands.command import add_json_option, command, json_text, positive


def add_parser(commands: Any) -> None:
    """Add the subcommand and its options."""
    parser = command(
        commands,
        "mine",
        run,
        "Find hard negatives in a collection: documents that its legs find for a query and that are not relevant. "
        "Writes Parquet files that training reads; a stopped run resumes.",
        "retrieve mine my-collection --pairs pairs.jsonl --output negatives\n"
        "retrieve mine my-collection --queries queries.jsonl --qrels qrels/train.tsv --sources bm25=2,dense=2 \\\n"
        "    --scorer cross-encoder/ms-marco-MiniLM-L6-v2 --method topk-percpos=0.95 --output negatives",
        keeps_in="output",
    )
    parser.add_argument("directory", metavar="DIR", help="a collection built by `retrieve index`")
    parser.add_argument("--pairs", metavar="FILE", help='records with a "query" and its relevant text, "positive"')
    parser.add_argument("--queries", metavar="FILE", help="queries in BEIR layout; with --qrels")
    parser.add_argument("--qrels", metavar="FILE", help="judgements: the relevant documents of the collection")
    parser.add_argument("--output", metavar="FOLDER", required=True, help="folder for the rows")
    parser.add_argument(
        "--sources", metavar="LEG=N,…", help="number of negatives from each leg (two of each leg of the collection)"
    )
    parser.add_argument("--depth", type=positive, default=100, help="number of hits to consider from each leg (100)")
    parser.add_argument("--range-min", type=int, default=0, metavar="N", help="skip the N best hits of each leg (0)")
    parser.add_argument(
        "--scorer",
        metavar="MODEL",
        help="a cross-encoder, a reranker's URL, or late-interaction: scores candidates and positives",
    )
    parser.add_argument(
        "--score-cache", metavar="FILE", help="file of scores that several runs share (scores.sqlite in the output)"
    )
    parser.add_argument(
        "--absolute-margin",
        type=float,
        metavar="M",
        help="keep candidates that score at most the positive's score minus M",
    )
    parser.add_argument(
        "--relative-margin",
        type=float,
        metavar="M",
        help="keep candidates that score at most (1 - M) times the positive's score",
    )
    parser.add_argument("--max-score", type=float, metavar="S", help="keep candidates that score at most S")
    parser.add_argument("--min-score", type=float, metavar="S", help="keep candidates that score at least S")
    parser.add_argument(
        "--method",
        metavar="NAME=VALUE",
        help="a limit by its name in NV-Retriever: topk-marginpos=0.05, topk-percpos=0.95, topk-abs=0.7",
    )
    parser.add_argument(
        "--sampling",
        choices=["top", "random"],
        default="top",
        help="the best candidates of each leg, or random ones (top)",
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of random sampling (0)")
    parser.add_argument(
        "--format",
        choices=["triplet", "n-tuple", "labeled-pair", "labeled-list"],
        default="n-tuple",
        help="format of the rows (n-tuple: query, positive, negative_1, …)",
    )
    parser.add_argument("--scores", action="store_true", help="add scores to the texts")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")
    add_json_option(parser)


def run(options: argparse.Namespace) -> int:
    """Mine negatives and print a summary."""
    from indexing.collection.reader import Collection
    from pipelines.mining.filtering import Method, limits_of
    from pipelines.mining.folder import state_of
    from pipelines.mining.from_collection import MiningSettings, leg_quotas, mine
    from pipelines.models import Models
    from pipelines.search import SearchConfig
    from pipelines.search.opening import LegRetrievers

    limits = {name: getattr(options, name) for name in ("absolute_margin", "relative_margin", "max_score", "min_score")}
    if options.method:
        name, _, value = options.method.partition("=")
        if name not in get_args(Method) or not _is_number(value):
            raise InputError(f"--method takes {', '.join(get_args(Method))} and a number, as in topk-percpos=0.95")
        limits |= limits_of(name, float(value))
    with Collection.open(options.directory) as collection:
        asked = quotas_of(options.sources) if options.sources else None
        quotas = leg_quotas(options.directory, list(collection.manifest.legs), asked)
        models = Models()
        legs = LegRetrievers(collection, SearchConfig.of_collection(options.directory).legs, models=models)
        queries, positives = _positives(options, collection.documents, legs[next(iter(quotas))])
        scorer, scorer_name = _scorer(options.scorer, models, legs, collection)
        summary = mine(
            queries,
            positives,
            collection.documents,
            {name: legs[name] for name in quotas},
            MiningSettings(
                quotas,
                depth=options.depth,
                range_min=options.range_min,
                sampling=options.sampling,
                seed=options.seed,
                output_format=options.format,
                output_scores=options.scores,
                **limits,
            ),
            options.output,
            scorer=scorer,
            scorer_name=scorer_name,
            score_cache=options.score_cache,
            collection=state_of(collection.manifest),
            show_progress=not (options.quiet or options.json),
        )
    print(json_text(asdict(summary)) if options.json else summary)
    if summary.rows and not options.json:
        print(f"  next: retrieve train reranker --data {shlex.quote(options.output)} --output my-reranker")
    return 0


def _scorer(name: str | None, models: Any, legs: Any, collection: Any) -> tuple[Any, str]:
    """Return a scorer of pairs and the name of its scores in a cache; (None, "") without one."""
    from pipelines.mining.rescoring import RerankerScorer
    from pipelines.models import LATE_INTERACTION
    from retrieve.remote.endpoint import is_url

    if name is None:
        return None, ""
    if is_url(name):
        remote = models.reranker(name, weight=0.0)
        return RerankerScorer(remote), f"{name} {remote.identity['fingerprint']}"
    if name != LATE_INTERACTION:
        scorer = models.cross_encoder(name)
        return scorer, str(scorer.identity["weights_sha256"])
    dense = collection.manifest.first_leg("vectors")
    encoder: Any = None if dense is None else legs[dense].encoder
    reranker = models.reranker(name, encoder, weight=0.0)
    return RerankerScorer(reranker), f"{name} {encoder.identity['weights_sha256']}"


def _positives(options: argparse.Namespace, documents: Any, leg: Any) -> tuple[dict[str, str], dict[str, Any]]:
    from pipelines.mining.chunk_positives import judged_positives
    from pipelines.mining.relevant_documents import positives_of_pairs

    if options.pairs and not (options.queries or options.qrels):
        return positives_of_pairs(read_pairs(options.pairs))
    if options.queries and options.qrels and not options.pairs:
        from indexing.corpora.queries import read_qrels, read_queries

        queries, qrels = read_queries(options.queries), read_qrels(options.qrels)
        return queries, judged_positives(queries, qrels, documents, leg, options.directory)
    raise InputError("the relevant documents are missing: give --pairs FILE, or --queries FILE and --qrels FILE")


def read_pairs(path: str | Path) -> list[tuple[str, str]]:
    """Read (query, relevant text) pairs: fields "query" (or "question", "anchor") and "positive" (or "answer", "text").

    Raises
    ------
    InputError
        For the first record that lacks one, naming file and line.
    """
    from indexing.corpora.sources import open_source
    from indexing.corpora.sources.records import error_at, take_text

    source = open_source(path, stem="pairs")
    pairs = []
    for record in source.records():
        try:
            if record.problem:
                raise InputError(record.problem)
            values = dict(record.values)
            query = take_text(values, ("query", "question", "anchor"))
            text = take_text(values, ("positive", "answer", "text", "document"))
            if not query.strip() or not text.strip():
                raise InputError("the query or its relevant text is empty")
        except InputError as problem:
            raise error_at(source, record, problem) from None
        pairs.append((query, text))
    if not pairs:
        raise InputError(f"{path} holds no pairs")
    return pairs


def quotas_of(text: str) -> dict[str, int]:
    """Read ``bm25=2,dense=2``."""
    quotas = {}
    for part in text.split(","):
        name, _, count = part.strip().partition("=")
        if not name or not count.isdecimal():
            raise InputError(f"--sources takes legs with numbers, as in bm25=2,dense=2, not {part!r}")
        quotas[name] = int(count)
    return quotas


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
