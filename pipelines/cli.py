"""The command ``retrieve``: each subcommand is a thin door to a job of this package."""

import argparse
import json
import logging
import shutil
import sys
import textwrap
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from indexing.errors import InputError, RetrieveError

if TYPE_CHECKING:
    from pipelines.search import SearchPipeline, SearchResult

INTERRUPTED = 130
"""The exit status of a program that Ctrl-C ended, as shells count it."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one subcommand and give its exit status: 0, 1 for an error that was explained, 130 for Ctrl-C."""
    options = _parser().parse_args(arguments)
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s")
    return run_safely(partial(options.run, options))


def run_safely(job: partial[int]) -> int:
    """Run a job; turn explained errors and Ctrl-C into a plain line and an exit status."""
    try:
        return job()
    except RetrieveError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except BrokenPipeError:
        # The reader (head, less) has gone; say nothing more, not even at the flush on exit.
        sys.stdout = None
        return 0
    except OSError as error:
        print(f"error: {error.filename or 'input or output'}: {error.strerror or error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nstopped", file=sys.stderr)
        return INTERRUPTED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="retrieve",
        description="Index a corpus, search it with several legs fused and reranked. "
        "`retrieve COMMAND --help` explains each command.",
    )
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    _add_index(commands)
    _add_search(commands)
    _add_info(commands)
    _add_pydocs(commands)
    return parser


