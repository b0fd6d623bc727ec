"""What a card says about a dataset: its size, its columns, how long its texts are, three rows of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from pipelines.model_card.markdown import number, shown, table
from pipelines.training.roles import roles

ROWS_READ = 100
SAMPLES = 3


@dataclass(frozen=True, slots=True)
class DatasetFacts:
    """One dataset of a training run.

    Parameters
    ----------
    name
        Among several; empty for the only one.
    rows
        How many there are; None of a stream.
    columns
        Of each column {what: value}: its kind, and what it holds in the first rows.
    samples
        The first rows, column after column.
    """

    name: str
    rows: int | None
    columns: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    samples: Sequence[Sequence[str]] = ()

    def __str__(self) -> str:
        size = "streamed" if self.rows is None else f"{self.rows:,} rows"
        lines = [f"#### {shown(self.name)}\n" if self.name else "", f"* Size: {size}"]
        if self.columns:
            names = [shown(name) for name in self.columns]
            kinds = sorted({what for column in self.columns.values() for what in column}, key=_ORDER.index)
            rows = [[what, *(column.get(what, "") for column in self.columns.values())] for what in kinds]
            lines += [
                f"* Columns: {', '.join(names)}",
                f"* Of the first {min(ROWS_READ, self.rows or ROWS_READ)} rows:\n",
                table(["", *names], rows),
                "\n* Samples:\n",
                table(names, self.samples),
            ]
        return "\n".join(line for line in lines if line)


_ORDER = ["type", "tokens", "documents", "values"]


def dataset_facts(data: Any, model: Any, name: str = "") -> DatasetFacts:
    """Look at the first rows of a dataset.

    Parameters
    ----------
    data
        A `datasets.Dataset` or a list of dicts. Of a stream, which cannot be read twice, nothing is told.
    model
        Who cuts texts into tokens: `EmbeddingModel` or `ScoringModel`.
    """
    if not hasattr(data, "__len__"):
        return DatasetFacts(name, None)
    rows = [data[at] for at in range(min(len(data), ROWS_READ))]
    if not rows:
        return DatasetFacts(name, 0)
    label = roles(list(rows[0])).label
    columns = {
        column: _numbers([row[column] for row in rows]) if column == label else _texts([r[column] for r in rows], model)
        for column in rows[0]
    }
    samples = [[_cell(value) for value in row.values()] for row in rows[:SAMPLES]]
    return DatasetFacts(name, len(data), columns, samples)


def _texts(values: Sequence[Any], model: Any) -> dict[str, str]:
    lists = not isinstance(values[0], str)
    texts = [text for value in values for text in value] if lists else list(values)
    told = {"type": "list of texts" if lists else "text"}
    if lists:
        told["documents"] = _spread([len(value) for value in values])
    if texts:
        told["tokens"] = _spread(model.encoder.engine.input.tokenize(texts).lengths.tolist())
    return told


def _numbers(values: Sequence[Any]) -> dict[str, str]:
    lists = hasattr(values[0], "__len__")
    flat = [float(one) for value in values for one in np.ravel(value)]
    told = {"type": "list of numbers" if lists else "number"}
    if lists:
        told["documents"] = _spread([len(value) for value in values])
    different = sorted(set(flat))
    if flat and len(different) <= 4:
        told["values"] = "<br>".join(f"{number(value)}: {flat.count(value) / len(flat):.1%}" for value in different)
    elif flat:
        told["values"] = _spread(flat)
    return told


def _spread(values: Sequence[float]) -> str:
    mean = sum(values) / len(values)
    return f"min: {number(min(values))}<br>mean: {mean:.2f}<br>max: {number(max(values))}"


def _cell(value: Any) -> str:
    if isinstance(value, str):
        return shown(value)
    if isinstance(value, Sequence):
        return "<br>".join(_cell(part) for part in value[:4]) + ("<br>…" if len(value) > 4 else "")
    return number(float(value))
