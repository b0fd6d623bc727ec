"""``retrieve search``: find the best documents for a query."""

import argparse
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from indexing.errors import InputError
from indexing.json_text import distinct_keys, parse_json
from indexing.plurals import counted
from indexing.query_syntax import QUERY_SYNTAXES
from pipelines.commands.command import InPlaceOf, command, json_filter, json_text, positive, standard_input_lines
from pipelines.commands.hit_listing import as_json, as_table, find

if TYPE_CHECKING:
    from pipelines.search import Facets, LegConfig, Refine, RerankerConfig, SearchConfig

READING = {
    "candidates": "candidates",
    "weight": "rerank_weight",
    "passages": "passages",
    "max_pairs": "max_pairs",
    "max_ms": "max_ms",
    "early_exit": "early_exit",
}
"""Settings of a reranker by the command-line options that set them."""


def add_parser(commands: Any) -> None:
    """Add the subcommand and its options."""
    parser = command(
        commands,
        "search",
        run,
        "Search a collection: all its legs at once, fused, and reranked with --reranker. "
        "Options override DIR/search.yaml, if that file exists.",
        'retrieve search my-collection "how do vaccines work"\n'
        'retrieve search my-collection "how do vaccines work" --explain --timings\n'
        'retrieve search my-collection "how do vaccines work" --where \'{"year": {"gte": 2020}}\' -k 5\n'
        'retrieve search my-collection "+vaccine -measles \\"herd immunity\\"~3" --query-syntax simple\n'
        'retrieve search my-collection "do they work?" --rewrite "do vaccines work against measles"\n'
        'retrieve search my-collection "how do vaccines work" --reranker late-interaction --max-ms 200\n'
        "retrieve search my-collection - --json < questions.txt > answers.jsonl\n"
        "retrieve search my-collection --queries queries.jsonl -k 1000 --run my-run.trec",
    )
    parser.add_argument(
        "directory",
        metavar="DIR",
        help="a collection built by `retrieve index`; or a deployed one, its folder or http://HOST:6333/NAME",
    )
    query = parser.add_argument(
        "query", metavar="QUERY", help="the query; - reads one from each line of standard input"
    )
    parser.add_argument(
        "--queries",
        action=InPlaceOf,
        positional=query,
        metavar="FILE",
        help="in place of QUERY: records with _id and text (.jsonl, .csv, .tsv, Parquet), lines of id, tab and text "
        "(.tsv), or a folder in BEIR layout",
    )
    parser.add_argument("--run", metavar="FILE", dest="run_file", help="with --queries: write the hits as a TREC run")
    parser.add_argument("-k", type=positive, default=10, help="number of documents (10)")
    parser.add_argument(
        "--offset",
        type=int,
        metavar="N",
        help="leave out the N best documents: the next page, which begins where the one before ended",
    )
    parser.add_argument(
        "--where",
        "--filter",
        dest="filter",
        metavar="FILTER",
        help="search only documents that match this JSON object over declared fields, as in '{\"year\": 2020}'",
    )
    parser.add_argument(
        "--tenant", metavar="NAME", help="search only this tenant's documents, by the field of tenants in search.yaml"
    )
    parser.add_argument(
        "--rewrite",
        action="append",
        default=[],
        metavar="TEXT",
        help="the query in other words: all variants are searched and fused (repeatable)",
    )
    parser.add_argument(
        "--query-syntax",
        choices=QUERY_SYNTAXES,
        help='plain words, or simple: +must -not "exact phrase" "near"~5 title:word word^2 prefi* fuzzy~ (a b c)~2 '
        "(plain)",
    )
    _add_first_stage(parser.add_argument_group("first stage"))
    _add_reranker(parser.add_argument_group("reranker"))
    _add_refinement(parser.add_argument_group("which of the best documents are shown"))
    _add_counts_and_boosts(parser.add_argument_group("boosts and counts"))
    _add_display(parser.add_argument_group("how they are shown"))


def _add_first_stage(first: Any) -> None:
    first.add_argument("--config", metavar="FILE", help="configuration file in place of DIR/search.yaml")
    first.add_argument("--legs", metavar="NAMES", help="search only these legs, as in bm25,dense (all)")
    first.add_argument(
        "--fusion",
        metavar="METHOD",
        help="rrf, weighted-sum, comb-mnz, … (spread-weighted); another tool's, such as qdrant; or with options, as "
        'JSON: \'{"method": "weighted-sum", "normalizer": "z-score", "missing": "score"}\'',
    )
    first.add_argument("--weights", metavar="W,W", help="weight of each leg, in their order, for weighted-sum or rrf")
    first.add_argument(
        "--depth", metavar="N", help="hits that each leg gives to the fusion (100), or per leg: bm25=200,dense=50"
    )
    first.add_argument(
        "--feedback",
        action="append",
        default=[],
        metavar="LEG=METHOD",
        help="pseudo-relevance feedback: bm25=rm3, bm25=rocchio, dense=vector (repeatable; none)",
    )
    first.add_argument("--dense", metavar="MODEL", help="present path of the dense encoder, if it was moved")
    first.add_argument("--sparse", metavar="MODEL", help="present path of the sparse encoder, if it was moved")
    first.add_argument(
        "--on-leg-error", choices=["raise", "degrade"], help="stop at a leg's error, or answer without it (raise)"
    )


