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
    from pipelines.search import SearchPipeline, SearchResult


def add_parser(commands: Any) -> None:
    """Describe the command line."""
    parser = command(
        commands,
        "search",
        run,
        "Search a collection: all its legs at once, fused, and reranked if you say so.",
        'retrieve search my-collection "how do vaccines work"\n'
        'retrieve search my-collection "how do vaccines work" --reranker cross-encoder/ms-marco-MiniLM-L6-v2 --json',
    )
    parser.add_argument("directory", metavar="DIR", help="what `retrieve index` built")
    parser.add_argument("query", metavar="QUERY", help="the question; - reads one from each line of standard input")
    parser.add_argument("-k", type=positive, default=10, help="how many documents (10)")
    parser.add_argument("--legs", metavar="NAMES", help="only these, as in bm25,dense (all the collection has)")
    parser.add_argument("--fusion", choices=["weighted-sum", "rrf"], default="weighted-sum", help="(weighted-sum)")
    parser.add_argument("--weights", metavar="W,W", help="a weight for each leg, in their order (equal)")
    parser.add_argument("--depth", type=positive, default=100, help="hits each leg gives to the fusion (100)")
    parser.add_argument(
        "--reranker", metavar="MODEL", help="a cross-encoder, or late-interaction: MaxSim with the dense leg's encoder"
    )
    parser.add_argument("--candidates", type=positive, default=50, help="hits the reranker reads (50)")
    parser.add_argument("--dense", metavar="MODEL", help="where the dense encoder is now, if it was moved")
    parser.add_argument("--sparse", metavar="MODEL", help="where the sparse encoder is now, if it was moved")
    parser.add_argument("--json", action="store_true", help="one JSON object a query, instead of the table")


def run(options: argparse.Namespace) -> int:
    """Run it."""
    from pipelines.search import SearchPipeline
    from retrieve.fusion import FUSIONS

    if not options.query.strip():
        raise InputError("the query is empty: say what to look for, or - to read queries from standard input")
    weights = [_weight(text) for text in options.weights.split(",")] if options.weights else None
    with SearchPipeline.open(
        options.directory,
        legs=options.legs.split(",") if options.legs else None,
        fusion=partial(FUSIONS[options.fusion], weights=weights),
        depth=options.depth,
        dense=options.dense,
        sparse=options.sparse,
        reranker=options.reranker,
        candidates=options.candidates,
    ) as pipeline:
        queries = (line.strip() for line in sys.stdin) if options.query == "-" else iter([options.query])
        for query in queries:
            if query:
                _show(pipeline, query, options.k, as_json=options.json)
    return 0


def _show(pipeline: "SearchPipeline", query: str, k: int, *, as_json: bool) -> None:
    results = pipeline.search(query, k)
    if as_json:
        print(json.dumps({"query": query, "hits": [result.as_dict() for result in results]}, ensure_ascii=False))
        return
    print(f"{query}\n{_table(results)}", flush=True)


def _table(results: "Sequence[SearchResult]") -> str:
    """Lay out results for a person: rank, score, id, where each came from, and the beginning of the text."""
    if not results:
        return "  nothing found"
    width = shutil.get_terminal_size((110, 20)).columns
    lines = []
    for result in results:
        legs = "  ".join(f"{name} #{leg.rank} ({leg.score:.3f})" for name, leg in result.legs.items())
        text = " ".join(f"{result.title} {result.text}".split())
        lines.append(f"{result.rank:>3}. {result.doc_id}  {result.score:.4f}   [{legs}]")
        lines.append(textwrap.shorten(text, max(width - 5, 40), placeholder=" …"))
        lines[-1] = f"     {lines[-1]}"
    return "\n".join(lines)


def _weight(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise InputError(f"--weights takes numbers with commas between, as in 0.4,0.6, not {text!r}") from None
