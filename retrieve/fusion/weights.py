"""Weights and other options by leg: checks, and values in the order of the legs."""

from collections.abc import Mapping, Sequence
from math import inf
from typing import TypeVar

import numpy as np

from indexing.errors import InputError
from indexing.hits import Hits
from indexing.plurals import counted

_T = TypeVar("_T")

Weights = Sequence[float] | Mapping[str, float]
"""One weight per leg, in the legs' order or by their names."""


def leg_name(hits: Hits, position: int) -> str:
    """Return a leg's name from its provenance (`Hits.as_leg`), or ``leg 1`` by its position."""
    return next(iter(hits.legs)) if len(hits.legs) == 1 else f"leg {position + 1}"


def by_leg(answers: Sequence[Hits], given: Mapping[str, _T] | Sequence[_T], option: str) -> list[_T]:
    """Return one value per leg, from a list in the legs' order or a mapping by name.

    Raises
    ------
    InputError
        For a wrong number of values, or names that are not those of the legs.
    """
    names = [leg_name(hits, position) for position, hits in enumerate(answers)]
    if not isinstance(given, Mapping):
        if len(given) != len(answers):
            raise InputError(
                f"there are {option} for {_legs(len(given))}, not for {_legs(len(answers))}: {', '.join(names)}"
            )
        return list(given)
    if set(given) != set(names):
        raise InputError(f"the {option} are for the legs {sorted(given)}, and the legs are {sorted(names)}")
    return [given[name] for name in names]


def _legs(count: int) -> str:
    return counted(count, "leg")


def check_numbers(given: object, option: str) -> None:
    """Raise InputError unless `given` is a list of numbers, or a mapping of names to numbers."""
    values = list(given.values()) if isinstance(given, Mapping) else given
    if isinstance(values, str | bytes) or not isinstance(values, Sequence | np.ndarray):
        raise InputError(f"{option} must be a list of numbers, or numbers by the names of the legs, not {given!r}")
    if any(isinstance(value, bool) or not isinstance(value, int | float | np.number) for value in values):
        raise InputError(f"{option} must be numbers: {given!r}")


def leg_values(answers: Sequence[Hits], given: Weights | None, option: str, *, default: float) -> list[float]:
    """Return one number per leg as `by_leg` does, or the default for each."""
    return [default] * len(answers) if given is None else [float(value) for value in by_leg(answers, given, option)]


def leg_weights(answers: Sequence[Hits], weights: Weights | None) -> list[float]:
    """Return one weight per leg, 1 each by default.

    Raises
    ------
    InputError
        For weights that do not fit the legs, a negative or NaN weight, or only zeros.
    """
    checked = leg_values(answers, weights, "weights", default=1.0)
    if not all(0 <= weight < inf for weight in checked) or not sum(checked):
        raise InputError(f"weights must be 0 or more, finite, and not all 0: {checked}")
    return checked