def _command(commands: Any, name: str, run: Any, summary: str, example: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(
        name,
        help=summary,
        description=summary,
        epilog=f"example:\n{textwrap.indent(example, '  ')}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(run=run)
    return parser


def _add_index(commands: Any) -> None:
    parser = _command(
        commands,
        "index",
        _index,
        "Build a collection from a corpus: BM25 and dense legs by default, a sparse one if you name its model.",
        "retrieve index corpus.jsonl --to my-collection\n"
        "retrieve index scifact/ --to my-collection --dense BAAI/bge-base-en-v1.5 --dense-index hnsw",
    )
    parser.add_argument(
        "corpus",
        metavar="CORPUS",
        help="a BEIR folder, a .jsonl, .csv, .tsv or .parquet file, a folder of Parquet files, or a `datasets` name",
    )
    parser.add_argument("--to", metavar="DIR", required=True, help="the collection's directory")
    parser.add_argument("--dense", metavar="MODEL", help="the dense encoder, a path or Hub name (all-MiniLM-L6-v2)")
    parser.add_argument("--no-dense", action="store_true", help="build no dense leg")
    parser.add_argument("--dense-index", choices=["flat", "hnsw"], default="flat", help="exact, or a graph (flat)")
    parser.add_argument("--sparse", metavar="MODEL", help="a SPLADE encoder; adds a learned sparse leg")
    parser.add_argument("--no-bm25", action="store_true", help="build no BM25 leg")
    parser.add_argument(
        "--dtype", choices=["auto", "float32", "bfloat16"], default="auto", help="of the encoders (auto)"
    )
    parser.add_argument(
        "--on-error",
        choices=["raise", "skip"],
        default="raise",
        help="at a malformed line stop and say where (raise), or record it in DIR.skipped.jsonl and go on (skip)",
    )
    for role in ("id", "text", "title"):
        parser.add_argument(f"--{role}-field", metavar="NAME", help=f"the field that holds a document's {role}")
    parser.add_argument("--config", metavar="NAME", help="of a `datasets` set")
    parser.add_argument("--split", metavar="NAME", help="of a `datasets` set")
    parser.add_argument("--overwrite", action="store_true", help="build anew and replace the collection in DIR")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")


def _index(options: argparse.Namespace) -> int:
    from indexing.corpora import read_corpus
    from pipelines.build import build_collection, is_built

    skipped_to = Path(f"{options.to.rstrip('/')}.skipped.jsonl")
    corpus = read_corpus(
        options.corpus,
        on_error=options.on_error,
        skipped_to=skipped_to if options.on_error == "skip" else None,
        id_field=options.id_field,
        text_field=options.text_field,
        title_field=options.title_field,
        config=options.config,
        split=options.split,
    )
    dense = None if options.no_dense else _dense_encoder(options)
    sparse = _sparse_encoder(options) if options.sparse else None
    wanted = {"bm25": not options.no_bm25, "dense": dense, "sparse": sparse, "dense_index": options.dense_index}
    if not options.overwrite and is_built(options.to, corpus, **wanted):
        print(f"{options.to} was built from this corpus with these models already: nothing to do")
        return 0
    report = build_collection(
        corpus,
        options.to,
        **wanted,
        overwrite=options.overwrite,
        show_progress=not options.quiet,
    )
    print(report)
    if report.skipped:
        print(f"  {report.skipped:,} malformed lines were left out; they are in {skipped_to}")
    print(f'  next: retrieve search {options.to} "your question"')
    return 0


def _dense_encoder(options: argparse.Namespace) -> Any:
    from retrieve.default_models import default_dense_model
    from retrieve.encoders import DenseEncoder

    return DenseEncoder(options.dense or default_dense_model(), dtype=options.dtype)


def _sparse_encoder(options: argparse.Namespace) -> Any:
    from retrieve.encoders import SparseEncoder

    return SparseEncoder(options.sparse, dtype=options.dtype)


def _add_search(commands: Any) -> None:
    parser = _command(
        commands,
        "search",
        _search,
        "Search a collection: all its legs at once, fused, and reranked if you say so.",
        'retrieve search my-collection "how do vaccines work"\n'
        'retrieve search my-collection "how do vaccines work" --reranker cross-encoder/ms-marco-MiniLM-L6-v2 --json',
    )
    parser.add_argument("directory", metavar="DIR", help="what `retrieve index` built")
    parser.add_argument("query", metavar="QUERY", help="the question; - reads one from each line of standard input")
    parser.add_argument("-k", type=_positive, default=10, help="how many documents (10)")
    parser.add_argument("--legs", metavar="NAMES", help="only these, as in bm25,dense (all the collection has)")
    parser.add_argument("--fusion", choices=["weighted-sum", "rrf"], default="weighted-sum", help="(weighted-sum)")
    parser.add_argument("--weights", metavar="W,W", help="a weight for each leg, in their order (equal)")
    parser.add_argument("--depth", type=_positive, default=100, help="hits each leg gives to the fusion (100)")
    parser.add_argument(
        "--reranker", metavar="MODEL", help="a cross-encoder, or late-interaction: MaxSim with the dense leg's encoder"
    )
    parser.add_argument("--candidates", type=_positive, default=50, help="hits the reranker reads (50)")
    parser.add_argument("--dense", metavar="MODEL", help="where the dense encoder is now, if it was moved")
    parser.add_argument("--sparse", metavar="MODEL", help="where the sparse encoder is now, if it was moved")
    parser.add_argument("--json", action="store_true", help="one JSON object a query, instead of the table")


def _search(options: argparse.Namespace) -> int:
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


def _add_info(commands: Any) -> None:
    parser = _command(commands, "info", _info, "Say what a collection holds.", "retrieve info my-collection")
    parser.add_argument("directory", metavar="DIR", help="what `retrieve index` built")
    parser.add_argument("--json", action="store_true", help="the manifest, as JSON")


def _info(options: argparse.Namespace) -> int:
    from dataclasses import asdict

    from indexing.collection import Collection

    with Collection.open(options.directory) as collection:
        manifest = collection.manifest
    if options.json:
        print(json.dumps(asdict(manifest), indent=2, ensure_ascii=False))
        return 0
    print(f"{options.directory}: {manifest.documents:,} documents from {manifest.corpus.get('description')}")
    for name, leg in manifest.legs.items():
        encoder = f", encoded with {leg.encoder.get('name')} ({leg.encoder.get('dtype')})" if leg.encoder else ""
        print(f"  {name}: {leg.backend}, {leg.count:,} documents, {leg.bytes / 1e6:.1f} MB{encoder}")
    return 0


def _add_pydocs(commands: Any) -> None:
    parser = _command(
        commands,
        "pydocs",
        _pydocs,
        "Make a test collection with no download: the docstrings of the installed Python packages, in BEIR layout. "
        "A query is a summary sentence, its document the rest of the docstring.",
        "retrieve pydocs results/pydocs",
    )
    parser.add_argument("folder", metavar="FOLDER", help="where to write corpus.jsonl, queries.jsonl and qrels/")


def _pydocs(options: argparse.Namespace) -> int:
    from pipelines.evaluation.pydocs import build_pydocs

    build_pydocs(options.folder)
    print(f"{options.folder}: next: retrieve index {options.folder} --to my-collection")
    return 0


def _positive(text: str) -> int:
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of 1 or more")
    return int(text)


def _weight(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise InputError(f"--weights takes numbers with commas between, as in 0.4,0.6, not {text!r}") from None


if __name__ == "__main__":
    sys.exit(main())
