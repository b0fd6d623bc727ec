"""The command ``retrieve``: parses the command line and runs one subcommand of ``pipelines.commands``."""

import argparse
import difflib
import io
import logging
import re
import sys
import textwrap
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

from indexing.errors import RetrieveError
from pipelines.commands import GROUPS
from pipelines.commands.command import InPlaceOf

LONGEST_ERROR = 900
"""Characters of an error's line."""

_UNRECOGNIZED = "unrecognized arguments:"

INTERRUPTED = 130
"""Exit status after Ctrl-C: 128 plus the number of SIGINT, as in shells."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one subcommand; return 0 on success, 1 after an explained error, 130 after Ctrl-C."""
    _escape_what_stdout_cannot_encode()
    options = _parser().parse_args(arguments)
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s")
    keeps = bool(getattr(options, options.keeps_in, None)) if options.keeps_in else False
    return run_safely(partial(options.run, options), resumes=keeps)


def run_safely(job: partial[int], *, resumes: bool = False) -> int:
    """Run a job; print an explained error or Ctrl-C as one line and return the exit status.

    With `resumes` the line of Ctrl-C says how the job is resumed.
    """
    try:
        return job()
    except RetrieveError as error:
        print(f"error: {_line_of(str(error))}", file=sys.stderr)
        return 1
    except BrokenPipeError:
        # The process that read our output (head, less) has ended; the flush at exit would fail again.
        sys.stdout = None
        return 0
    except UnicodeEncodeError as error:
        given = error.object[error.start : error.end]
        if not all("\ud800" <= character <= "\udfff" for character in given):
            raise
        # SQLite, FAISS and Java take names in UTF-8 only.
        around = error.object[max(0, error.start - 200) : error.end + 100]
        line = f"{around!a} is not UTF-8: rename the file or folder, or run in a UTF-8 locale"
        print(f"error: {_line_of(line)}", file=sys.stderr)
        return 1
    except OSError as error:
        line = f"{error.filename or 'input or output'}: {error.strerror or error}"
        print(f"error: {_line_of(line)}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        hint = ": the work so far is kept; run the same command again to resume" if resumes else ""
        print(f"\nstopped{hint}", file=sys.stderr)
        return INTERRUPTED


def _line_of(message: str) -> str:
    """Return a message as one line, without the middle of what is too long to read."""
    line = " ".join(message.split("\n"))
    return line if len(line) <= LONGEST_ERROR else f"{line[: LONGEST_ERROR // 2]} … {line[-LONGEST_ERROR // 2 :]}"


def script_parser(file: str, description: str | None) -> argparse.ArgumentParser:
    """Return the parser of a script, described by its docstring."""
    return _Parser(prog=Path(file).name, description=description, formatter_class=argparse.RawDescriptionHelpFormatter)


def script_main(
    parser: Callable[[], argparse.ArgumentParser], run: Callable[[argparse.Namespace], int]
) -> Callable[..., int]:
    """Return the function that runs a script with command-line arguments and returns its exit status."""

    def main(arguments: Sequence[str] | None = None) -> int:
        _escape_what_stdout_cannot_encode()
        return run_safely(partial(run, parser().parse_args(arguments)))

    return main


def _escape_what_stdout_cannot_encode() -> None:
    """Print backslash escapes for characters that the encoding of standard output lacks, in place of an error."""
    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.errors == "strict":
        sys.stdout.reconfigure(errors="backslashreplace")


class _Parser(argparse.ArgumentParser):
    """Parser whose errors have one line of bounded length."""

    def error(self, message: str) -> NoReturn:
        """Print the error and exit with status 2."""
        super().error(_line_of(message))


class _CommandParser(_Parser):
    """Parser whose errors say how to pass a value that begins with a dash."""

    _given: Sequence[str] = ()

    def parse_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parse the arguments; the subcommand, which knows its options, reports those that it does not have."""
        parsed, left = self.parse_known_args(args, namespace)
        if left:
            self._chosen(self._given).error(f"{_UNRECOGNIZED} {' '.join(left)}")
        return parsed

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parse the arguments as argparse does."""
        self._given = list(sys.argv[1:] if args is None else args)
        for action in self._actions:
            if isinstance(action, InPlaceOf):
                action.decide(self._given)
        return super().parse_known_args(args, namespace)

    def error(self, message: str) -> NoReturn:
        """Print the error and exit with status 2."""
        nested = [action for action in self._actions if isinstance(action, argparse._SubParsersAction)]
        if nested and message.endswith(f": {nested[0].metavar}"):
            message += f"; {self.prog} --help lists them"
        if "--" not in self._given and (value := next(filter(self._is_value, self._given), None)):
            similar = difflib.get_close_matches(value.split("=")[0], self._options, 1, cutoff=0.66)
            if similar and message.startswith(_UNRECOGNIZED):
                message += f"; did you mean {similar[0]}?"
            else:
                message += f"; a value that begins with a dash is written behind --, as in: {self.prog} … -- {value!r}"
        super().error(message)

    def _chosen(self, given: Sequence[str]) -> "_CommandParser":
        """Return the parser of the innermost subcommand that the arguments name."""
        for action in self._actions:
            named = next((text for text in given if text in (action.choices or ())), None)
            if isinstance(action, argparse._SubParsersAction) and named is not None:
                inner: _CommandParser = action.choices[named]
                return inner._chosen(given[given.index(named) + 1 :])
        return self

    def _is_value(self, text: str) -> bool:
        name = text.split("=")[0]
        return name.startswith("-") and len(name) > 1 and not any(known.startswith(name) for known in self._options)

    @property
    def _options(self) -> list[str]:
        return [name for action in self._actions for name in action.option_strings]


def _parser() -> argparse.ArgumentParser:
    parser = _CommandParser(
        prog="retrieve",
        usage="retrieve COMMAND …",
        description="Index a corpus, search it with several legs fused and reranked, measure it, train its models.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="print the version")
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


class _Version(argparse.Action):
    """Print the version, which is looked up only when asked for, and exit."""

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> NoReturn:
        from importlib.metadata import version

        print(f"retrieve {version('retrieve-rerank')}")
        parser.exit()


def _line(name: str, command: argparse.ArgumentParser) -> str:
    """Return the line of one command in the list: its name and the first sentence of its description."""
    first = re.split(r"[.:;] ", " ".join((command.description or "").split()))[0].rstrip(".")
    return textwrap.fill(first, 98, initial_indent=f"  {name:<10}", subsequent_indent=" " * 12)


if __name__ == "__main__":
    sys.exit(main())
