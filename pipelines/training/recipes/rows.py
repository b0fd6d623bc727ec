"""Training rows from files, mined folders and `datasets`, with the columns that losses read."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from indexing.errors import InputError
from indexing.sources import open_source
from indexing.sources.records import at
from pipelines.training.roles import LABELS


def read_rows(data: str | Path, *, split: str | None = None, columns: Sequence[str] | None = None) -> Any:
    """Read rows as a `datasets.Dataset`.

    Parameters
    ----------
    data
        What ``retrieve mine`` wrote; JSONL, CSV, TSV, Parquet; or a name or folder that `datasets` knows.
    split
        Of the latter.
    columns
        Which, in the order in which the loss reads them; by default all but ids ("id", and "x_id" beside "x").

    Raises
    ------
    InputError
        Naming file and line: a record that cannot be read, or with other fields than the first; an unknown column.
    """
    from datasets import Dataset

    from pipelines.mining.sources import read_mined

    is_mined = Path(data).is_dir() and next(Path(data).glob("part-*.parquet"), None) is not None
    rows = read_mined(data) if is_mined else Dataset.from_list(_records(data, split))
    lost = [name for name in columns or () if name not in rows.column_names]
    if lost:
        raise InputError(f"{data} has no column {lost[0]!r}: it has {', '.join(rows.column_names)}")
    return rows.select_columns(list(columns) if columns else without_ids(rows.column_names))


def without_ids(names: Sequence[str]) -> list[str]:
    """Give the columns but those of ids: "id", and "x_id" beside "x"."""
    ids = {"id", "_id", *(name for name in names if name.endswith("_id") and name.removesuffix("_id") in names)}
    return [name for name in names if name not in ids]


def _records(data: str | Path, split: str | None) -> list[dict[str, Any]]:
    source = open_source(data, stem="train", split=split)
    rows: list[dict[str, Any]] = []
    for record in source.records():
        if record.problem:
            raise at(source, record, record.problem)
        values = dict(record.values)
        if rows and set(values) != set(rows[0]):
            raise at(source, record, f"its fields are {', '.join(values)}, those of the first {', '.join(rows[0])}")
        for name in LABELS:
            if isinstance(values.get(name), str):
                values[name] = _number(values[name], at(source, record, f"the {name} {values[name]!r} is no number"))
        rows.append({name: values[name] for name in (rows[0] if rows else values)})
    if not rows:
        raise InputError(f"{data} holds no rows")
    return rows


def _number(text: str, problem: InputError) -> float:
    try:
        return float(text)
    except ValueError:
        raise problem from None
