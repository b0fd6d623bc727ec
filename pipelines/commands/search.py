"""``retrieve search``: a question in, ranked documents out."""

import argparse
import json
import shutil
import sys
import textwrap
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from indexing.errors import InputError
from pipelines.commands.command import command, positive

if TYPE_CHECKING:
    from pipelines.search import Refine, SearchPipeline, SearchResult, SearchResults
    from retrieve.budget import Budget

SHOWN_TERMS = 6
"""How many of a leg's matched terms the table has room for."""


def add_parser(commands: Any) -> None:
    """Describe the command line."""
    parser = command(
        commands,
        "search",
        run,
        "Search a collection: all its legs at once, fused, and reranked if you say so. "
        "What is not said here is as DIR/search.yaml has it, if that file is there.",
        'retrieve search my-collection "how do vaccines work"\n'
        'retrieve search my-collection "how do vaccines work" --explain --timings\n'
        'retrieve search my-collection "how do vaccines work" --reranker cross-encoder/ms-marco-MiniLM-L6-v2 --json',
    )
    parser.add_argument("directory", metavar="DIR", help="what `retrieve index` built")
    parser.add_argument("query", metavar="QUERY", help="the question; - reads one from each line of standard input")
    parser.add_argument("-k", type=positive, default=10, help="how many documents (10)")
    parser.add_argument("--filter", metavar="JSON", help="only documents that it lets through, as '{\"year\": 2020}'")
    parser.add_argument("--json", action="store_true", help="one JSON object a query, instead of the table")
    parser.add_argument(
        "--explain", action="store_true", help="for each hit its legs' shares of the score, and the matched terms"
    )
    parser.add_argument("--timings", action="store_true", help="what each stage took")

    first = parser.add_argument_group("first stage")
    first.add_argument("--config", metavar="FILE", help="a configuration instead of DIR/search.yaml")
    first.add_argument("--legs", metavar="NAMES", help="only these, as in bm25,dense (all the collection has)")
    first.add_argument("--fusion", metavar="METHOD", help="rrf, weighted-sum, comb-mnz, … (spread-weighted)")
    first.add_argument("--weights", metavar="W,W", help="a weight for each leg, in their order, of weighted-sum or rrf")
    first.add_argument("--depth", type=positive, help="hits each leg gives to the fusion (100)")
    first.add_argument("--dense", metavar="MODEL", help="where the dense encoder is now, if it was moved")
    first.add_argument("--sparse", metavar="MODEL", help="where the sparse encoder is now, if it was moved")
    first.add_argument(
        "--on-leg-error", choices=["raise", "degrade"], help="stop at a leg's error, or answer without it (raise)"
    )

    second = parser.add_argument_group("reranker")
    second.add_argument(
        "--reranker",
        metavar="MODEL",
        help="a cross-encoder, or late-interaction: MaxSim with the dense leg's encoder; none: whatever the file says",
    )
    second.add_argument("--candidates", type=positive, help="hits the reranker may read (50)")
    second.add_argument("--max-pairs", type=positive, metavar="N", help="the most that it reads for a query")
    second.add_argument("--max-ms", type=float, metavar="MS", help="the most time that it takes for a query")
    second.add_argument(
        "--early-exit",
        type=float,
        metavar="SD",
        help="stop when what is left is expected SD standard deviations below the best",
    )

    shown = parser.add_argument_group("what is shown")
    shown.add_argument("--threshold", type=float, metavar="SCORE", help="only hits of this score or more")
    shown.add_argument("--group-by", metavar="FIELD", help="only the best hit of each value of this metadata field")
    shown.add_argument(
        "--collapse", type=float, metavar="OVERLAP", help="leave out near-duplicates of better hits, as in 0.9"
    )
    shown.add_argument(
        "--mmr", type=float, metavar="BALANCE", help="vary the hits: 1 is relevance alone, 0 variety alone"
    )


