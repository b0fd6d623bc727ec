"""Facts about a training dataset: size, columns, lengths of texts and sample rows."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from indexing.plurals import counted
from pipelines.model_card.markdown import number, shown, table

ROWS_READ = 100
"""Rows that statistics are computed from."""
SAMPLES = 3
"""Rows shown."""


@dataclass(frozen=True, slots=True)
class DatasetFacts:
    """Facts about one dataset of a training run.

    Parameters
    ----------
    name
        Name among several datasets; empty for a single one.
    rows
        Number of rows; None for a stream.
    columns
        {column: {fact: value}}: its type, and statistics of the first rows.
    samples
        The cells of the first rows.
    """

    name: str
    rows: int | None
    columns: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    samples: Sequence[Sequence[str]] = ()

    def __str__(self) -> str:
        size = "streamed" if self.rows is None else counted(self.rows, "row")
        lines = [f"#### {shown(self.name)}\n" if self.name else "", f"* Size: {size}"]
        if self.columns:
            names = [shown(name) for name in self.columns]
            facts = sorted({fact for column in self.columns.values() for fact in column}, key=_ORDER.index)
            rows = [[fact, *(column.get(fact, "") for column in self.columns.values())] for fact in facts]
            lines += [
                f"* Columns: {', '.join(names)}",
                f"* Of the first {counted(min(ROWS_READ, self.rows or ROWS_READ), 'row')}:\n",
                table(["", *names], rows),
                "\n* Samples:\n",
                table(names, self.samples),
            ]
        return "\n".join(line for line in lines if line)


_ORDER = ["type", "tokens", "documents", "values"]


def dataset_facts(
    data: Any, model: Any, label_of: Callable[[Sequence[str]], str | None], name: str = ""
) -> DatasetFacts:
    """Return facts about a dataset from its first rows.

    Parameters
    ----------
    data
        A `datasets.Dataset` or a list of dicts. A stream, which cannot be read twice, has no facts but its name.
    model
        `EmbeddingModel` or `ScoringModel`, whose tokenizer counts tokens.
    label_of
        Function that returns which of a dataset's columns is the label, or None without one.
    """
    if not hasattr(data, "__len__"):
        return DatasetFacts(name, None)
    rows = [data[at] for at in range(min(len(data), ROWS_READ))]
    if not rows:
        return DatasetFacts(name, 0)
    label = label_of(list(rows[0]))
    columns = {
        column: _numbers([row[column] for row in rows]) if column == label else _texts([r[column] for r in rows], model)
        for column in rows[0]
    }
    samples = [[_cell(value) for value in row.values()] for row in rows[:SAMPLES]]
    return DatasetFacts(name, len(data), columns, samples)


def _texts(values: Sequence[Any], model: Any) -> dict[str, str]:
    lists = not isinstance(values[0], str)
    texts = [text for value in values for text in value] if lists else list(values)
    facts = _type_facts("text", values, lists)
    if texts:
        facts["tokens"] = _range(model.encoder.engine.input.tokenize(texts).lengths.tolist())
    return facts


def _numbers(values: Sequence[Any]) -> dict[str, str]:
    flat = [float(label) for value in values for label in np.ravel(value)]
    facts = _type_facts("number", values, hasattr(values[0], "__len__"))
    different = sorted(set(flat))
    if flat and len(different) <= 4:
        facts["values"] = "<br>".join(f"{number(value)}: {flat.count(value) / len(flat):.1%}" for value in different)
    elif flat:
        facts["values"] = _range(flat)
    return facts


def _type_facts(kind: str, values: Sequence[Any], lists: bool) -> dict[str, str]:
    return (
        {"type": f"list of {kind}s", "documents": _range([len(value) for value in values])} if lists else {"type": kind}
    )


def _range(values: Sequence[float]) -> str:
    mean = sum(values) / len(values)
    return f"min: {number(min(values))}<br>mean: {mean:.2f}<br>max: {number(max(values))}"


def _cell(value: Any) -> str:
    if isinstance(value, str):
        return shown(value)
    if isinstance(value, Sequence):
        return "<br>".join(_cell(part) for part in value[:4]) + ("<br>…" if len(value) > 4 else "")
    return number(float(value))