def _add_reranker(second: Any) -> None:
    second.add_argument(
        "--reranker",
        metavar="MODEL",
        help="a cross-encoder, or late-interaction (MaxSim with the dense leg's encoder), or none",
    )
    second.add_argument("--candidates", type=positive, metavar="N", help="hits the reranker may read (50)")
    second.add_argument(
        "--rerank-weight",
        type=float,
        metavar="W",
        help="the first stage's share of the final score, 0 to 1 (0.5 for late-interaction; for a cross-encoder what "
        "its training stored, or 0)",
    )
    second.add_argument(
        "--passages",
        choices=["first", "max", "mean"],
        help="score a long document by its first window, or by the best or mean score of all its windows (max for "
        "late-interaction, first for cross-encoders)",
    )
    second.add_argument("--max-pairs", type=positive, metavar="N", help="most pairs that it reads for a query")
    second.add_argument("--max-ms", type=float, metavar="MS", help="most time that it takes for a query")
    second.add_argument(
        "--early-exit",
        type=float,
        metavar="SD",
        help="stop when no remaining candidate is expected among the best, with a margin of SD standard deviations",
    )


def _add_refinement(refine: Any) -> None:
    refine.add_argument("--threshold", type=float, metavar="SCORE", help="only documents with at least this score")
    refine.add_argument(
        "--group-by", metavar="FIELD", help="only the best document for each value of this metadata field"
    )
    refine.add_argument(
        "--collapse",
        type=float,
        metavar="OVERLAP",
        help="remove near-duplicates of better documents, by Jaccard overlap of words, as in 0.9",
    )
    refine.add_argument(
        "--mmr",
        type=float,
        metavar="BALANCE",
        help="diversify (maximal marginal relevance): 1 is relevance alone, 0 is diversity alone",
    )


def _add_counts_and_boosts(parser: Any) -> None:
    parser.add_argument(
        "--boost",
        action="append",
        default=[],
        metavar="JSON",
        help='add a stated part to the score: \'{"field": "date", "half_life_days": 30, "weight": 0.2}\', or '
        '\'{"field": "kind", "values": ["guide"]}\' (repeatable)',
    )
    parser.add_argument(
        "--facet",
        action="append",
        default=[],
        metavar="FIELD",
        help="count the values of this declared field (repeatable)",
    )
    parser.add_argument(
        "--facets-over",
        choices=("hits", "match"),
        default="hits",
        help="count over the first 100 hits, or over all documents that match the filter and + and - (hits)",
    )


def _add_display(shown: Any) -> None:
    shown.add_argument("--json", action="store_true", help="print one JSON object per query instead of a table")
    shown.add_argument(
        "--explain", action="store_true", help="print each leg's share of the score, and the matched terms"
    )
    shown.add_argument("--timings", action="store_true", help="print the time of each stage")
    shown.add_argument(
        "--chunks",
        action="store_true",
        help="in a collection of chunks, show chunks instead of their documents",
    )


def run(options: argparse.Namespace) -> int:
    """Search and print the results of each query."""
    from pipelines.commands.search_run import write_run
    from pipelines.search import CONFIGURED, SearchPipeline
    from pipelines.search.opening import stated_config

    queries = _queries(options)
    filter, refine = json_filter(options.filter, "--where"), _refine(options)
    config = stated_config(options.directory, options.config)
    config = replace(config, reranker=_second_stage(options, config), legs=_legs(options, config))
    with SearchPipeline.open(
        options.directory,
        config=config,
        legs=options.legs.split(",") if options.legs else None,
        fusion=_fusion(options),
        depth=_depth(options.depth),
        dense=options.dense,
        sparse=options.sparse,
        reranker=CONFIGURED,
        on_leg_error=options.on_leg_error,
    ) as pipeline:
        request = {"k": options.k, "filter": filter, "explain": options.explain, "refine": refine}
        request |= {"query_syntax": options.query_syntax, "offset": options.offset, "tenant": options.tenant}
        request |= {"boosts": _boosts(options.boost), "facets": _facets(options)}
        if options.run_file:
            _print_run(options, write_run(pipeline, dict(queries), options.run_file, chunks=options.chunks, **request))
            return 0
        render = as_json if options.json else as_table
        for query_id, query in queries:
            found = find(pipeline, [query, *options.rewrite], query_id=query_id, chunks=options.chunks, **request)
            print(render(found, timings=options.timings), flush=True)
    return 0


