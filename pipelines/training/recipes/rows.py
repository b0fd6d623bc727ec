"""Training rows from files, mined folders and `datasets`, with the columns that losses read."""

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

    from pipelines.mining.from_collection import read_mined

    is_mined = Path(data).is_dir() and next(Path(data).glob("part-*.parquet"), None) is not None
    if not is_mined:
        return Dataset.from_list(_records(data, split, columns))
    rows = read_mined(data)
    return rows.select_columns(_chosen(data, columns, rows.column_names))


def without_ids(names: Sequence[str]) -> list[str]:
    """Give the columns but those of ids: "id", and "x_id" beside "x"."""
    ids = {"id", "_id", *(name for name in names if name.endswith("_id") and name.removesuffix("_id") in names)}
    return [name for name in names if name not in ids]


def _chosen(data: str | Path, columns: Sequence[str] | None, there: Sequence[str]) -> list[str]:
    lost = [name for name in columns or () if name not in there]
    if lost:
        raise InputError(f"{data} has no column {lost[0]!r}: it has {', '.join(there)}")
    return list(columns) if columns else without_ids(there)


def _records(data: str | Path, split: str | None, columns: Sequence[str] | None) -> list[dict[str, Any]]:
    source = open_source(data, stem="train", split=split)
    rows: list[dict[str, Any]] = []
    fields: set[str] = set()
    for record in source.records():
        if record.problem:
            raise error_at(source, record, record.problem)
        values = dict(record.values)
        if not rows:
            fields, chosen = set(values), _chosen(data, columns, list(values))
            found = roles(chosen, str(data))
        elif set(values) != fields:
            raise error_at(
                source, record, f"its fields are {', '.join(values)}, those of the first {', '.join(chosen)}"
            )
        for name in LABELS:
            if isinstance(values.get(name), str):
                values[name] = _number(
                    values[name], error_at(source, record, f"the {name} {values[name]!r} is no number")
                )
        rows.append({name: values[name] for name in chosen})
        problem = row_problem(rows[-1], rows[0], found)
        if problem:
            raise error_at(source, record, problem)
    if not rows:
        raise InputError(f"{data} holds no rows")
    return rows


def _number(text: str, problem: InputError) -> float:
    try:
        return float(text)
    except ValueError:
        raise problem from None
