"""The command ``retrieve``: each subcommand is a thin door to a job of this package."""

import argparse
import logging
import sys
from collections.abc import Sequence
from functools import partial

from indexing.errors import RetrieveError
from pipelines.commands import COMMANDS

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
        description="Index a corpus, search it with several legs fused and reranked. "
        "`retrieve COMMAND --help` explains each command.",
    )
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for command in COMMANDS:
        command.add_parser(commands)
    return parser


if __name__ == "__main__":
    sys.exit(main())
