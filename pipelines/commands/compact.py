"""``retrieve compact``: reclaim the space of replaced and deleted documents."""

import argparse
from typing import Any

from pipelines.commands.command import command


def add_parser(commands: Any) -> None:
    """Add the subcommand and its options."""
    parser = command(
        commands,
        "compact",
        run,
        "Reclaim the space of replaced and deleted documents, in the texts, the encoded documents and the indexes. "
        "Loads no model; other processes can keep searching meanwhile.",
        "retrieve compact my-collection",
    )
    parser.add_argument("directory", metavar="DIR", help="a collection built by `retrieve index`")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")


def run(options: argparse.Namespace) -> int:
    """Run the subcommand and return its exit status."""
    from indexing.collection.writer import CollectionWriter

    with CollectionWriter.open(options.directory) as collection:
        dead = collection.stats().dead
        collection.compact(show_progress=not options.quiet)
        documents = len(collection)
    print(f"{options.directory}: {documents:,} documents; {dead:,} replaced or deleted ones removed")
    return 0
