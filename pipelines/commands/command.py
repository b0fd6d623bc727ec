"""What the subcommands share: how one is described, the types of their options, the models that options name."""

import argparse
import json
import textwrap
from typing import Any

from indexing.errors import InputError


def command(commands: Any, name: str, run: Any, summary: str, example: str) -> argparse.ArgumentParser:
    """Add a subcommand with its help and an example."""
    parser: argparse.ArgumentParser = commands.add_parser(
        name,
        help=summary,
        description=textwrap.fill(summary, 98),
        epilog=f"example:\n{textwrap.indent(example, '  ')}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(run=run)
    return parser


def dense_encoder(options: argparse.Namespace) -> Any:
    """Load the encoder that ``--dense`` names, or the default."""
    from retrieve.default_models import default_dense_model
    from retrieve.encoders import DenseEncoder

    return DenseEncoder(options.dense or default_dense_model(), dtype=options.dtype)


def sparse_encoder(options: argparse.Namespace) -> Any:
    """Load the encoder that ``--sparse`` names."""
    from retrieve.encoders import SparseEncoder

    return SparseEncoder(options.sparse, dtype=options.dtype)


def positive(text: str) -> int:
    """Read a whole number of 1 or more."""
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of 1 or more")
    return int(text)


def numbers_by_field(text: str) -> dict[str, float]:
    """Read ``title=1,text=0.5``."""
    numbers = {}
    for part in text.split(","):
        field, _, number = part.strip().partition("=")
        try:
            numbers[field] = float(number)
        except ValueError:
            raise argparse.ArgumentTypeError(
                f"fields and numbers are wanted, as in title=1,text=1, not {part!r}"
            ) from None
    return numbers


def number_or_by_field(text: str) -> float | dict[str, float]:
    """Read one number, or one for each field."""
    try:
        return float(text)
    except ValueError:
        return numbers_by_field(text)


def json_filter(text: str | None, option: str) -> dict[str, Any] | None:
    """Read a filter; None where none was given.

    Raises
    ------
    InputError
        For what is no JSON object, naming the option.
    """
    if text is None:
        return None
    try:
        written = json.loads(text)
    except ValueError as error:
        raise InputError(f'{option} takes a JSON object, as in {{"year": 2020}}, not {text!r}: {error}') from None
    if not isinstance(written, dict):
        raise InputError(f'{option} takes a JSON object, as in {{"year": 2020}}, not {text}')
    return written
