"""``retrieve key``: create an API key for ``retrieve serve``."""

import argparse
import sys
from typing import Any

from indexing.errors import SetupError
from pipelines.commands.command import command


def add_parser(commands: Any) -> None:
    """Add the subcommand and its options."""
    parser = command(
        commands,
        "key",
        run,
        "Create an API key for `retrieve serve --keys FILE`: print it once, and store only its digest in the file.",
        "retrieve key keys.yaml --note 'the web shop'\nretrieve key keys.yaml --scope write --expires 2027-12-31\n"
        "retrieve key keys.yaml --tenant blue --tenant red --note 'the team that serves blue and red'",
    )
    parser.add_argument("file", metavar="FILE", help="YAML file of keys, which is created if it is missing")
    parser.add_argument(
        "--tenant",
        metavar="NAME",
        action="append",
        help="bind the key to this tenant's documents: it reads and writes no others; repeat it for several (all)",
    )
    parser.add_argument("--scope", choices=["read", "write"], default="read", help="what the key permits (read)")
    parser.add_argument("--expires", metavar="DATE", help="last day on which the key is valid")
    parser.add_argument("--note", default="", help="who has the key")


def run(options: argparse.Namespace) -> int:
    """Create and print a key."""
    try:
        from pipelines.service.keys import add_key
    except ModuleNotFoundError as error:
        raise SetupError(
            f"the module {error.name!r} is not installed: `pip install 'retrieve-rerank[serve]'`"
        ) from None
    print(add_key(options.file, options.scope, note=options.note, expires=options.expires, tenants=options.tenant))
    print(f"stored its digest in {options.file}; the key itself is not stored", file=sys.stderr)
    return 0
