"""Helpers shared by the subcommands: parsers, option types, and loading of the models that options name."""

import argparse
import json
import re
import sys
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice, takewhile
from typing import TYPE_CHECKING, Any

from indexing.errors import InputError
from indexing.json_text import distinct_keys, parse_json

if TYPE_CHECKING:
    from indexing.collection.legs import DocumentEncoder
    from indexing.documents import Document


def command(
    commands: Any, name: str, run: Any, summary: str, example: str, *, keeps_in: str | None = None
) -> argparse.ArgumentParser:
    """Add a subcommand with its summary and an example to ``--help``; return its parser.

    `keeps_in` is the option that names where a stopped job keeps its work, so that the same command resumes it.
    """
    parser: argparse.ArgumentParser = commands.add_parser(
        name,
        help=summary,
        description=textwrap.fill(summary, 98),
        epilog=f"example:\n{textwrap.indent(example, '  ')}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(run=run, keeps_in=keeps_in)
    return parser


class InPlaceOf(argparse.Action):
    """Option that stands in place of a positional argument, which is required without it.

    An optional positional argument would not be found behind an option: argparse takes it to be absent as soon as the
    positional argument before it has been read.
    """

    def __init__(self, *args: Any, positional: argparse.Action, **options: Any) -> None:
        super().__init__(*args, **options)
        self._positional = positional

    def decide(self, given: Sequence[str]) -> None:
        """Make the positional argument optional if the option is given."""
        flags = self.option_strings
        named = any(text.partition("=")[0] in flags for text in takewhile(lambda text: text != "--", given))
        self._positional.nargs, self._positional.required = ("?", False) if named else (None, True)

    def __call__(self, parser: Any, namespace: argparse.Namespace, values: Any, option_string: Any = None) -> None:
        """Store the value."""
        setattr(namespace, self.dest, values)


def json_text(value: Any, *, indent: int | None = None) -> str:
    """Return JSON in characters that standard output can encode; others are escaped."""
    encoding = (getattr(sys.stdout, "encoding", None) or "utf-8").lower().replace("-", "").replace("_", "")
    return json.dumps(value, indent=indent, ensure_ascii=not encoding.startswith("utf"), default=str)


def add_json_option(parser: argparse.ArgumentParser) -> None:
    """Add ``--json``, which prints the summary as one JSON object and shows no progress."""
    parser.add_argument("--json", action="store_true", help="print the summary as JSON, and no progress")


def dense_encoder(options: argparse.Namespace) -> Any:
    """Load the dense encoder that ``--dense`` names, or the default one."""
    from pipelines.models import Models

    encoder = Models().dense(options.dense or None, options.dtype)
    if options.dense_dim is not None and not hasattr(encoder, "truncated"):
        raise InputError("--dense-dim is for a local model; RemoteEncoder(URL, dimensions=N) asks a server, in Python")
    return encoder if options.dense_dim is None else encoder.truncated(options.dense_dim)


def remote_model(options: argparse.Namespace) -> str | None:
    """Return ``--dense``, with the name of ``--dense-model`` if it is a URL."""
    from retrieve.remote import is_url, with_model

    if options.dense_model is not None and not is_url(options.dense):
        raise InputError(
            "--dense-model names a model at a server: --dense must be its URL, as in https://HOST/v1/embeddings"
        )
    return with_model(options.dense, options.dense_model) if options.dense else None


def sparse_encoder(options: argparse.Namespace) -> Any:
    """Load the sparse encoder that ``--sparse`` names."""
    from pipelines.models import Models

    return Models().sparse(options.sparse, options.dtype)


def token_encoder(options: argparse.Namespace, dense: Any, corpus: "Iterable[Document]") -> Any:
    """Load the encoder that ``--late-interaction`` names, or wrap the dense encoder if it names none.

    Reduced dimensions are fitted on the first documents of the corpus.
    """
    from pipelines.models import Models

    dimension, factor = options.late_interaction_dim, options.late_interaction_pool_factor
    if options.late_interaction:
        if dimension is not None:
            raise InputError("--late-interaction-dim reduces a dense encoder, and a late-interaction model has its own")
        encoder = Models().multi_vector(options.late_interaction, options.dtype)
        return encoder if factor is None else encoder.pooled(factor)
    if dense is None:
        raise InputError("--late-interaction without a model stores token vectors of the dense leg's encoder: add one")
    from retrieve.encoders.dense_tokens import TEXTS_READ, DenseTokens

    if dimension is None:
        return DenseTokens(dense, pool_factor=factor)
    texts = [document.contents for document in islice(corpus, TEXTS_READ)]
    return DenseTokens.fitted(dense, texts, dimension, pool_factor=factor)


def stored_encoders(options: argparse.Namespace) -> "dict[str, DocumentEncoder]":
    """Load the encoders of the collection ``--to``, or those that the options name in their place."""
    from pipelines.models import collection_encoders

    return collection_encoders(
        options.to,
        dense=options.dense,
        sparse=options.sparse,
        multi_vector=options.late_interaction or None,
        dtype=options.dtype,
    )


def positive(text: str) -> int:
    """Parse an integer of 1 or more."""
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of 1 or more")
    return int(text)


def split_names(text: str) -> list[str]:
    """Split at commas outside parentheses: a measure's options contain commas too, as in nDCG(gains=exp,rel=2)@10."""
    return [name.strip() for name in re.split(r",(?![^()]*\))", text) if name.strip()]


def numbers_by_field(text: str) -> dict[str, float]:
    """Parse numbers by field, as in ``title=1,text=0.5``."""
    numbers = {}
    for part in text.split(","):
        field, _, number = part.strip().partition("=")
        try:
            numbers[field] = float(number)
        except ValueError:
            raise argparse.ArgumentTypeError(
                f"expected fields with numbers, as in title=1,text=1, not {part!r}"
            ) from None
    return numbers


def number_or_by_field(text: str) -> float | dict[str, float]:
    """Parse one number, or one for each field."""
    try:
        return float(text)
    except ValueError:
        return numbers_by_field(text)


def standard_input_lines() -> Iterator[str]:
    """Read the lines of standard input, without line ends (LF, CR LF or CR) and without a byte order mark.

    Raises
    ------
    InputError
        For a line that is not UTF-8, whatever the locale's encoding is; the message has its number.
    """
    number = 0
    for block in getattr(sys.stdin, "buffer", sys.stdin):
        for line in block.splitlines() if isinstance(block, bytes) else [block]:
            number += 1
            try:
                text = line.decode("utf-8") if isinstance(line, bytes) else line
            except UnicodeDecodeError as error:
                byte = f"byte 0x{line[error.start]:02x} at byte {error.start + 1}"
                raise InputError(f"standard input, line {number}: not UTF-8: {byte}; convert it to UTF-8") from None
            yield (text.removeprefix("\ufeff") if number == 1 else text).rstrip("\r\n")


def json_filter(text: str | None, option: str) -> dict[str, Any] | None:
    """Parse a filter; return None if the option is absent.

    Raises
    ------
    InputError
        If the text is not a JSON object; the message names the option.
    """
    if text is None:
        return None
    try:
        parsed = parse_json(text, object_pairs_hook=distinct_keys)
    except ValueError as error:
        raise InputError(f'{option} takes a JSON object, as in {{"year": 2020}}, not {text[:200]!r}: {error}') from None
    if not isinstance(parsed, dict):
        raise InputError(f'{option} takes a JSON object, as in {{"year": 2020}}, not {text[:200]}')
    return parsed
