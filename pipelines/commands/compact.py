"""``retrieve compact``: the room of replaced and deleted documents back."""

import argparse
from typing import Any

from pipelines.commands.command import command


def add_parser(commands: Any) -> None:
    """Describe the command line."""
    parser = command(
        commands,
        "compact",
        run,
        "Remove what updates and deletes left, from the texts, the encoded documents and the indexes: afterwards the "
        "collection is as if it had been built of its present documents. No model is needed; readers go on meanwhile.",
        "retrieve compact my-collection",
    )
    parser.add_argument("directory", metavar="DIR", help="what `retrieve index` built")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")


def run(options: argparse.Namespace) -> int:
    """Run it."""
    from indexing.collection.reader import Collection

    with Collection.open(options.directory, read_only=False) as collection:
        dead = collection.stats().dead
        collection.compact(show_progress=not options.quiet)
        documents = len(collection)
    print(f"{options.directory}: {documents:,} documents; {dead:,} replaced or deleted ones removed")
    return 0
