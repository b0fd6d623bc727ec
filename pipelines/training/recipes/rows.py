"""Read training rows from files, mined folders and `datasets`, with the columns that losses read."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from indexing.corpora.sources import open_source
from indexing.corpora.sources.records import error_at
from indexing.errors import InputError
from pipelines.training.roles import LABELS, roles, row_problem


def read_rows(data: str | Path, *, split: str | None = None, columns: Sequence[str] | None = None) -> Any:
    """Read rows as a `datasets.Dataset`.

    Parameters
    ----------
    data
        Folder written by ``retrieve mine``; JSONL, CSV, TSV or Parquet file; or name or folder of a `datasets` dataset.
    split
        Split of a `datasets` dataset.
    columns
        Columns in the order in which the loss reads them; by default all except ids ("id", and "x_id" if there is an
        "x").

    Raises
    ------
    InputError
        Naming file and line, for a record that cannot be read or has other fields than the first; or for an unknown
        column.
    """
    from datasets import Dataset

    from pipelines.mining.from_collection import read_mined

    is_mined = Path(data).is_dir() and next(Path(data).glob("part-*.parquet"), None) is not None
    if not is_mined:
        return Dataset.from_list(_records(data, split, columns))
    rows = read_mined(data)
    return rows.select_columns(_select_columns(data, columns, rows.column_names))


def without_ids(names: Sequence[str]) -> list[str]:
    """Return the columns except ids: "id", and "x_id" if there is an "x"."""
    ids = {"id", "_id", *(name for name in names if name.endswith("_id") and name.removesuffix("_id") in names)}
    return [name for name in names if name not in ids]


def _select_columns(data: str | Path, columns: Sequence[str] | None, available: Sequence[str]) -> list[str]:
    if unknown := [name for name in columns or () if name not in available]:
        raise InputError(f"{data} has no column {unknown[0]!r}: it has {', '.join(available)}")
    return list(columns) if columns else without_ids(available)


def _records(data: str | Path, split: str | None, columns: Sequence[str] | None) -> list[dict[str, Any]]:
    source = open_source(data, stem="train", split=split)
    rows: list[dict[str, Any]] = []
    fields: list[str] = []
    for record in source.records():
        if record.problem:
            raise error_at(source, record, record.problem)
        values = dict(record.values)
        if not rows:
            fields, selected = list(values), _select_columns(data, columns, list(values))
            column_roles = roles(selected, str(data))
        elif set(values) != set(fields):
            raise error_at(
                source, record, f"its fields are {', '.join(values)}, not {', '.join(fields)} as in the first"
            )
        for name in LABELS:
            if isinstance(values.get(name), str):
                try:
                    values[name] = float(values[name])
                except ValueError:
                    raise error_at(source, record, f"the {name} {values[name]!r} is not a number") from None
        rows.append({name: values[name] for name in selected})
        if problem := row_problem(rows[-1], rows[0], column_roles):
            raise error_at(source, record, problem)
    if not rows:
        raise InputError(f"{data} has no rows")
    return rows
