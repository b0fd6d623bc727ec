"""``retrieve compact``: reclaim the space of replaced and deleted documents."""

import argparse
from typing import Any

from indexing.plurals import counted
from pipelines.commands.command import add_json_option, command, json_text


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
    add_json_option(parser)


def run(options: argparse.Namespace) -> int:
    """Run the subcommand and return its exit status."""
    from indexing.collection.writer import CollectionWriter

    with CollectionWriter.open(options.directory) as collection:
        dead = collection.stats().dead
        collection.compact(show_progress=not (options.quiet or options.json))
        documents = len(collection)
    if options.json:
        print(json_text({"path": options.directory, "documents": documents, "removed": dead}))
        return 0
    print(f"{options.directory}: {counted(documents, 'document')}; {dead:,} replaced or deleted ones removed")
    return 0
