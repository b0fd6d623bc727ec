"""Which column of the data is what: inputs in their order, the label by its name; and the prompt of each input."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

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
