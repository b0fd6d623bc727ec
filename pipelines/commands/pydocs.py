"""``retrieve pydocs``: a test collection with no download."""

import argparse
from typing import Any

from pipelines.commands.command import command


def add_parser(commands: Any) -> None:
    """Describe the command line."""
    parser = command(
        commands,
        "pydocs",
        run,
        "Make a test collection with no download: the docstrings of the installed Python packages, in BEIR layout. "
        "A query is a summary sentence, its document the rest of the docstring.",
        "retrieve pydocs results/pydocs",
    )
    parser.add_argument("folder", metavar="FOLDER", help="where to write corpus.jsonl, queries.jsonl and qrels/")


def run(options: argparse.Namespace) -> int:
    """Run it."""
    from pipelines.evaluation.pydocs import build_pydocs

    build_pydocs(options.folder)
    print(f"{options.folder}: next: retrieve index {options.folder} --to my-collection")
    return 0
