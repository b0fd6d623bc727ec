"""Roles of the columns of training data: inputs in their order, the label by its name; prompts and routes of inputs."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from indexing.errors import InputError
from indexing.plurals import counted

if TYPE_CHECKING:
    from retrieve.encoders.base import Task

LABELS = ("label", "labels", "score", "scores")
RESERVED = ("dataset_name", "return_loss")

Prompts: TypeAlias = str | Mapping[str, str | Mapping[str, str]] | None
Routes: TypeAlias = Mapping[str, str | Mapping[str, str]] | None


@dataclass(frozen=True, slots=True)
class Roles:
    """The input columns, in the order of the data, and the label column, if any."""

    inputs: tuple[str, ...]
    label: str | None


def roles(columns: Sequence[str], name: str = "the training data") -> Roles:
    """Return the roles of columns: the label is the first of label, labels, score, scores; all others are inputs.

    Raises
    ------
    InputError
        If a name is reserved, or there is no input.
    """
    if reserved := [column for column in columns if column in RESERVED]:
        raise InputError(f"{name}: the column name {reserved[0]!r} is reserved: rename the column")
    label = next((column for column in LABELS if column in columns), None)
    inputs = tuple(column for column in columns if column != label)
    if not inputs:
        raise InputError(f"{name} has no column except the label {label!r}")
    return Roles(inputs, label)


def task_of_column(position: int) -> "Task":
    """Return the task of an input column by its position: the first one holds queries, the others documents."""
    return "document" if position else "query"


def row_problem(row: Mapping[str, Any], first: Mapping[str, Any], column_roles: Roles) -> str:
    """Return what is wrong with a row, "" if nothing is.

    An input is a text or a list of texts, the same in all rows; no text is empty or blank. A label is a number or a
    list of numbers: one for each entry of the lists of texts, or as many as in the first row if no input is a list.
    """
    for column in column_roles.inputs:
        value, is_list = row[column], isinstance(row[column], list)
        if not all(isinstance(text, str) for text in (value if is_list else [value])):
            return (
                f"column {column!r}: {repr(value)[:60]} is not text; a label column must be named label, labels, score "
                "or scores"
            )
        if is_list and not value:
            return f"column {column!r} holds an empty list: a row needs a text in each column"
        if empty := next((repr(text) for text in (value if is_list else [value]) if not _visible(text)), ""):
            return f"column {column!r} holds an empty text, {empty[:60]}: leave the row out or fill it in"
        if is_list != isinstance(first[column], list):
            kinds = ("a list", "a text") if is_list else ("a text", "a list")
            return f"column {column!r} holds {kinds[0]}, but in the first row it holds {kinds[1]}"
    name = column_roles.label
    if name is None:
        return ""
    label, first_label = row[name], first[name]
    numbers = list(label) if _is_list(label) else [label]
    if not all(isinstance(number, int | float | np.number) and np.isfinite(number) for number in numbers):
        return f"the label {name!r} is {repr(label)[:60]}: it must be a number, or a list of numbers"
    if _is_list(label) != _is_list(first_label):
        return f"the label {name!r} is {repr(label)[:60]}, but in the first row it is {first_label!r}"
    texts = next((len(row[column]) for column in column_roles.inputs if isinstance(row[column], list)), None)
    if _is_list(label) and len(numbers) != (len(first_label) if texts is None else texts):
        expected = (
            f"in the first row it has length {len(first_label)}"
            if texts is None
            else f"there are {counted(texts, 'text')}"
        )
        return f"the label {name!r} has length {len(numbers)}, but {expected}"
    return ""


def _visible(text: str) -> str:
    return text.strip().strip("\u200b\u200c\u200d\u2060\ufeff").strip()


def _is_list(label: Any) -> bool:
    return isinstance(label, Sequence | np.ndarray) and not isinstance(label, str)


def column_prompts(prompts: Prompts, inputs: Sequence[str], dataset: str | None) -> dict[str, str]:
    """Return the prompt of each input column.

    Parameters
    ----------
    prompts
        One for all; {column: prompt}; {dataset: prompt}; or {dataset: {column: prompt}}.
    inputs
        The columns.
    dataset
        The name of this dataset if there are several, else None.

    Raises
    ------
    InputError
        If a name is neither a column nor a dataset.
    """
    if prompts is None or isinstance(prompts, str):
        return dict.fromkeys(inputs, prompts or "")
    chosen = _of_dataset(prompts, dataset, "prompts", inputs)
    if isinstance(chosen, str):
        return dict.fromkeys(inputs, chosen)
    return {column: str(chosen.get(column) or "") for column in inputs}


def column_routes(routes: Routes, inputs: Sequence[str], dataset: str | None) -> dict[str, str | None]:
    """Return the route of each input column through a model with a router; None for the model's default.

    Parameters
    ----------
    routes
        {column: route} or {dataset: {column: route}}.

    Raises
    ------
    InputError
        If a name is neither a column nor a dataset.
    """
    if not routes:
        return dict.fromkeys(inputs)
    chosen = _of_dataset(routes, dataset, "router_mapping", inputs)
    if isinstance(chosen, str):
        return dict.fromkeys(inputs, chosen)
    return {column: chosen.get(column) for column in inputs}


def _of_dataset(
    by_name: Mapping[str, Any], dataset: str | None, argument: str, inputs: Sequence[str]
) -> str | Mapping[str, str]:
    """Return the values of one dataset: one for all columns, or {column: value}."""
    if dataset is not None and dataset in by_name:
        values: str | Mapping[str, str] = by_name[dataset]
        return values
    by_column = {name: value for name, value in by_name.items() if isinstance(value, str)}
    if dataset is None and (unknown := [name for name in by_name if name not in inputs]):
        raise InputError(
            f"{argument} names {unknown[0]!r}, which is not an input column: there are {', '.join(inputs)}"
        )
    nested = [name for name, value in by_name.items() if name in inputs and isinstance(value, Mapping)]
    if nested:
        raise InputError(f"{argument}: the value of the column {nested[0]!r} must be a text, not {by_name[nested[0]]}")
    return {name: value for name, value in by_column.items() if name in inputs}


def check_names(argument: str, by_name: Any, columns: Mapping[str, Sequence[str]], others: Iterable[str]) -> None:
    """Raise an `InputError` for a name in values by name that is neither a dataset nor a column of one.

    Parameters
    ----------
    argument
        Name of the argument, for the message.
    by_name
        The values; anything but a mapping is accepted.
    columns
        The columns of each training dataset, by its name.
    others
        Names of held-out datasets.
    """
    if not isinstance(by_name, Mapping):
        return
    known, everywhere = {*columns, *others}, {column for own in columns.values() for column in own}
    for name, value in by_name.items():
        if name not in known and name not in everywhere:
            raise InputError(
                f"{argument} names {name!r}, which is neither a dataset ({', '.join(sorted(known))}) nor a column "
                f"({', '.join(sorted(everywhere))})"
            )
        if name not in known and isinstance(value, Mapping):
            raise InputError(f"{argument}: the value of the column {name!r} must be a text, not {value}")
        inner = value if name in columns and isinstance(value, Mapping) else {}
        if unknown := [column for column in inner if column not in columns[name]]:
            raise InputError(
                f"{argument} names the column {unknown[0]!r} of the dataset {name!r}, which has "
                f"{', '.join(columns[name])}"
            )
