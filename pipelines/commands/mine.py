"""``retrieve mine``: queries and right documents in, rows with hard negatives out."""

import argparse
from pathlib import Path
from typing import Any, get_args

from indexing.errors import InputError
from pipelines.commands.command import command, positive


def add_parser(commands: Any) -> None:
    """Describe the command line."""
    parser = command(
        commands,
        "mine",
        run,
        "Find hard negatives in a collection: documents that its legs find for a query and that are not among its "
        "right ones. Writes Parquet files that training reads; a stopped run goes on where it stopped.",
        "retrieve mine my-collection --pairs pairs.jsonl --output negatives\n"
        "retrieve mine my-collection --queries queries.jsonl --qrels qrels/train.tsv --sources bm25=2,dense=2 \\\n"
        "    --scorer cross-encoder/ms-marco-MiniLM-L6-v2 --method topk-percpos=0.95 --output negatives",
    )
    parser.add_argument("directory", metavar="DIR", help="what `retrieve index` built")
    parser.add_argument("--pairs", metavar="FILE", help='records with a "query" and its right text, "positive"')
    parser.add_argument("--queries", metavar="FILE", help="queries in BEIR layout; with --qrels")
    parser.add_argument("--qrels", metavar="FILE", help="which documents of the collection are right")
    parser.add_argument("--output", metavar="FOLDER", required=True, help="where the rows go")
    parser.add_argument(
        "--sources", metavar="LEG=N,…", help="how many negatives of each leg (two of each that the collection has)"
    )
    parser.add_argument("--depth", type=positive, default=100, help="documents of each leg that are looked at (100)")
    parser.add_argument("--range-min", type=int, default=0, metavar="N", help="pass over the N best of each leg (0)")
    parser.add_argument("--scorer", metavar="MODEL", help="a cross-encoder that scores candidates and right documents")
    parser.add_argument("--absolute-margin", type=float, metavar="M", help="keep scores up to the positive's less M")
    parser.add_argument(
        "--relative-margin", type=float, metavar="M", help="keep scores up to the positive's less M of it"
    )
    parser.add_argument("--max-score", type=float, metavar="S", help="keep scores up to S")
    parser.add_argument("--min-score", type=float, metavar="S", help="keep scores from S on")
    parser.add_argument(
        "--method",
        metavar="NAME=VALUE",
        help="by NV-Retriever's names: topk-marginpos=0.05, topk-percpos=0.95, topk-abs=0.7",
    )
    parser.add_argument(
        "--sampling", choices=["top", "random"], default="top", help="the best of each leg, or any (top)"
    )
    parser.add_argument("--seed", type=int, default=0, help="of random sampling (0)")
    parser.add_argument(
        "--format",
        choices=["triplet", "n-tuple", "labeled-pair", "labeled-list"],
        default="n-tuple",
        help="of the rows (n-tuple: query, positive, negative_1, …)",
    )
    parser.add_argument("--scores", action="store_true", help="put scores beside the texts")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")


def run(options: argparse.Namespace) -> int:
    """Run it."""
    from contextlib import ExitStack

    from pipelines.mining.filtering import Method, limits_of
    from pipelines.mining.from_collection import MiningSettings, mine
    from pipelines.search import SearchPipeline

    limits = {name: getattr(options, name) for name in ("absolute_margin", "relative_margin", "max_score", "min_score")}
    if options.method:
        name, _, value = options.method.partition("=")
        if name not in get_args(Method) or not _is_number(value):
            raise InputError(f"--method takes {', '.join(get_args(Method))} and a number, as in topk-percpos=0.95")
        limits |= limits_of(name, float(value))
    with ExitStack() as opened:
        whole = opened.enter_context(SearchPipeline.open(options.directory, reranker=None))
        legs = list(whole.collection.manifest.legs)
        quotas = quotas_of(options.sources) if options.sources else dict.fromkeys(legs, 2)
        unknown = [name for name in quotas if name not in legs]
        if unknown:
            raise InputError(f"{options.directory} has no leg {unknown[0]!r}: it has {', '.join(legs)}")
        documents = whole.collection.documents
        sources = {
            name: opened.enter_context(SearchPipeline.open(options.directory, legs=[name], reranker=None)).retriever
            for name in quotas
        }
        queries, positives = _positives(options, documents)
        scorer = None
        if options.scorer:
            from retrieve.encoders import CrossEncoder

            scorer = CrossEncoder(options.scorer)
        summary = mine(
            queries,
            positives,
            documents,
            sources,
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
            scorer_name=str(scorer.identity["weights_sha256"]) if scorer else "",
            show_progress=not options.quiet,
        )
    print(summary)
    print(f"  next: retrieve train reranker --data {options.output} --output my-reranker")
    return 0


def _positives(options: argparse.Namespace, documents: Any) -> tuple[dict[str, str], dict[str, Any]]:
    from pipelines.mining.from_collection import positives_of, positives_of_pairs

    if options.pairs and not (options.queries or options.qrels):
        return positives_of_pairs(read_pairs(options.pairs))
    if options.queries and options.qrels and not options.pairs:
        from indexing.corpora.queries import read_qrels, read_queries

        return read_queries(options.queries), positives_of(read_qrels(options.qrels), documents)
    raise InputError("say what is right: --pairs FILE, or --queries FILE and --qrels FILE")


def read_pairs(path: str | Path) -> list[tuple[str, str]]:
    """Read (query, right text) pairs: fields "query" (or "question", "anchor") and "positive" (or "answer", "text").

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
                raise InputError("the query or its right text is empty")
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
            raise InputError(f"--sources takes legs and numbers, as in bm25=2,dense=2, not {part!r}")
        quotas[name] = int(count)
    return quotas


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
