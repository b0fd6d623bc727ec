"""``retrieve verify``: check a collection for damage, and repair it."""

import argparse
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines.commands.command import add_json_option, command, json_text

if TYPE_CHECKING:
    from indexing.collection.verify import Problem

DAMAGED = 1


def add_parser(commands: Any) -> None:
    """Add the subcommand and its options."""
    parser = command(
        commands,
        "verify",
        run,
        "Read a whole collection, compare counts and checksums, and list each problem with its remedy. "
        "The exit status is 0 if there is no damage.",
        "retrieve verify my-collection\nretrieve verify my-collection --repair",
    )
    parser.add_argument("directory", metavar="DIR", help="a collection built by `retrieve index`")
    parser.add_argument(
        "--repair",
        action="store_true",
        help="encode damaged documents again, rebuild damaged indexes, remove leftovers of killed jobs",
    )
    parser.add_argument("--dense", metavar="MODEL", help="the dense encoder, if it has moved since the build")
    parser.add_argument("--sparse", metavar="MODEL", help="the sparse encoder, if it has moved since the build")
    add_json_option(parser)


def run(options: argparse.Namespace) -> int:
    """Run the subcommand and return its exit status."""
    from indexing.collection.verify import repair, verify
    from pipelines.models import collection_encoders

    path = Path(options.directory)
    problems = verify(path)
    repaired = bool(options.repair and problems)
    if not options.json:
        _show(path, problems)
    if repaired:
        needed = any(problem.what == "piece" for problem in problems)
        encoders = collection_encoders(path, dense=options.dense, sparse=options.sparse) if needed else {}
        if not options.json:
            print("repairing …", flush=True)
        found, problems = problems, repair(path, encoders)
        if not options.json:
            _show(path, problems)
    damaged = any(not problem.harmless for problem in problems)
    if options.json:
        report = {"path": str(path), "damaged": damaged, "problems": _listed(problems)}
        print(json_text(report | ({"repaired": _listed(found)} if repaired else {})))
    return DAMAGED if damaged else 0


def _listed(problems: "list[Problem]") -> list[dict[str, Any]]:
    return [{**asdict(problem), "harmless": problem.harmless} for problem in problems]


def _show(path: Path, problems: "list[Problem]") -> None:
    for problem in problems:
        print(f"{'note' if problem.harmless else 'DAMAGE'}: {problem.message}")
    if all(problem.harmless for problem in problems):
        print(f"{path}: no damage" + (" beyond what the next writer repairs by itself" if problems else ""))
