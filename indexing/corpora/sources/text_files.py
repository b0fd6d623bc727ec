"""Text files: JSON lines, CSV and TSV, plain or gzipped."""

import csv
import gzip
import io
import json
import zlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

from indexing.corpora.sources.records import Record, sha256
from indexing.errors import InputError
from indexing.json_text import distinct_keys
from indexing.plurals import counted

LONGEST_LINE = 1 << 27
"""Maximum number of bytes of a line."""
MOST_BLANK_LINES = 1_000_000
"""Maximum number of blank lines in a row."""
LONGEST_CSV_RECORD = 1 << 24
"""Maximum number of characters in a record: a quote still open after so many did not open a field."""

HEAD_BYTES = 1 << 16
"""Number of bytes in which a line end is looked for: a file with CR and without LF there ends its lines by CR."""


@dataclass(frozen=True, slots=True)
class TextFile:
    """A text file in UTF-8, with or without a byte order mark; a name that ends in ``.gz`` is decompressed."""

    path: Path
    unit = "line"
    typed = True

    @property
    def description(self) -> str:
        """Path of the file."""
        return str(self.path)

    def lines(self) -> Iterator[tuple[int, bytes]]:
        """Read all lines, numbered from 1, including blank lines and line ends."""
        try:
            with self._open() as stream:
                read = _reader_of_lines_ended_by_cr(stream) if _is_ended_by_cr(stream) else stream.readline
                for number, line in enumerate(self._bounded(read), start=1):
                    yield number, line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line
        except (OSError, EOFError, zlib.error) as error:
            raise InputError(f"{self.path} cannot be read: {error}") from error

    def text_lines(self) -> Iterator[tuple[int, str]]:
        """Read the lines that are not blank, decoded and without line ends; raise an `InputError` if not UTF-8."""
        for number, line in self.lines():
            try:
                text = line.decode("utf-8").rstrip("\r\n")
            except UnicodeDecodeError as error:
                raise InputError(f"{self.path}, line {number}: not UTF-8: {error.reason}") from error
            if text.strip():
                yield number, text

    def count(self) -> int | None:
        """Count the lines; None for a compressed file."""
        if self.path.suffix == ".gz":
            return None
        with self._open() as stream:
            end = b"\r" if _is_ended_by_cr(stream) else b"\n"
            blocks = iter(lambda: stream.read(1 << 20), b"")
            last, lines = end, 0
            for block in blocks:
                last, lines = block[-1:], lines + block.count(end)
        return lines + (last != end)

    @property
    def is_ended_by_cr(self) -> bool:
        """Whether lines end with CR alone, as some spreadsheets export them."""
        with self._open() as stream:
            return _is_ended_by_cr(stream)

    def fingerprint(self) -> str:
        """Return the SHA-256 of the file's bytes on disk."""
        return sha256([self.path])

    def _bounded(self, read_line: Callable[[int], bytes]) -> Iterator[bytes]:
        """Yield lines; raise an `InputError` for what a small compressed file could otherwise fill all memory with."""
        blank = 0
        while line := read_line(LONGEST_LINE + 1):
            blank = blank + 1 if len(line) <= 2 and not line.strip() else 0
            if len(line) > LONGEST_LINE or blank > MOST_BLANK_LINES:
                what = "a line that is longer than 128 MiB" if blank == 0 else f"over {MOST_BLANK_LINES:,} blank lines"
                raise InputError(f"{self.path} has {what}, so it is not a file of records: split or repair it")
            yield line

    def _open(self) -> IO[bytes]:
        if self.path.suffix == ".gz":
            return cast(IO[bytes], gzip.open(self.path, "rb"))
        return self.path.open("rb")


@dataclass(frozen=True, slots=True)
class JsonLines(TextFile):
    """One JSON object per line. NaN and Infinity, which are not JSON although Python reads them, are refused."""

    def records(self) -> Iterator[Record]:
        """Read each line that is not blank as a record."""
        decode = json.JSONDecoder(parse_constant=_refuse_constant, object_pairs_hook=distinct_keys).decode
        name = str(self.path)
        for number, line in self.lines():
            if not line.strip():
                continue
            try:
                values = decode(line.decode("utf-8"))
            except UnicodeDecodeError as error:
                yield Record(name, number, {}, _not_utf8(error), _shown(line))
            except json.JSONDecodeError as error:
                problem = f"not JSON: {error.msg} at column {error.colno}; write one JSON object per line"
                yield Record(name, number, {}, problem, _shown(line))
            except (ValueError, RecursionError) as error:
                yield Record(name, number, {}, f"not JSON: {error}", _shown(line))
            else:
                problem = ""
                if not isinstance(values, dict):
                    problem = f"must be a JSON object ({{…}}), not {_json_type(values)}; write one object per line"
                elif b"\\ud" in line.lower() and not _is_text(json.dumps(values, ensure_ascii=False)):
                    problem = "contains half of a surrogate pair (\\ud8… or \\udc… alone), which is not valid text"
                yield Record(name, number, *(({}, problem, _shown(line)) if problem else (values, "", values)))