def _queries(options: argparse.Namespace) -> Iterable[tuple[str, str]]:
    """Return the queries with their ids, empty where they are not from a file."""
    from indexing.corpora.queries import read_queries

    if options.queries is not None and options.query is not None:
        raise InputError("--queries stands in place of QUERY: leave one of them out")
    for text in (options.query or "", *options.rewrite):
        if any("\ud800" <= character <= "\udfff" for character in text):
            raise InputError(f"the query {text!a} is not UTF-8: write it in UTF-8, as the terminal does")
    if options.rewrite and options.query in (None, "-"):
        raise InputError("--rewrite is for a single query: write it as QUERY")
    if options.run_file:
        _check_run_options(options)
    if options.queries is not None:
        queries = read_queries(options.queries)
        if not queries:
            raise InputError(f"{options.queries} has no queries")
        return queries.items()
    if not options.query.strip():
        raise InputError("the query is empty: write a query, or - to read queries from standard input")
    if options.query != "-":
        return [("", options.query)]
    return (("", query) for line in standard_input_lines() if (query := line.strip()))


def _check_run_options(options: argparse.Namespace) -> None:
    from indexing.permissions import check_output

    check_output(options.run_file)
    if options.queries is None:
        raise InputError("--run requires --queries FILE, because a run names queries by their ids")
    given = next((name for name in ("explain", "timings", "facet") if getattr(options, name)), None)
    if given is not None:
        raise InputError(f"--{given} does not go with --run: a run has ids and scores only")


def _print_run(options: argparse.Namespace, summary: Mapping[str, Any]) -> None:
    if options.json:
        print(json_text(summary))
        return
    lacking = f", {summary['without_hits']:,} without hits" if summary["without_hits"] else ""
    print(
        f"{summary['run']}: {counted(summary['hits'], 'hit')} for {counted(summary['queries'], 'query')}{lacking}, "
        f"{summary['seconds']:.1f} s"
    )


def _second_stage(options: argparse.Namespace, config: "SearchConfig") -> "RerankerConfig | None":
    """Return the configured reranker with the command line's options in place of the configured ones."""
    from pipelines.search import RerankerConfig

    second, model = config.reranker, options.reranker
    if model is not None and (second is None or second.model != model):
        second = None if model == "none" else RerankerConfig(model)
    given = {name: value for name, option in READING.items() if (value := getattr(options, option)) is not None}
    if second is not None:
        return replace(second, **given)
    if given:
        flag = f"--{READING[next(iter(given))].replace('_', '-')}"
        raise InputError(
            f"{flag} is for a reranker, and this search has none: name one with --reranker, as in "
            "--reranker late-interaction"
        )
    return None


def _legs(options: argparse.Namespace, config: "SearchConfig") -> "Mapping[str, LegConfig] | None":
    """Return the configured legs with the command line's feedback."""
    from indexing.collection.manifest import read_manifest
    from pipelines.search import LegConfig
    from pipelines.search.opening import searched_legs

    if not options.feedback:
        return config.legs
    manifest = read_manifest(Path(options.directory))
    legs = dict(config.legs or {name: LegConfig() for name in searched_legs(manifest)})
    for written in options.feedback:
        name, _, method = written.partition("=")
        if name not in legs or not method:
            raise InputError(f"--feedback takes LEG=METHOD with a leg of {', '.join(legs)}, not {written!r}")
        legs[name] = replace(legs[name], feedback=method)
    return legs


def _fusion(options: argparse.Namespace) -> dict[str, Any] | None:
    if not options.fusion and not options.weights:
        return None
    written = options.fusion or "weighted-sum"
    if written.lstrip().startswith("{"):
        try:
            fusion = parse_json(written, object_pairs_hook=distinct_keys)
        except ValueError as error:
            raise InputError(f"--fusion is not valid JSON: {written[:200]!r} ({error})") from None
    else:
        from retrieve.fusion.choice import fusion_config_of

        fusion = fusion_config_of(written)
    if options.weights:
        fusion["weights"] = [_weight(text) for text in options.weights.split(",")]
    return fusion


def _depth(text: str | None) -> int | dict[str, int] | None:
    if text is None:
        return None
    try:
        if "=" not in text:
            return positive(text)
        return {name.strip(): positive(number) for name, _, number in (part.partition("=") for part in text.split(","))}
    except argparse.ArgumentTypeError as error:
        raise InputError(f"--depth takes a number, or one per leg as in bm25=200,dense=50: {error}") from None


def _refine(options: argparse.Namespace) -> "Refine | None":
    from pipelines.search import Refine

    wanted = {name: getattr(options, name) for name in ("threshold", "group_by", "collapse", "mmr")}
    if all(value is None for value in wanted.values()):
        return None
    # Diversity orders one pool for all pages; the other steps may look further.
    pool = options.k + (options.offset or 0) if options.mmr is None else options.k
    return Refine(**wanted, pool=max(50, pool))


def _boosts(written: Sequence[str]) -> list[Any] | None:
    try:
        return [parse_json(text, object_pairs_hook=distinct_keys) for text in written] or None
    except ValueError as error:
        raise InputError(f"--boost is not valid JSON: {error}") from None


def _facets(options: argparse.Namespace) -> "Facets | None":
    from pipelines.search import Facets

    return Facets(tuple(options.facet), over=options.facets_over) if options.facet else None


def _weight(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise InputError(f"--weights takes numbers separated by commas, as in 0.4,0.6, not {text!r}") from None
