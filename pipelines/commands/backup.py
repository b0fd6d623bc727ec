"""``retrieve backup``: copy a collection while it is written."""

import argparse
from dataclasses import asdict
from typing import Any

from pipelines.commands.command import add_json_option, command, json_text


def add_parser(commands: Any) -> None:
    """Add the subcommand and its options."""
    parser = command(
        commands,
        "backup",
        run,
        "Copy a collection as of one write, while other processes go on writing to it. The copy is a collection of its "
        "own. Loads no model.",
        "retrieve backup my-collection --to backups/monday",
    )
    parser.add_argument("directory", metavar="DIR", help="a collection built by `retrieve index`")
    parser.add_argument("--to", required=True, metavar="COPY", help="the copy's directory")
    parser.add_argument("--overwrite", action="store_true", help="replace the collection that is there")
    add_json_option(parser)


def run(options: argparse.Namespace) -> int:
    """Run the subcommand and return its exit status."""
    from indexing.collection.backup import backup

    done = backup(options.directory, options.to, overwrite=options.overwrite)
    print(json_text(asdict(done)) if options.json else done)
    return 0
