"""``retrieve pydocs``: write a test collection without a download."""

import argparse
import shlex
from typing import Any

from pipelines.commands.command import command


def add_parser(commands: Any) -> None:
    """Add the subcommand and its options."""
    parser = command(
        commands,
        "pydocs",
        run,
        "Write a test collection without a download: the docstrings of the installed Python packages, in BEIR layout. "
        "A query is the summary sentence of a docstring, its relevant document the rest.",
        "retrieve pydocs results/pydocs",
    )
    parser.add_argument("folder", metavar="FOLDER", help="where to write corpus.jsonl, queries.jsonl and qrels/")


def run(options: argparse.Namespace) -> int:
    """Run the subcommand and return its exit status."""
    from pipelines.evaluation.pydocs import build_pydocs

    build_pydocs(options.folder)
    print(f"{options.folder}: next: retrieve index {shlex.quote(options.folder)} --to my-collection")
    return 0
