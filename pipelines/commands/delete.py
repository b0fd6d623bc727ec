"""``retrieve delete``: documents out of a collection."""

import argparse
import sys
from typing import Any

from indexing.errors import InputError
from pipelines.commands.command import command, json_filter


def add_parser(commands: Any) -> None:
    """Describe the command line."""
    parser = command(
        commands,
        "delete",
        run,
        "Delete documents from a collection, from all its legs at once. `retrieve compact` gives their room back.",
        "retrieve delete my-collection --ids doc-17 doc-18\nretrieve delete my-collection --ids - < ids.txt\n"
        """retrieve delete my-collection --where '{"year": {"lt": 2000}}'""",
    )
    parser.add_argument("directory", metavar="DIR", help="what `retrieve index` built")
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--ids", nargs="+", metavar="ID", help="their ids; - reads one from each line of standard input")
    which.add_argument(
        "--where",
        "--filter",
        metavar="FILTER",
        help="all that this filter keeps, a JSON object over declared fields",
    )


def run(options: argparse.Namespace) -> int:
    """Run it."""
    from indexing.collection.reader import Collection

    which = {"ids": _ids(options.ids)} if options.ids else {"filter": _filter(options.where)}
    with Collection.open(options.directory, read_only=False) as collection:
        gone = collection.delete(**which)
        if gone:
            collection.commit(corpus={**collection.manifest.corpus, "fingerprint": None})
        left = len(collection)
    lacking = len(which.get("ids", ())) - gone
    print(
        f"{options.directory}: {gone:,} documents deleted, {left:,} left"
        + (f"; {lacking:,} of the ids were not there" if lacking > 0 else "")
    )
    return 0


def _ids(given: list[str]) -> list[str]:
    ids = [line.rstrip("\n") for line in sys.stdin] if given == ["-"] else given
    ids = list(dict.fromkeys(doc_id for doc_id in ids if doc_id))
    if not ids:
        raise InputError("no ids were given")
    return ids


def _filter(text: str) -> dict[str, Any]:
    written = json_filter(text, "--where")
    if not written:
        raise InputError('--where takes a filter that is not empty, as in {"year": 2020}: {} would delete everything')
    return written
