"""Training data: rows checked and cut into tokens once, batches made from row numbers."""

from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset, IterableDataset
from tqdm import tqdm

from indexing.errors import InputError
from pipelines.training.model import EmbeddingModel, ScoringModel
from pipelines.training.roles import Prompts, Roles, Routes, column_prompts, column_routes, roles, row_problem
from retrieve.encoders.batching import Tokens

Batch: TypeAlias = dict[str, Any]
"""``columns``: the features of each input column (or, for a cross-encoder, its texts); ``labels``; ``dataset``."""

Rows: TypeAlias = Any
"""A `datasets.Dataset`, or a list of dicts with the same keys."""

_TOKENIZED_AT_ONCE = 8192


@dataclass(frozen=True, slots=True)
class _Column:
    """A column's different texts cut into tokens, and which of them stands in each row."""

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
        Who tokenises; a cross-encoder reads texts in pairs, which are cut into tokens batch by batch.
    name
        Of the dataset among several.
    prompts, routes
        See `roles`.

    Raises
    ------
    InputError
        Naming the row and column that is no text, or whose label is missing.
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
    ) -> None:
        self.name, self.roles, columns = name, *read_columns(data, name)
        self.length, self._model = len(next(iter(columns.values()))), model
        self.labels = columns.get(self.roles.label) if self.roles.label else None
        self._texts = {column: columns[column] for column in self.roles.inputs}
        self._columns: list[_Column] = []
        if isinstance(model, EmbeddingModel):
            text_prompts = column_prompts(prompts, self.roles.inputs, name)
            tasks = column_routes(routes, self.roles.inputs, name)
            for column in tqdm(self.roles.inputs, desc="tokenizing", unit="column", disable=not show_progress):
                self._columns.append(self._tokenized(model, column, tasks[column], text_prompts[column]))

    def __len__(self) -> int:
        return self.length

    def values(self) -> list[tuple[Hashable, ...]]:
        """Give the texts of each row, for the sampler that keeps equal ones apart."""
        columns = [self._texts[column] for column in self.roles.inputs]
        return [
            tuple(text for value in row for text in ([value] if isinstance(value, str) else value))
            for row in zip(*columns, strict=True)
        ]

    def __getitem__(self, row: int) -> Batch:
        return self.__getitems__([row])

    def __getitems__(self, rows: Sequence[int]) -> Batch:
        """Give the batch of these rows: what a `DataLoader` asks for."""
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

    def _tokenized(self, model: EmbeddingModel, column: str, task: str | None, prompt: str) -> _Column:
        for row, text in enumerate(self._texts[column]):
            if not isinstance(text, str):
                raise InputError(
                    f"{'the training data' if self.name is None else repr(self.name)}, row {row} (from 0), column "
                    f"{column!r} holds a list: an encoder reads one text a column, so give each its own column"
                )
        known: dict[str, int] = {}
        codes = np.fromiter((known.setdefault(text, len(known)) for text in self._texts[column]), np.int64, self.length)
        texts = list(known)
        parts = [
            model.tokenize(texts[low : low + _TOKENIZED_AT_ONCE], task=task, prompt=prompt)
            for low in range(0, len(texts), _TOKENIZED_AT_ONCE)
        ]
        return _Column(texts, codes, joined(parts), task)


class StreamedRows(IterableDataset[Batch]):
    """A dataset that is read as it comes, cut into tokens batch by batch.

    Parameters
    ----------
    data
        A `datasets.IterableDataset`, or any iterable of dicts that can be read again.
    batch_size
        Rows a batch.
    """

    def __init__(
        self,
        data: Iterable[Mapping[str, Any]],
        model: EmbeddingModel | ScoringModel,
        batch_size: int,
        *,
        prompts: Prompts = None,
        routes: Routes = None,
        drop_last: bool = False,
    ) -> None:
        self._data, self._model, self._batch_size = data, model, batch_size
        self._prompts, self._routes, self._drop_last = prompts, routes, drop_last

    def __iter__(self) -> Iterator[Batch]:
        some: list[Mapping[str, Any]] = []
        for row in self._data:
            some.append(row)
            if len(some) == self._batch_size:
                yield self._batch(some)
                some = []
        if some and not self._drop_last:
            yield self._batch(some)

    def _batch(self, some: list[Mapping[str, Any]]) -> Batch:
        rows = TrainingRows(some, self._model, prompts=self._prompts, routes=self._routes, show_progress=False)
        return rows.__getitems__(range(len(some)))


class SeveralDatasets(Dataset[Batch]):
    """Datasets one behind another; each batch is of rows of one of them."""

    def __init__(self, datasets: Sequence[TrainingRows]) -> None:
        self.datasets = list(datasets)
        self._ends = np.array(list(accumulate(map(len, self.datasets))))

    def __len__(self) -> int:
        return int(self._ends[-1])

    def __getitems__(self, rows: Sequence[int]) -> Batch:
        """Give the batch of these rows."""
        at = int(np.searchsorted(self._ends, rows[0], side="right"))
        start = int(self._ends[at]) - len(self.datasets[at])
        return self.datasets[at].__getitems__([row - start for row in rows])


def read_columns(data: Rows, name: str | None = None) -> tuple[Roles, dict[str, list[Any]]]:
    """Give a dataset's roles and its columns as lists, checked.

    Raises
    ------
    InputError
        When it is empty, or a row lacks a column, or a value is no text (or list of texts), or a label is missing.
    """
    called = "the training data" if name is None else f"the dataset {name!r}"
    if len(data) == 0:
        raise InputError(f"{called} has no rows")
    names = list(data.column_names) if hasattr(data, "column_names") else list(data[0])
    found = roles(names, called)
    if hasattr(data, "column_names"):
        columns = {column: list(data[column]) for column in names}
    else:
        for row, values in enumerate(data):
            if list(values) != names:
                raise InputError(
                    f"{called}, row {row} (from 0): its columns are {list(values)}, those of row 0 {names}"
                )
        columns = {column: [values[column] for values in data] for column in names}
    read = (*found.inputs, *([found.label] if found.label else []))
    by_row = [dict(zip(read, values, strict=True)) for values in zip(*(columns[name] for name in read), strict=True)]
    for row, values in enumerate(by_row):
        problem = row_problem(values, by_row[0], found)
        if problem:
            raise InputError(f"{called}, row {row} (from 0), {problem}")
    return found, columns


def as_labels(values: Sequence[Any]) -> Tensor | list[Tensor]:
    """Give labels as one tensor, or as a list of them where they are lists of different lengths."""
    if isinstance(values[0], Sequence | np.ndarray) and len({len(value) for value in values}) > 1:
        return [torch.as_tensor(value) for value in values]
    return torch.as_tensor(np.asarray(values)) if isinstance(values[0], np.ndarray) else torch.tensor(values)


def joined(parts: Sequence[Tokens]) -> Tokens:
    """Put the tokens of several runs of texts one behind another."""
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
    )
