"""The text read from one file (`Extracted`), and the limits that every reader keeps."""

from dataclasses import dataclass

from indexing.errors import InputError
from indexing.plurals import counted

MOST_CHARACTERS = 10_000_000
"""Maximum number of characters of one file's text, some 5,000 pages."""
PAGE_BREAK = "\f"
"""Stands between two pages in a text; white space to every tokenizer."""
WITHOUT_HEADINGS = frozenset({"text", "code"})
"""Formats in which a line that begins with ``#`` is no heading: it is text, or a comment."""


@dataclass(frozen=True, slots=True)
class Extracted:
    """The text of one file.

    Parameters
    ----------
    text
        Plain text. Headings are Markdown (``# …``), and `PAGE_BREAK` stands between pages.
    format
        Name of the format, as in the metadata field ``format``.
    title
        Title that the file states; empty if it states none.
    language
        Language that the file states, as in ``de``; empty if it states none.
    """

    text: str
    format: str
    title: str = ""
    language: str = ""


def bounded(text: str) -> str:
    """Return a text; raise an `InputError` if it is longer than `MOST_CHARACTERS`."""
    check_length(len(text))
    return text


def check_length(characters: int) -> None:
    """Raise an `InputError` for a text of more than `MOST_CHARACTERS`."""
    if characters > MOST_CHARACTERS:
        raise InputError(f"has {counted(characters, 'character')} of text, over {MOST_CHARACTERS:,}: split the file")


def one_line(text: str | None, length: int = 300) -> str:
    """Return a title or heading on one line, cut to a length."""
    return " ".join((text or "").split())[:length].rstrip()
