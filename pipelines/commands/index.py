"""``retrieve index``: a corpus in, a collection out."""

import argparse
from pathlib import Path
from typing import Any

from pipelines.commands.command import command, dense_encoder, sparse_encoder


def add_parser(commands: Any) -> None:
    """Describe the command line."""
    parser = command(
        commands,
        "index",
        run,
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


def run(options: argparse.Namespace) -> int:
    """Run it."""
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
    dense = None if options.no_dense else dense_encoder(options)
    sparse = sparse_encoder(options) if options.sparse else None
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
