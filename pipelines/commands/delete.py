"""``retrieve delete``: documents out of a collection."""

import argparse
import sys
from typing import Any

from indexing.errors import InputError
from pipelines.commands.command import command


def add_parser(commands: Any) -> None:
    """Describe the command line."""
    parser = command(
        commands,
        "delete",
        run,
        "Delete documents from a collection, from all its legs at once. `retrieve compact` gives their room back.",
        "retrieve delete my-collection --ids doc-17 doc-18\nretrieve delete my-collection --ids - < ids.txt",
    )
    parser.add_argument("directory", metavar="DIR", help="what `retrieve index` built")
    parser.add_argument(
        "--ids", nargs="+", required=True, metavar="ID", help="their ids; - reads one from each line of standard input"
    )


def run(options: argparse.Namespace) -> int:
    """Run it."""
    from indexing.collection import Collection

    ids = [line.rstrip("\n") for line in sys.stdin] if options.ids == ["-"] else options.ids
    ids = list(dict.fromkeys(doc_id for doc_id in ids if doc_id))
    if not ids:
        raise InputError("no ids were given")
    with Collection.open(options.directory, read_only=False) as collection:
        gone = collection.delete(ids)
        if gone:
            collection.commit(corpus={**collection.manifest.corpus, "fingerprint": None})
        left = len(collection)
    lacking = f"; {len(ids) - gone:,} of the ids were not there" if gone < len(ids) else ""
    print(f"{options.directory}: {gone:,} documents deleted, {left:,} left{lacking}")
    return 0
