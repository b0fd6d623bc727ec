"""Arguments of evaluators: aligned lists of texts, pairs, labels and scores. What does not fit is an InputError."""

from collections.abc import Mapping, Sequence, Sized
from typing import Any

import numpy as np
from numpy.typing import NDArray

from indexing import inputs
from indexing.errors import InputError


def same_length(first: Sized, second: Sized) -> None:
    """Raise InputError for lists that are empty or differ in length."""
    if len(first) != len(second):
        raise InputError(f"aligned lists have {len(first)} and {len(second)} entries")
    if not len(first):
        raise InputError("cannot evaluate: the lists are empty")


def aligned_texts(**columns: Any) -> list[list[str]]:
    """Return lists of texts by the names of their arguments, as many texts in each.

    Raises
    ------
    InputError
        As `indexing.inputs.texts`, and as `same_length`.
    """
    checked = [inputs.texts(values, name) for name, values in columns.items()]
    for column in checked:
        same_length(checked[0], column)
    return checked


def text_pairs(values: Any, name: str) -> list[tuple[str, str]]:
    """Return pairs of texts; an InputError names the position of what is none."""
    pairs = []
    for place, pair in enumerate(inputs.listed(values, name, "pairs of texts")):
        one, other = pair if isinstance(pair, Sequence) and not isinstance(pair, str) and len(pair) == 2 else (0, 0)
        if not (isinstance(one, str) and isinstance(other, str)):
            raise InputError(f"{name}: number {place} (from 0) must be two texts, not {inputs.shown(pair)}")
        pairs.append((one, other))
    return pairs


def scores_of(values: Any, name: str) -> NDArray[np.float64]:
    """Return real numbers, one a row; an InputError names the position of what is none."""
    return np.array([inputs.number(value, f"{name}: number {place} (from 0)") for place, value in _items(values, name)])


def labels_of(values: Any, name: str) -> NDArray[np.int64]:
    """Return whole numbers, one a row, given as numbers of any type; an InputError names the position of another."""
    found = []
    for place, value in _items(values, name):
        label = inputs.number(int(value) if isinstance(value, bool) else value, f"{name}: number {place} (from 0)")
        if label != int(label):
            raise InputError(f"{name}: number {place} (from 0) must be a whole number, not {value}")
        found.append(int(label))
    return np.array(found, np.int64)


def texts_by_id(values: Any, name: str) -> dict[Any, str]:
    """Return texts by their ids; an InputError refuses all else."""
    if not isinstance(values, Mapping):
        raise InputError(f"{name} must be texts by id, not {inputs.shown(values)}")
    return {key: inputs.text(value, f"{name}[{key!r}]") for key, value in values.items()}


def rows_of(values: Any, name: str) -> list[Mapping[str, Any]]:
    """Return dictionaries, given as a list or by key; an InputError names the position of what is none."""
    rows = list(values.values() if isinstance(values, Mapping) else inputs.listed(values, name, "dictionaries"))
    for place, row in enumerate(rows):
        if not isinstance(row, Mapping):
            raise InputError(f"{name}: number {place} (from 0) must be a dictionary, not {inputs.shown(row)}")
    return rows


def _items(values: Any, name: str) -> list[tuple[int, Any]]:
    given = inputs.listed(values, name, "numbers")
    listed = given.tolist() if hasattr(given, "tolist") else list(given)
    return list(enumerate(value.item() if hasattr(value, "item") else value for value in listed))