def run(options: argparse.Namespace) -> int:
    """Run it."""
    from pipelines.search import CONFIGURED, SearchPipeline

    if not options.query.strip():
        raise InputError("the query is empty: say what to look for, or - to read queries from standard input")
    asked = partial(
        SearchPipeline.search,
        k=options.k,
        filter=_filter(options.filter),
        explain=options.explain,
        refine=_refine(options),
    )
    with SearchPipeline.open(
        options.directory,
        config=options.config,
        legs=options.legs.split(",") if options.legs else None,
        fusion=_fusion(options),
        depth=options.depth,
        dense=options.dense,
        sparse=options.sparse,
        reranker=None if options.reranker == "none" else options.reranker or CONFIGURED,
        candidates=options.candidates,
        budget=_budget(options),
        on_leg_error=options.on_leg_error,
    ) as pipeline:
        queries = (line.strip() for line in sys.stdin) if options.query == "-" else iter([options.query])
        for query in queries:
            if query:
                _show(asked, pipeline, query, options)
    return 0


def _show(asked: "partial[SearchResults]", pipeline: "SearchPipeline", query: str, options: argparse.Namespace) -> None:
    results = asked(pipeline, query)
    if options.json:
        answer = {"query": query, **results.as_dict()}
        if not options.timings:
            del answer["timings"]
        print(json.dumps(answer, ensure_ascii=False), flush=True)
        return
    print(f"{query}\n{_table(results)}", flush=True)
    for leg, reason in results.failures.items():
        print(f"  without {leg}: {reason}", flush=True)
    if options.timings:
        print("  " + "  ".join(f"{stage} {took:.1f} ms" for stage, took in results.timings.items()), flush=True)


def _table(results: "Sequence[SearchResult]") -> str:
    """Lay out results for a person: rank, score, id, where each came from, why, and the beginning of the text."""
    if not results:
        return "  nothing found"
    width = shutil.get_terminal_size((110, 20)).columns
    lines = []
    for result in results:
        legs = "  ".join(f"{name} #{leg.rank} ({leg.score:.3f})" for name, leg in result.legs.items())
        text = " ".join(f"{result.title} {result.text}".split())
        lines.append(f"{result.rank:>3}. {result.doc_id}  {result.score:.4f}   [{legs}]")
        lines += [f"     {line}" for line in _why(result)]
        lines.append("     " + textwrap.shorten(text, max(width - 5, 40), placeholder=" …"))
    return "\n".join(lines)


def _why(result: "SearchResult") -> list[str]:
    """Say what each leg brought, if that was asked for."""
    if result.explanation is None:
        return []
    lines = []
    for name, leg in result.explanation.legs.items():
        normalized = "" if leg.normalized is None else f", normalised {leg.normalized:.3f}"
        terms = "".join(f"  {term} {weight:.2f}" for term, weight in (leg.terms or ())[:SHOWN_TERMS])
        more = len(leg.terms or ()) - SHOWN_TERMS
        lines.append(
            f"{name}: {leg.share:.0%} of the fused score{normalized}{terms}{f'  and {more} more' if more > 0 else ''}"
        )
    return lines


def _fusion(options: argparse.Namespace) -> dict[str, Any] | None:
    if not options.fusion and not options.weights:
        return None
    fusion: dict[str, Any] = {"method": options.fusion or "weighted-sum"}
    if options.weights:
        fusion["weights"] = [_weight(text) for text in options.weights.split(",")]
    return fusion


def _budget(options: argparse.Namespace) -> "Budget | None":
    from retrieve.budget import Budget

    limits = {name: getattr(options, name) for name in ("max_pairs", "max_ms", "early_exit")}
    return Budget(**limits) if any(limit is not None for limit in limits.values()) else None


def _refine(options: argparse.Namespace) -> "Refine | None":
    from pipelines.search import Refine

    wanted = {name: getattr(options, name) for name in ("threshold", "group_by", "collapse", "mmr")}
    if all(value is None for value in wanted.values()):
        return None
    return Refine(**wanted, pool=max(50, options.k))


def _filter(text: str | None) -> Any:
    try:
        return None if text is None else json.loads(text)
    except ValueError as error:
        raise InputError(f"--filter takes JSON, as in '{{\"year\": 2020}}', not {text!r} ({error})") from None


def _weight(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise InputError(f"--weights takes numbers with commas between, as in 0.4,0.6, not {text!r}") from None
