"""Tables: Parquet files, and whatever the `datasets` library reads."""

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

ROWS_A_READ = 1024
"""Rows held in memory at once."""

SAVED_DATASET = ("dataset_dict.json", "dataset_info.json")
"""Files by which a folder shows that ``Dataset.save_to_disk`` wrote it."""


@dataclass(frozen=True, slots=True)
class Parquet:
    """One Parquet file, or the Parquet files of a folder (and of those below it) in the order of their paths."""

    path: Path
    unit = "row"

    @property
    def description(self) -> str:
        """The path."""
        return str(self.path)

    @property
    def files(self) -> list[Path]:
        """The files, in the order they are read."""
        return sorted(self.path.rglob("*.parquet")) if self.path.is_dir() else [self.path]

    def records(self) -> Iterator[Record]:
        """Read each row, numbered within its file."""
        for path in self.files:
            places = itertools.count(1)
            try:
                for batch in parquet_file(path).iter_batches(batch_size=ROWS_A_READ):
                    for values in batch.to_pylist():
                        yield table_record(str(path), next(places), values)
            except (OSError, ValueError) as error:
                raise InputError(f"{path}, after row {next(places) - 1}: cannot be read: {error}") from error

    def count(self) -> int | None:
        """Add up the row counts in the files' footers."""
        return sum(parquet_file(path).metadata.num_rows for path in self.files)

    def fingerprint(self) -> str:
        """Give the SHA-256 of the files' bytes, one after another."""
        return sha256(self.files)


@dataclass(frozen=True, slots=True)
class HubTable:
    """One split of a dataset that the `datasets` library reads: of the Hub, of its cache, or saved to a folder."""

    name: str
    config: str | None = None
    split: str | None = None
    unit = "row"

    @property
    def description(self) -> str:
        """The name, with configuration and split where they were given."""
        return ", ".join(part for part in (self.name, self.config, self.split and f"split {self.split}") if part)

    def records(self) -> Iterator[Record]:
        """Read each row."""
        place = itertools.count(1)
        for batch in self.load().iter(batch_size=ROWS_A_READ):
            for row in zip(*batch.values(), strict=True):
                yield table_record(self.description, next(place), dict(zip(batch, row, strict=True)))

    def count(self) -> int | None:
        """Give the split's length."""
        return len(self.load())

    def fingerprint(self) -> str:
        """Give the fingerprint that `datasets` keeps for the split."""
        return str(self.load()._fingerprint)

    def load(self) -> Any:
        """Give the ``datasets.Dataset``: memory-mapped, whatever its size.

        Raises
        ------
        InputError
            When the dataset, its configuration or its split cannot be found or reached.
        """
        return _load_dataset(self.name, self.config, self.split)


def parquet_file(path: Path) -> Any:
    """Open a ``pyarrow.parquet.ParquetFile``; an `InputError` when it is none."""
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
        found = datasets.load_from_disk(name) if saved else datasets.load_dataset(name, config)
    except (OSError, ValueError, RuntimeError, datasets.exceptions.DatasetsError) as error:
        raise InputError(
            f"{name!r} is no corpus file or folder here, and `datasets` could not load it: {_one_line(error)}. "
            "Check the spelling, the configuration or the connection to the Hub; or give the path of a local copy"
        ) from error
    if isinstance(found, datasets.Dataset):
        return found
    splits = list(found)
    wanted = split or next((known for known in ("corpus", "train") if known in splits), splits[0])
    if wanted not in splits:
        raise InputError(f"{name!r} has no split {wanted!r}: it has {', '.join(splits)}")
    return found[wanted]


def table_record(file: str, place: int, row: dict[str, Any]) -> Record:
    """Make the record of one row; one with a value that JSON cannot hold has a problem."""
    try:
        return Record(file, place, {name: _json_value(value, name) for name, value in row.items()}, "", row)
    except TypeError as error:
        return Record(file, place, {}, str(error), row)


def _json_value(value: Any, field: str) -> Any:
    """Give what JSON can hold: dates as ISO 8601, NaN (how tables mark what is missing) as null."""
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float | Decimal):
        if math.isinf(value):
            raise TypeError(f"the field {field!r} is infinite, which JSON cannot hold")
        return None if math.isnan(value) else float(value)
    if isinstance(value, date | time):
        return value.isoformat()
    if isinstance(value, dict):
        return {str(key): _json_value(part, field) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_json_value(part, field) for part in value]
    raise TypeError(f"the field {field!r} holds {type(value).__name__}, which JSON cannot hold: leave the column out")


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:400].rstrip(".") or type(error).__name__
