"""Formats of people's own files, and the choice of the reader by a file's content and name."""

import functools
from collections.abc import Callable, Mapping
from pathlib import PurePath
from typing import Literal, get_args

from indexing.corpora.sources.formats.archive import Archive
from indexing.corpora.sources.formats.book import book
from indexing.corpora.sources.formats.by_kreuzberg import KREUZBERG_TYPES, by_kreuzberg, check_kreuzberg
from indexing.corpora.sources.formats.extracted import MOST_CHARACTERS, PAGE_BREAK, Extracted
from indexing.corpora.sources.formats.html_page import html
from indexing.corpora.sources.formats.mail import mail
from indexing.corpora.sources.formats.notebook import notebook
from indexing.corpora.sources.formats.pdf import pdf
from indexing.corpora.sources.formats.plain import code, markdown, plain
from indexing.corpora.sources.formats.restructured import restructured
from indexing.corpora.sources.formats.slides import slides
from indexing.corpora.sources.formats.word import word
from indexing.errors import InputError

__all__ = ["MOST_CHARACTERS", "PAGE_BREAK", "Extracted", "Reader", "check_reader", "extract", "is_known"]

Reader = Literal["own", "kreuzberg"]
"""Readers of PDFs, office files and e-books: the project itself, or an installed package."""

MOST_NESTED = 3
"""Levels of mails attached to mails that are read."""

_CODE = (
    ".py .pyi .js .mjs .cjs .ts .tsx .jsx .java .kt .kts .scala .groovy .c .h .cc .cpp .cxx .hh .hpp .hxx .m .mm .cs "
    ".fs .vb .go .rs .rb .php .pl .pm .lua .r .jl .swift .dart .sh .bash .zsh .fish .ps1 .bat .sql .hs .ml .mli .ex "
    ".exs .erl .clj .cljs .lisp .el .scm .nim .zig .v .sv .vhd .f90 .f .pas .asm .s .cu .proto .graphql .tf .cmake "
    ".gradle .make .mk .toml .yaml .yml .ini .cfg .conf .css .scss .less .vue .svelte .tex .bib"
)
_READERS: Mapping[str, Callable[[bytes], Extracted]] = {
    ".md": markdown,
    ".markdown": markdown,
    ".txt": plain,
    ".text": plain,
    ".log": plain,
    ".rst": restructured,
    ".html": html,
    ".htm": html,
    ".xhtml": html,
    ".pdf": pdf,
    ".docx": word,
    ".docm": word,
    ".pptx": slides,
    ".pptm": slides,
    ".epub": book,
    ".ipynb": notebook,
    **dict.fromkeys(_CODE.split(), code),
}
_BINARY = {".pdf": "a PDF", ".docx": "a Word document", ".pptx": "a presentation", ".epub": "an e-book"}
_NAMES = frozenset({"makefile", "dockerfile", "readme", "license", "changelog", "authors", "contributing", "notice"})
_OLD_OFFICE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_MARKUP = (b"<!doctype html", b"<html")


def check_reader(reader: str) -> Reader:
    """Return a reader; raise an `InputError` for an unknown one, or one that is not installed."""
    if reader not in get_args(Reader):
        raise InputError(f"reader must be {' or '.join(map(repr, get_args(Reader)))}, not {reader!r}")
    if reader == "kreuzberg":
        check_kreuzberg()
    return reader  # type: ignore[return-value]


def is_known(name: str, reader: Reader = "own") -> bool:
    """Return whether files of this name are read when a folder is indexed."""
    suffix = PurePath(name).suffix.lower()
    if reader == "kreuzberg" and suffix in KREUZBERG_TYPES:
        return True
    return suffix in _READERS or suffix == ".eml" or PurePath(name).name.lower() in _NAMES


def extract(data: bytes, name: str, *, depth: int = 0, by: Reader = "own") -> Extracted:
    """Read the text of a file.

    Its content decides before its name: a PDF that is called ``notes.txt`` is read as a PDF.

    Parameters
    ----------
    data
        The whole file.
    name
        Its name, for the format of a text.
    depth
        Levels of mails around it.
    by
        Reader of PDFs, office files and e-books, which `by` knows by their names.

    Raises
    ------
    InputError
        For a file that is empty, damaged, encrypted, too large unpacked or of no readable format. The message
        completes "the file …".
    """
    suffix = PurePath(name).suffix.lower()
    if not data.strip(b"\0 \t\r\n"):
        raise InputError("is empty")
    if by == "kreuzberg" and suffix in KREUZBERG_TYPES:
        return by_kreuzberg(data, suffix)
    reader = _by_content(data)
    if reader is None:
        if suffix in _BINARY:
            raise InputError(f"is not {_BINARY[suffix]}, although its name ends in {suffix}")
        if suffix in (".txt", ".text") and data[:1024].lstrip(b"\xef\xbb\xbf \t\r\n").lower().startswith(_MARKUP):
            reader = html
        elif suffix == ".eml":
            if depth > MOST_NESTED:
                raise InputError("is a mail within too many others")
            reader = functools.partial(mail, read=functools.partial(extract, depth=depth + 1, by=by))
        else:
            reader = _READERS.get(suffix, plain)
    return reader(data)


def _by_content(data: bytes) -> Callable[[bytes], Extracted] | None:
    if data[:1024].lstrip().startswith(b"%PDF-"):
        return pdf
    if data.startswith(_OLD_OFFICE):
        raise InputError("is an Office file that is encrypted or of the format before 2007: save it without a password")
    if data.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        archive = Archive(data)
        if "word/document.xml" in archive:
            return word
        if "ppt/presentation.xml" in archive:
            return slides
        if "META-INF/container.xml" in archive:
            return book
        raise InputError("is a ZIP archive of another kind: unpack it")
    return None
