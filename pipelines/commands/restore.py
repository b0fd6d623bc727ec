"""``retrieve restore``: check a backup, and copy it back."""

import argparse
from dataclasses import asdict
from typing import Any

from pipelines.commands.command import add_json_option, command, json_text


def add_parser(commands: Any) -> None:
    """Add the subcommand and its options."""
    parser = command(
        commands,
        "restore",
        run,
        "Check every byte of a backup, and copy it to a directory.",
        "retrieve restore backups/monday --to my-collection",
    )
    parser.add_argument("directory", metavar="COPY", help="a copy made by `retrieve backup`")
    parser.add_argument("--to", required=True, metavar="DIR", help="the collection's directory")
    parser.add_argument("--overwrite", action="store_true", help="replace the collection that is there")
    add_json_option(parser)


def run(options: argparse.Namespace) -> int:
    """Run the subcommand and return its exit status."""
    from indexing.collection.backup import restore

    done = restore(options.directory, options.to, overwrite=options.overwrite)
    print(json_text(asdict(done)) if options.json else done)
    return 0
