"""``retrieve reindex``: rebuild the index of a leg without a model or the corpus."""

import argparse
from dataclasses import asdict
from pathlib import Path
from typing import Any

from indexing.errors import InputError
from indexing.indexes.registry import KINDS
from indexing.plurals import counted
from pipelines.commands.command import add_json_option, command, json_text, number_or_by_field
from pipelines.commands.index_options import (
    add_bm25_options,
    add_index_options,
    check_parameters,
    described,
    index_parameters,
)


def add_parser(commands: Any) -> None:
    """Add the subcommand and its options."""
    parser = command(
        commands,
        "reindex",
        run,
        "Rebuild the index of a leg, as another kind or with other parameters, from the encoded documents that the "
        "collection stores. Loads no model; other processes can keep searching the old index meanwhile.",
        "retrieve reindex my-collection --dense-index hnsw --hnsw-m 32\n"
        "retrieve reindex my-collection --dense-backend qdrant --hnsw-m 32\n"
        "retrieve reindex my-collection --leg bm25 --k1 1.2 --b 0.75\n"
        "retrieve reindex my-collection --leg bm25 --backend qdrant",
    )
    parser.add_argument("directory", metavar="DIR", help="a collection built by `retrieve index`")
    parser.add_argument("--leg", metavar="NAME", help="the leg (dense)")
    parser.add_argument(
        "--backend",
        "--dense-backend",
        choices=list(KINDS),
        help="another kind of index for the same encoded documents: faiss or qdrant for vectors, impact, "
        "postings or qdrant for term weights, tokens or qdrant for token vectors, bm25 or qdrant for words",
    )
    add_index_options(parser)
    parser.add_argument("--k1", type=number_or_by_field, metavar="N", help="BM25's k1; by field: title=0.6,text=0.9")
    parser.add_argument("--b", type=number_or_by_field, metavar="N", help="BM25's b, as --k1")
    parser.add_argument("--analyzer", metavar="NAME", help="another analyzer of a BM25 leg, as for retrieve index")
    add_bm25_options(parser)
    parser.add_argument("--scale", type=float, help="factor by which the weights of a sparse leg are multiplied")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")
    add_json_option(parser)


def run(options: argparse.Namespace) -> int:
    """Run the subcommand and return its exit status."""
    from indexing.collection.manifest import read_manifest
    from indexing.collection.writer import CollectionWriter

    name = options.leg or "dense"
    manifest = read_manifest(Path(options.directory))
    if name not in manifest.legs:
        raise InputError(f"{options.directory} has no leg {name!r}: --leg one of {', '.join(manifest.legs)}")
    leg = manifest.legs[name]
    backend = options.backend or leg.backend
    given = index_parameters(options)
    check_parameters(name, backend, leg.rows, {**leg.parameters, **given}, given)
    with CollectionWriter.open(options.directory, without=[name]) as collection:
        collection.reindex(name, backend=backend, show_progress=not (options.quiet or options.json), **given)
        leg = collection.leg(name)
    if options.json:
        print(json_text({"path": options.directory, "leg": name, **asdict(leg)}))
        return 0
    print(
        f"{options.directory}: {name} holds {counted(leg.count, 'document')} in {leg.backend}, "
        f"{leg.bytes / 1e6:.1f} MB ({described(leg.parameters)})"
    )
    return 0
