"""The legs' weights: checked, and put into the order of the legs."""

from collections.abc import Mapping, Sequence
from math import inf
from typing import TypeVar

import numpy as np

from indexing.errors import InputError
from indexing.hits import Hits

_T = TypeVar("_T")

Weights = Sequence[float] | Mapping[str, float]
"""One weight for each leg: in the legs' order, or by their names."""


def leg_name(hits: Hits, place: int) -> str:
    """Name a leg as its provenance does (`Hits.as_leg`), else by its place."""
    return next(iter(hits.legs)) if len(hits.legs) == 1 else f"leg {place + 1}"


def by_leg(answers: Sequence[Hits], given: Mapping[str, _T] | Sequence[_T], what: str) -> list[_T]:
    """Give one value a leg, from a list in the legs' order or from values by name.

    Raises
    ------
    InputError
        Another number of values than legs, or names that are not the legs'.
    """
    names = [leg_name(hits, place) for place, hits in enumerate(answers)]
    if not isinstance(given, Mapping):
        if len(given) != len(answers):
            raise InputError(
                f"there are {what} for {_legs(len(given))}, not for {_legs(len(answers))}: {', '.join(names)}"
            )
        return list(given)
    if set(given) != set(names):
        raise InputError(f"the {what} are for the legs {sorted(given)}, and the legs are {sorted(names)}")
    return [given[name] for name in names]


def _legs(count: int) -> str:
    return "1 leg" if count == 1 else f"{count} legs"


def check_numbers(given: object, what: str) -> None:
    """Raise InputError unless these are numbers in a list, or by the names of legs."""
    values = list(given.values()) if isinstance(given, Mapping) else given
    if isinstance(values, str | bytes) or not isinstance(values, Sequence | np.ndarray):
        raise InputError(f"{what} must be a list of numbers, or numbers by the names of the legs, not {given!r}")
    if any(isinstance(value, bool) or not isinstance(value, int | float | np.number) for value in values):
        raise InputError(f"{what} must be numbers: {given!r}")


def leg_weights(answers: Sequence[Hits], weights: Weights | None) -> list[float]:
    """Give one weight a leg, 1 each by default.

    Raises
    ------
    InputError
        Weights that do not fit the legs, a negative or NaN weight, or only zeros.
    """
    if weights is None:
        return [1.0] * len(answers)
    checked = [float(weight) for weight in by_leg(answers, weights, "weights")]
    if not all(0 <= weight < inf for weight in checked) or not sum(checked):
        raise InputError(f"weights must be 0 or more, finite, and not all 0: {checked}")
    return checked