@dataclass(frozen=True, slots=True)
class Delimited(TextFile):
    """A CSV or TSV file with a header line.

    Parameters
    ----------
    delimiter
        With a comma, fields may be quoted as in RFC 4180, and then contain commas, doubled quotes and line ends.
        With a tab, fields are not quoted (IANA's text/tab-separated-values), as in retrieval collections; a quote is
        a character like any other.
    """

    delimiter: str = ","
    typed = False

    def records(self) -> Iterator[Record]:
        """Read each row below the header, numbered by the line on which it begins."""
        name = str(self.path)
        rows = self._rows()
        header = next(rows, None)
        if header is None:
            raise InputError(f"{name} is empty: the first line must name the columns")
        _, columns, problem = header
        if problem:
            raise InputError(f"{name}, line 1: {problem}")
        if len(set(columns)) < len(columns) or not all(columns):
            raise InputError(f"{name}, line 1: the header must name each column once, not {columns}")
        for number, cells, problem in rows:
            if not problem and len(cells) != len(columns):
                problem = f"has {counted(len(cells), 'field')} where the header names {len(columns)}"
            if problem:
                yield Record(name, number, {}, problem, self.delimiter.join(cells))
            else:
                values = dict(zip(columns, cells, strict=True))
                yield Record(name, number, values, "", values)

    def _rows(self) -> Iterator[tuple[int, list[str], str]]:
        decoded = ((number, line.decode("utf-8", "surrogateescape")) for number, line in self.lines())
        rows = _tab_rows(decoded) if self.delimiter == "\t" else _quoted_rows(decoded, self.delimiter)
        for number, cells, problem in rows:
            if not problem and not all(map(_is_text, cells)):
                problem = "not UTF-8: save the file as UTF-8"
            yield number, cells, problem


def _is_ended_by_cr(stream: IO[bytes]) -> bool:
    head = stream.read(HEAD_BYTES)
    stream.seek(0)
    return b"\r" in head and b"\n" not in head


def _reader_of_lines_ended_by_cr(stream: IO[bytes]) -> Callable[[int], bytes]:
    # Latin-1 maps every byte to a character and back, so only the line ends are interpreted.
    text = io.TextIOWrapper(stream, encoding="latin-1", newline=None)
    return lambda limit: text.readline(limit).encode("latin-1")


def _is_text(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _tab_rows(lines: Iterable[tuple[int, str]]) -> Iterator[tuple[int, list[str], str]]:
    for number, line in lines:
        if line.strip():
            yield number, line.rstrip("\r\n").split("\t"), ""


def _quoted_rows(lines: Iterable[tuple[int, str]], delimiter: str) -> Iterator[tuple[int, list[str], str]]:
    """Read CSV so that a stray quote costs only the line it occurs on, not all lines after it.

    When a record is malformed, its first line is reported and reading resumes at its second.
    """
    csv.field_size_limit(max(csv.field_size_limit(), LONGEST_CSV_RECORD))
    pending: deque[tuple[int, str]] = deque()
    lines = iter(lines)
    consumed: list[tuple[int, str]] = []

    def feed() -> Iterator[str]:
        size = 0
        while (line := pending.popleft() if pending else next(lines, None)) is not None:
            size = size + len(line[1]) if consumed else len(line[1])
            consumed.append(line)
            if size > LONGEST_CSV_RECORD:
                raise csv.Error(f"a quote is still open after {counted(LONGEST_CSV_RECORD, 'character')}")
            yield line[1]

    finished = False
    while not finished:
        try:
            for cells in csv.reader(feed(), delimiter=delimiter, strict=True):
                number = consumed[0][0]
                consumed.clear()
                if cells:
                    yield number, cells, ""
            finished = True
        except csv.Error as error:
            (number, line), *unread = consumed
            pending.extendleft(reversed(unread))
            consumed.clear()
            yield number, [line.rstrip("\r\n")], f"not CSV: {error}; check the quotes that begin on this line"


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not a JSON value; write null")


def _json_type(value: Any) -> str:
    names = {list: "a list", str: "a string", bool: "a boolean", type(None): "null"}
    return names.get(type(value), "a number")


def _not_utf8(error: UnicodeDecodeError) -> str:
    return f"not UTF-8: byte 0x{error.object[error.start]:02x} at byte {error.start + 1} of the line"


def _shown(line: bytes) -> str:
    return line.rstrip(b"\r\n").decode("utf-8", "backslashreplace")
