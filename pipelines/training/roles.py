"""Which column of the data is what: inputs in their order, the label by its name; and the prompt of each input."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from indexing.errors import InputError

LABELS = ("label", "labels", "score", "scores")
RESERVED = ("dataset_name", "return_loss")

Prompts: TypeAlias = str | Mapping[str, str | Mapping[str, str]] | None
Routes: TypeAlias = Mapping[str, str | Mapping[str, str]] | None


@dataclass(frozen=True, slots=True)
class Roles:
    """The input columns, in the order of the data, and the label column, if there is one."""

    inputs: tuple[str, ...]
    label: str | None


def roles(columns: Sequence[str], name: str = "the training data") -> Roles:
    """Tell inputs from the label: the first of label, labels, score and scores; names of inputs do not matter.

    Raises
    ------
    InputError
        When a name is reserved, or there is no input.
    """
    reserved = [column for column in columns if column in RESERVED]
    if reserved:
        raise InputError(f"{name}: the column name {reserved[0]!r} is reserved: rename the column")
    label = next((column for column in LABELS if column in columns), None)
    inputs = tuple(column for column in columns if column != label)
    if not inputs:
        raise InputError(f"{name} has no column but the label {label!r}")
    return Roles(inputs, label)


def row_problem(row: Mapping[str, Any], first: Mapping[str, Any], found: Roles) -> str:
    """Say what is wrong with a row; "" when nothing is.

    Inputs are texts or lists of texts, in all rows alike. A label is a number or a list of them: as many as the lists
    of texts have entries, else as many as in the first row.
    """
    for column in found.inputs:
        value, is_list = row[column], isinstance(row[column], list)
        if not all(isinstance(text, str) for text in (value if is_list else [value])):
            return (
                f"column {column!r}: {repr(value)[:60]} is no text; a column of numbers that is the label must be "
                "named one of label, labels, score, scores"
            )
        if is_list != isinstance(first[column], list):
            kinds = ("a list", "a text") if is_list else ("a text", "a list")
            return f"column {column!r} holds {kinds[0]}, and that of the first row {kinds[1]}"
    if found.label is None:
        return ""
    label = row[found.label]
    numbers = list(label) if _several(label) else [label]
    if not all(isinstance(number, int | float | np.number) and np.isfinite(number) for number in numbers):
        return f"the label {found.label!r} is {repr(label)[:60]}: it must be a number, or a list of numbers"
    if _several(label) != _several(first[found.label]):
        return f"the label {found.label!r} is {repr(label)[:60]}, and that of the first row {first[found.label]!r}"
    listed = next((len(row[column]) for column in found.inputs if isinstance(row[column], list)), None)
    if _several(label) and len(numbers) != (len(first[found.label]) if listed is None else listed):
        wanted = f"those of the first row are {len(first[found.label])}" if listed is None else f"the texts {listed}"
        return f"the {found.label} are {len(numbers)}, and {wanted}"
    return ""


def _several(label: Any) -> bool:
    return isinstance(label, Sequence | np.ndarray) and not isinstance(label, str)


def column_prompts(prompts: Prompts, inputs: Sequence[str], dataset: str | None) -> dict[str, str]:
    """Give each input column its prompt.

    Parameters
    ----------
    prompts
        One for all; {column: prompt}; {dataset: prompt}; or {dataset: {column: prompt}}.
    inputs
        The columns.
    dataset
        The name of this dataset among several, else None.

    Raises
    ------
    InputError
        When a name is neither a column nor a dataset.
    """
    if prompts is None or isinstance(prompts, str):
        return dict.fromkeys(inputs, prompts or "")
    chosen = _of_dataset(prompts, dataset, "prompts", inputs)
    if isinstance(chosen, str):
        return dict.fromkeys(inputs, chosen)
    return {column: str(chosen.get(column) or "") for column in inputs}


def column_routes(routes: Routes, inputs: Sequence[str], dataset: str | None) -> dict[str, str | None]:
    """Give each input column its route through a model that has several; None for the model's default.

    Parameters
    ----------
    routes
        {column: route} or {dataset: {column: route}}.

    Raises
    ------
    InputError
        When a name is neither a column nor a dataset.
    """
    if not routes:
        return dict.fromkeys(inputs)
    chosen = _of_dataset(routes, dataset, "router_mapping", inputs)
    if isinstance(chosen, str):
        return dict.fromkeys(inputs, chosen)
    return {column: chosen.get(column) for column in inputs}


def _of_dataset(
    given: Mapping[str, Any], dataset: str | None, argument: str, inputs: Sequence[str]
) -> str | Mapping[str, str]:
    if dataset is not None and dataset in given:
        found: str | Mapping[str, str] = given[dataset]
        return found
    by_column = {name: value for name, value in given.items() if isinstance(value, str)}
    if dataset is None:
        unknown = [name for name in given if name not in inputs]
        if unknown:
            raise InputError(
                f"{argument} names {unknown[0]!r}, which is no input column: there are {', '.join(inputs)}"
            )
    return {name: value for name, value in by_column.items() if name in inputs}
