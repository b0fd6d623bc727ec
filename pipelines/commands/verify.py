"""``retrieve verify``: whether a collection is what it says it is."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines.commands.command import command

if TYPE_CHECKING:
    from indexing.collection.verify import Problem

DAMAGED = 1


def add_parser(commands: Any) -> None:
    """Describe the command line."""
    parser = command(
        commands,
        "verify",
        run,
        "Read everything in a collection, compare counts and checksums, and say what is wrong and how to mend it. "
        "Ends with 0 when nothing is.",
        "retrieve verify my-collection\nretrieve verify my-collection --repair",
    )
    parser.add_argument("directory", metavar="DIR", help="what `retrieve index` built")
    parser.add_argument(
        "--repair",
        action="store_true",
        help="encode damaged documents again, make damaged indexes again, remove what killed jobs left",
    )
    parser.add_argument("--dense", metavar="MODEL", help="where the dense encoder is now, if it was moved")
    parser.add_argument("--sparse", metavar="MODEL", help="where the sparse encoder is now, if it was moved")


def run(options: argparse.Namespace) -> int:
    """Run it."""
    from indexing.collection.verify import repair, verify
    from pipelines.models import collection_encoders

    path = Path(options.directory)
    found = verify(path)
    _show(path, found)
    if options.repair and found:
        needed = any(problem.what == "piece" for problem in found)
        encoders = collection_encoders(path, dense=options.dense, sparse=options.sparse) if needed else {}
        print("mending …", flush=True)
        found = repair(path, encoders)
        _show(path, found)
    return DAMAGED if any(not problem.harmless for problem in found) else 0


def _show(path: Path, found: "list[Problem]") -> None:
    for problem in found:
        print(f"{'note' if problem.harmless else 'DAMAGE'}: {problem.message}")
    if not any(not problem.harmless for problem in found):
        print(f"{path}: nothing is wrong" + (" that the next writer would not mend" if found else ""))
