"""The command ``retrieve``: each subcommand is a thin door to a job of this package."""

import argparse
import logging
import re
import sys
import textwrap
from collections.abc import Sequence
from functools import partial

from indexing.errors import RetrieveError
from pipelines.commands import GROUPS

INTERRUPTED = 130
"""The exit status of a program that Ctrl-C ended, as shells count it."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one subcommand and give its exit status: 0, 1 for an error that was explained, 130 for Ctrl-C."""
    options = _parser().parse_args(arguments)
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s")
    return run_safely(partial(options.run, options))


def run_safely(job: partial[int]) -> int:
    """Run a job; turn explained errors and Ctrl-C into a plain line and an exit status."""
    try:
        return job()
    except RetrieveError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except BrokenPipeError:
        # The reader (head, less) has gone; say nothing more, not even at the flush on exit.
        sys.stdout = None
        return 0
    except OSError as error:
        print(f"error: {error.filename or 'input or output'}: {error.strerror or error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nstopped", file=sys.stderr)
        return INTERRUPTED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="retrieve",
        usage="retrieve COMMAND …",
        description="Index a corpus, search it with several legs fused and reranked, measure it, train its models.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    # Listed by us, in groups, which argparse has not.
    commands = parser.add_subparsers(prog="retrieve", metavar="COMMAND", required=True, help=argparse.SUPPRESS)
    lines = []
    for purpose, members in GROUPS.items():
        before = list(commands.choices)
        for command in members:
            command.add_parser(commands)
        lines += ["", f"{purpose}:"]
        lines += [_line(name, added) for name, added in commands.choices.items() if name not in before]
    parser.epilog = "\n".join([*lines[1:], "", "`retrieve COMMAND --help` explains a command, with examples."])
    return parser


def _line(name: str, command: argparse.ArgumentParser) -> str:
    """Give a command's line in the list: the beginning of what it says of itself."""
    first = re.split(r"[.:;] ", " ".join((command.description or "").split()))[0].rstrip(".")
    return textwrap.fill(first, 98, initial_indent=f"  {name:<10}", subsequent_indent=" " * 12)


if __name__ == "__main__":
    sys.exit(main())
