"""Ranges: parts of a corpus's files that can be read independently, also on other machines."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from indexing.corpora.sources.folder import FileGroup, Files, group_files
from indexing.corpora.sources.joined import Joined
from indexing.corpora.sources.records import Record, Source
from indexing.corpora.sources.tables import ROWS_PER_READ, Parquet, parquet_file, table_record
from indexing.corpora.sources.text_files import JsonLines
from indexing.errors import InputError

RANGE_ROWS = 8192
RANGE_BYTES = 8 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Range:
    """A part of a file: rows of a Parquet file, or bytes of a file of JSON lines.

    Parameters
    ----------
    path
        The file, as an absolute path.
    start, stop
        The first row or byte, and the one after the last. A line belongs to the range in which it begins. A file
        that is gzipped, or whose lines end with CR alone, is a single range with a stop of -1 and is read from its
        beginning.
    """

    path: str
    start: int
    stop: int

    def records(self) -> Iterator[Record]:
        """Read the records of the range, numbered from its beginning."""
        if Path(self.path).suffix == ".parquet":
            return self._rows()
        path = Path(self.path)
        return (JsonLines(path) if self.stop < 0 else _LinesInRange(path, self.start, self.stop)).records()

    def _rows(self) -> Iterator[Record]:
        file = parquet_file(Path(self.path))
        groups: list[int] = []
        first = row = 0
        for group in range(file.metadata.num_row_groups):
            end = row + file.metadata.row_group(group).num_rows
            if row < self.stop and end > self.start:
                first = first if groups else row
                groups.append(group)
            row = end
        try:
            for batch in file.iter_batches(batch_size=ROWS_PER_READ, row_groups=groups):
                begin, end = max(self.start - first, 0), min(self.stop - first, batch.num_rows)
                if begin < end:
                    for number, values in enumerate(batch.slice(begin, end - begin).to_pylist(), start=1):
                        yield table_record(self.path, first + begin + number - self.start, values)
                first += batch.num_rows
                if first >= self.stop:
                    return
        except (OSError, ValueError) as error:
            raise InputError(f"{self.path}, rows {self.start} to {self.stop}: cannot be read: {error}") from error


@dataclass(frozen=True, slots=True)
class _LinesInRange(JsonLines):
    """The lines that begin between two bytes of a file."""

    start: int = 0
    stop: int = 0

    def lines(self) -> Iterator[tuple[int, bytes]]:
        """Read the lines, numbered from 1."""
        try:
            with self.path.open("rb") as stream:
                # Reading on from the byte before `start` skips the line that began earlier, if there is one.
                stream.seek(max(self.start - 1, 0))
                if self.start:
                    stream.readline()
                number = 1
                while stream.tell() < self.stop and (line := stream.readline()):
                    yield number, line.removeprefix(b"\xef\xbb\xbf") if not self.start and number == 1 else line
                    number += 1
        except OSError as error:
            raise InputError(f"{self.path} cannot be read: {error}") from error


def split_into_ranges(
    source: Source, *, rows: int = RANGE_ROWS, size: int = RANGE_BYTES
) -> list[Range] | list[FileGroup]:
    """Split a source into ranges, in reading order; only the length of each file is read.

    Parameters
    ----------
    source
        One or more Parquet or JSON lines files, or files of people.
    rows, size
        Rows of a Parquet file, and bytes of a JSON lines file or of files together, per range.

    Raises
    ------
    InputError
        For a source of another kind.
    """
    if isinstance(source, Files):
        return group_files(source, size)
    return _ranges(source, rows, size)


def _ranges(source: Source, rows: int, size: int) -> list[Range]:
    if isinstance(source, Joined):
        return [part for joined in source.parts for part in _ranges(joined, rows, size)]
    if isinstance(source, Parquet):
        return [
            Range(str(path.absolute()), start, min(start + rows, count))
            for path in source.files
            for count in [parquet_file(path).metadata.num_rows]
            for start in range(0, count, rows)
        ]
    if not isinstance(source, JsonLines):
        raise InputError(
            f"{source.description} cannot be split into ranges: pass Parquet or JSON lines files, or documents"
        )
    path = str(source.path.absolute())
    if source.path.suffix == ".gz" or source.is_ended_by_cr:
        return [Range(path, 0, -1)]
    length = source.path.stat().st_size
    return [Range(path, start, min(start + size, length)) for start in range(0, length, size)]
