"""Training data: rows are validated and tokenized once, and batches are made from row numbers."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from indexing.errors import InputError
from indexing.progress import progress
from pipelines.mining.positives import numbered
from pipelines.training.model import EmbeddingModel, ScoringModel
from pipelines.training.roles import Prompts, Roles, Routes, column_prompts, column_routes, roles, row_problem
from retrieve.encoders.batching import Tokens

Batch: TypeAlias = dict[str, Any]
"""``columns``: the features of each input column (for a cross-encoder, its texts); ``labels``; ``dataset``."""

Rows: TypeAlias = Any
"""A `datasets.Dataset`, or a list of dicts with the same keys."""

_TEXTS_AT_ONCE = 8192


@dataclass(frozen=True, slots=True)
class _Column:
    """The distinct texts of a column with their tokens, and the number of the text of each row."""

    texts: list[str]
    codes: NDArray[np.int64]
    tokens: Tokens
    task: str | None


class TrainingRows(Dataset[Batch]):
    """A dataset in memory, whose batches are made from row numbers.

    Parameters
    ----------
    data
        See `Rows`.
    model
        An embedding model tokenizes all texts now; a cross-encoder tokenizes pairs batch by batch.
    name
        Name of the dataset, if there are several.
    prompts, routes
        See `column_prompts` and `column_routes`.
    first_row
        Number of the first row, for the messages: the rows may be a part of a stream.

    Raises
    ------
    InputError
        Naming the row and column, for a value that is not text or a missing label.
    """

    def __init__(
        self,
        data: Rows,
        model: EmbeddingModel | ScoringModel,
        *,
        name: str | None = None,
        prompts: Prompts = None,
        routes: Routes = None,
        show_progress: bool = True,
        first_row: int = 0,
    ) -> None:
        self._first_row = first_row
        self.name, self.roles, columns = name, *read_columns(data, name, first_row)
        self.length, self._model = len(next(iter(columns.values()))), model
        self.labels = columns.get(self.roles.label) if self.roles.label else None
        self._texts = {column: columns[column] for column in self.roles.inputs}
        self._columns: list[_Column] = []
        if isinstance(model, EmbeddingModel):
            text_prompts = column_prompts(prompts, self.roles.inputs, name)
            tasks = column_routes(routes, self.roles.inputs, name)
            inputs = progress(self.roles.inputs, desc="tokenizing", unit="column", disable=not show_progress)
            for position, column in enumerate(inputs):
                task = model.task_of(position, tasks[column])
                self._columns.append(self._tokenize(model, column, task, text_prompts[column]))

    def __len__(self) -> int:
        return self.length

    def values(self) -> list[tuple[Hashable, ...]]:
        """Return the texts of each row, for the sampler that puts equal texts into different batches."""
        columns = [self._texts[column] for column in self.roles.inputs]
        return [
            tuple(text for value in row for text in ([value] if isinstance(value, str) else value))
            for row in zip(*columns, strict=True)
        ]

    def first(self, count: int) -> Batch:
        """Return the first rows, at most `count`, as a batch."""
        return self.__getitems__(range(min(len(self), count)))

    def distinct_texts(self, column: int) -> int:
        """Return the number of distinct texts of an input column."""
        return len({str(text) for text in self._texts[self.roles.inputs[column]]})

    def __getitem__(self, row: int) -> Batch:
        return self.__getitems__([row])

    def __getitems__(self, rows: Sequence[int]) -> Batch:
        """Return the batch of these rows; `DataLoader` calls this."""
        chosen = np.asarray(rows, dtype=np.int64)
        labels = None if self.labels is None else as_labels([self.labels[row] for row in rows])
        columns: list[Any]
        if isinstance(self._model, EmbeddingModel):
            columns = [
                self._model.column(
                    column.tokens,
                    column.codes[chosen],
                    [column.texts[code] for code in column.codes[chosen]],
                    column.task,
                )
                for column in self._columns
            ]
        else:
            columns = [[self._texts[column][row] for row in rows] for column in self.roles.inputs]
        return {"columns": columns, "labels": labels, "dataset": self.name}

    def _tokenize(self, model: EmbeddingModel, column: str, task: str | None, prompt: str) -> _Column:
        for row, text in enumerate(self._texts[column]):
            if not isinstance(text, str):
                where = "the training data" if self.name is None else repr(self.name)
                raise InputError(
                    f"{where}, row {self._first_row + row:,} (from 0), column {column!r} holds a list: an encoder "
                    "reads one text per column, so give each its own column"
                )
        texts, codes = numbered(self._texts[column])
        parts = [
            model.tokenize(texts[low : low + _TEXTS_AT_ONCE], task=task, prompt=prompt)
            for low in range(0, len(texts), _TEXTS_AT_ONCE)
        ]
        return _Column(texts, codes, concatenate_tokens(parts), task)


class MultiDatasetRows(Dataset[Batch]):
    """Concatenated datasets; all rows of a batch are of one of them."""

    def __init__(self, datasets: Sequence[TrainingRows]) -> None:
        self.datasets = list(datasets)
        self._ends = np.array(list(accumulate(map(len, self.datasets))))

    def __len__(self) -> int:
        return int(self._ends[-1])

    def __getitems__(self, rows: Sequence[int]) -> Batch:
        """Return the batch of these rows."""
        number = int(np.searchsorted(self._ends, rows[0], side="right"))
        start = int(self._ends[number]) - len(self.datasets[number])
        return self.datasets[number].__getitems__([row - start for row in rows])


def read_columns(data: Rows, name: str | None = None, first_row: int = 0) -> tuple[Roles, dict[str, list[Any]]]:
    """Return the roles and the validated columns of a dataset, whose first row has the number `first_row`.

    Raises
    ------
    InputError
        If the dataset is empty, a row lacks a column, a value is not text (or a list of texts), or a label is missing.
    """
    where = "the training data" if name is None else f"the dataset {name!r}"
    if len(data) == 0:
        raise InputError(f"{where} has no rows")
    if not hasattr(data, "column_names"):
        names = list(data[0])
        for row, values in enumerate(data):
            if list(values) != names:
                raise InputError(
                    f"{where}, row {first_row + row:,} (from 0): its columns are {list(values)}, those of row "
                    f"{first_row:,} {names}"
                )
        columns = {column: [values[column] for values in data] for column in names}
    else:
        columns = {column: list(data[column]) for column in data.column_names}
    column_roles = roles(list(columns), where)
    read = (*column_roles.inputs, *([column_roles.label] if column_roles.label else []))
    rows = [dict(zip(read, values, strict=True)) for values in zip(*(columns[name] for name in read), strict=True)]
    for row, values in enumerate(rows):
        if problem := row_problem(values, rows[0], column_roles):
            raise InputError(f"{where}, row {first_row + row:,} (from 0), {problem}")
    return column_roles, columns


def as_labels(values: Sequence[Any]) -> Tensor | list[Tensor]:
    """Return labels as one tensor, or as a list of tensors if they are lists of different lengths."""
    if isinstance(values[0], Sequence | np.ndarray) and len({len(value) for value in values}) > 1:
        return [torch.as_tensor(value) for value in values]
    return torch.as_tensor(np.asarray(values)) if isinstance(values[0], np.ndarray) else torch.tensor(values)


def concatenate_tokens(parts: Sequence[Tokens]) -> Tokens:
    """Concatenate the tokens of several blocks of texts."""
    first = parts[0]
    lengths = np.concatenate([part.lengths for part in parts])
    return Tokens(
        ids=np.concatenate([part.ids for part in parts]),
        offsets=np.concatenate(([0], np.cumsum(lengths))),
        type_ids=None
        if first.type_ids is None
        else np.concatenate([part.type_ids for part in parts if part.type_ids is not None]),
        pad_id=first.pad_id,
        pad_left=first.pad_left,
        prompt_length=first.prompt_length,
        attended=None
        if first.attended is None
        else np.concatenate([part.attended for part in parts if part.attended is not None]),
    )
