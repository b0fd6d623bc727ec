"""The command ``retrieve``: parses the command line and runs one subcommand of ``pipelines.commands``."""

import argparse
import logging
import re
import sys
import textwrap
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from indexing.errors import RetrieveError
from pipelines.commands import GROUPS

INTERRUPTED = 130
"""Exit status after Ctrl-C: 128 plus the number of SIGINT, as in shells."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one subcommand; return 0 on success, 1 after an explained error, 130 after Ctrl-C."""
    options = _parser().parse_args(arguments)
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s")
    return run_safely(partial(options.run, options))


def run_safely(job: partial[int]) -> int:
    """Run a job; print an explained error or Ctrl-C as one line and return the exit status."""
    try:
        return job()
    except RetrieveError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except BrokenPipeError:
        # The process that read our output (head, less) has ended; the flush at exit would fail again.
        sys.stdout = None
        return 0
    except OSError as error:
        print(f"error: {error.filename or 'input or output'}: {error.strerror or error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nstopped", file=sys.stderr)
        return INTERRUPTED


def script_parser(file: str, description: str | None) -> argparse.ArgumentParser:
    """Return the parser of a script, described by its docstring."""
    return argparse.ArgumentParser(
        prog=Path(file).name, description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )


def script_main(
    parser: Callable[[], argparse.ArgumentParser], run: Callable[[argparse.Namespace], int]
) -> Callable[..., int]:
    """Return the function that runs a script with command-line arguments and returns its exit status."""

    def main(arguments: Sequence[str] | None = None) -> int:
        return run_safely(partial(run, parser().parse_args(arguments)))

    return main


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="retrieve",
        usage="retrieve COMMAND …",
        description="Index a corpus, search it with several legs fused and reranked, measure it, train its models.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    # argparse cannot list subcommands in groups, so the epilog lists them.
    commands = parser.add_subparsers(prog="retrieve", metavar="COMMAND", required=True, help=argparse.SUPPRESS)
    lines = []
    for purpose, members in GROUPS.items():
        before = list(commands.choices)
        for command in members:
            command.add_parser(commands)
        lines += ["", f"{purpose}:"]
        lines += [_line(name, added) for name, added in commands.choices.items() if name not in before]
    parser.epilog = "\n".join(
        [*lines[1:], "", "`retrieve COMMAND --help` shows options, defaults (in parentheses) and examples."]
    )
    return parser


def _line(name: str, command: argparse.ArgumentParser) -> str:
    """Return the line of one command in the list: its name and the first sentence of its description."""
    first = re.split(r"[.:;] ", " ".join((command.description or "").split()))[0].rstrip(".")
    return textwrap.fill(first, 98, initial_indent=f"  {name:<10}", subsequent_indent=" " * 12)


if __name__ == "__main__":
    sys.exit(main())
