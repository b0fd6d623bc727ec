"""Tables: Parquet files, and datasets read with the `datasets` library."""

import functools
import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, time
from decimal import Decimal
from pathlib import Path
from typing import Any

from indexing.corpora.sources.records import Record, sha256
from indexing.errors import InputError

ROWS_PER_READ = 1024
"""Number of rows read into memory at once."""

SAVED_DATASET = ("dataset_dict.json", "dataset_info.json")
"""Files that identify a folder written by ``Dataset.save_to_disk``."""


@dataclass(frozen=True, slots=True)
class Parquet:
    """One Parquet file, or all Parquet files below a folder in the order of their paths."""

    path: Path
    unit = "row"
    typed = True

    @property
    def description(self) -> str:
        """Path of the file or folder."""
        return str(self.path)

    @property
    def files(self) -> list[Path]:
        """The files in reading order."""
        return sorted(self.path.rglob("*.parquet")) if self.path.is_dir() else [self.path]

    def records(self) -> Iterator[Record]:
        """Read each row, numbered within its file."""
        for path in self.files:
            numbers = itertools.count(1)
            try:
                for batch in parquet_file(path).iter_batches(batch_size=ROWS_PER_READ):
                    for values in batch.to_pylist():
                        yield table_record(str(path), next(numbers), values)
            except (OSError, ValueError) as error:
                raise InputError(f"{path}, after row {next(numbers) - 1}: cannot be read: {error}") from error

    def count(self) -> int | None:
        """Return the sum of the row counts in the files' footers."""
        return sum(parquet_file(path).metadata.num_rows for path in self.files)

    def fingerprint(self) -> str:
        """Return the SHA-256 of the files' bytes, one file after another."""
        return sha256(self.files)


@dataclass(frozen=True, slots=True)
class HubTable:
    """One split of a dataset of the `datasets` library: on the Hub, in its cache, or saved to a folder."""

    name: str
    config: str | None = None
    split: str | None = None
    unit = "row"
    typed = True

    @property
    def description(self) -> str:
        """Name of the dataset, with configuration and split if given."""
        return ", ".join(part for part in (self.name, self.config, self.split and f"split {self.split}") if part)

    def records(self) -> Iterator[Record]:
        """Read each row."""
        numbers = itertools.count(1)
        for batch in self.load().iter(batch_size=ROWS_PER_READ):
            for row in zip(*batch.values(), strict=True):
                yield table_record(self.description, next(numbers), dict(zip(batch, row, strict=True)))

    def count(self) -> int | None:
        """Return the length of the split."""
        return len(self.load())

    def fingerprint(self) -> str:
        """Return the fingerprint that `datasets` stores for the split."""
        return str(self.load()._fingerprint)

    def load(self) -> Any:
        """Load the ``datasets.Dataset``, memory-mapped.

        Raises
        ------
        InputError
            When the dataset, its configuration or its split cannot be found or reached.
        """
        return _load_dataset(self.name, self.config, self.split)


def parquet_file(path: Path) -> Any:
    """Open a ``pyarrow.parquet.ParquetFile``; raise an `InputError` if it is unreadable."""
    import pyarrow.parquet

    try:
        return pyarrow.parquet.ParquetFile(path)
    except (OSError, ValueError) as error:
        raise InputError(f"{path} is not a readable Parquet file: {error}") from error


@functools.lru_cache(maxsize=8)
def _load_dataset(name: str, config: str | None, split: str | None) -> Any:
    import datasets

    try:
        saved = any((Path(name) / mark).is_file() for mark in SAVED_DATASET)
        dataset = datasets.load_from_disk(name) if saved else datasets.load_dataset(name, config)
    except (OSError, ValueError, RuntimeError, datasets.exceptions.DatasetsError) as error:
        raise InputError(
            f"{name!r} is not a corpus file or folder here, and `datasets` could not load it: {_one_line(error)}. "
            "Check the spelling, the configuration and the connection to the Hub, or pass the path of a local copy"
        ) from error
    if isinstance(dataset, datasets.Dataset):
        return dataset
    splits = list(dataset)
    wanted = split or next((known for known in ("corpus", "train") if known in splits), splits[0])
    if wanted not in splits:
        raise InputError(f"{name!r} has no split {wanted!r}: it has {', '.join(splits)}")
    return dataset[wanted]


def table_record(file: str, place: int, row: dict[str, Any]) -> Record:
    """Convert a row to a record; a value that JSON cannot represent becomes the record's problem."""
    try:
        return Record(file, place, {name: _json_value(value, name) for name, value in row.items()}, "", row)
    except TypeError as error:
        return Record(file, place, {}, str(error), row)


def _json_value(value: Any, field: str) -> Any:
    """Convert a value to JSON: dates to ISO 8601, NaN (which marks missing values in tables) to null."""
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float | Decimal):
        if math.isinf(value):
            raise TypeError(f"the field {field!r} is infinite, which JSON cannot represent")
        return None if math.isnan(value) else float(value)
    if isinstance(value, date | time):
        return value.isoformat()
    if isinstance(value, dict):
        return {str(key): _json_value(part, field) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_json_value(part, field) for part in value]
    raise TypeError(f"the field {field!r} holds {type(value).__name__}, which JSON cannot represent: remove the column")


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:400].rstrip(".") or type(error).__name__
