"""Measures as values, by ir-measures' names: ``nDCG@10``, ``AP(rel=2)@100``, ``RR@10``, ``RBP(p=0.9)``.

This module parses and describes measures; `pipelines.measures.formulas` computes them.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from indexing.errors import InputError
from pipelines.measures import formulas
from pipelines.measures.formulas import PerQuery
from pipelines.measures.qrels import Judged

Option = int | float | bool | str


@dataclass(frozen=True, slots=True)
class Kind:
    """Definition of a measure: its name, formula and options.

    Parameters
    ----------
    name
        ir-measures' spelling.
    formula
        Function of the judged hits, ``k`` where there is a cutoff, and `options` by name.
    cutoff
        Whether ``@k`` is required, optional or not allowed.
    options
        Accepted options with their defaults; None is a default that cannot be written.
    """

    name: str
    formula: Callable[..., PerQuery]
    cutoff: Literal["needed", "optional", "none"]
    options: Mapping[str, Option | None]


_BINARY: dict[str, Option | None] = {"rel": 1, "judged_only": False}

KINDS = (
    Kind("nDCG", formulas.ndcg, "optional", {"dcg": "log2", "judged_only": False}),
    Kind("AP", formulas.average_precision, "optional", _BINARY),
    Kind("RR", formulas.reciprocal_rank, "optional", _BINARY),
    Kind("R", formulas.recall, "optional", _BINARY),
    Kind("P", formulas.precision, "needed", _BINARY),
    Kind("Success", formulas.success, "needed", _BINARY),
    Kind("Rprec", formulas.r_precision, "none", _BINARY),
    Kind("Bpref", formulas.binary_preference, "none", {"rel": 1}),
    Kind("Judged", formulas.judged_rate, "optional", {}),
    Kind("RBP", formulas.rank_biased_precision, "optional", {"p": 0.8, "rel": None}),
    Kind("ERR", formulas.expected_reciprocal_rank, "optional", {}),
)
"""All measures."""

_ALIASES = {"map": "ap", "mrr": "rr", "recall": "r", "precision": "p"}
_BY_NAME = {kind.name.lower(): kind for kind in KINDS}
_BY_NAME |= {alias: _BY_NAME[name] for alias, name in _ALIASES.items()}

_MEASURE = re.compile(r"(?P<name>[a-z]+)(?:\((?P<options>[^()]*)\))?(?:@(?P<k>[1-9][0-9]*))?")
_DCG = ("log2", "exp-log2")


@dataclass(frozen=True, slots=True)
class Measure:
    """A measure with its cutoff and options, as a value.

    Parameters
    ----------
    name
        ir-measures' name, as in `KINDS`.
    k
        Number of ranks to score; None for all.
    options
        Options that differ from the default, in the order of `Kind.options`: ``rel`` (lowest grade that counts as
        relevant), ``judged_only`` (leave out unjudged hits), ``p`` (RBP's persistence), ``dcg`` (``exp-log2``: gains of
        ``2 ** grade - 1``).
    """

    name: str
    k: int | None = None
    options: tuple[tuple[str, Option], ...] = ()

    @classmethod
    def parse(cls, text: str) -> "Measure":
        """Parse a name such as ``nDCG@10``, ``AP(rel=2)@100`` or ``RBP(p=0.9)``, in any case.

        ``MAP``, ``MRR``, ``recall`` and ``precision`` are other names for AP, RR, R and P. Without ``@k`` the whole
        ranking counts; P and Success need a cutoff, Rprec and Bpref have none.

        Raises
        ------
        InputError
            For an unknown name, option or value, and for a cutoff that is missing, not allowed or below 1; the message
            lists the valid ones.
        """
        match = _MEASURE.fullmatch("".join(text.split()).lower())
        kind = _BY_NAME.get(match["name"]) if match else None
        if match is None or kind is None:
            raise InputError(f"there is no measure {text!r}: give {described()}; k is a whole number from 1")
        if kind.cutoff == "needed" and match["k"] is None:
            raise InputError(f"the measure {text!r} needs a cutoff: {kind.name}@10, for one")
        if kind.cutoff == "none" and match["k"] is not None:
            raise InputError(f"the measure {text!r} has a cutoff, and {kind.name} takes none")
        given = [_option(kind, part, text) for part in match["options"].split(",")] if match["options"] else []
        chosen = dict(given)
        if len(chosen) < len(given):
            raise InputError(f"the measure {text!r} has an option twice")
        options = tuple(
            (name, chosen[name]) for name, usual in kind.options.items() if chosen.get(name, usual) != usual
        )
        return cls(kind.name, None if match["k"] is None else int(match["k"]), options)

    def __call__(self, judged: Judged) -> PerQuery:
        """Return the value of each query."""
        options: dict[str, Any] = dict(self.options)
        if options.pop("judged_only", False):
            judged = judged.condensed()
        arguments: dict[str, Any] = {} if self.k is None else {"k": self.k}
        if "rel" in options:
            arguments["level"] = options.pop("rel")
        if "dcg" in options:
            arguments["exponential"] = options.pop("dcg") == "exp-log2"
        return _BY_NAME[self.name.lower()].formula(judged, **arguments, **options)

    def __str__(self) -> str:
        """Return the name in ir-measures' notation, which `parse` reads."""
        options = ",".join(f"{name}={value!r}" for name, value in self.options)
        return self.name + (f"({options})" if options else "") + ("" if self.k is None else f"@{self.k}")


def described() -> str:
    """Return one line that lists the measures and their options, for help and errors."""
    shown = []
    for kind in KINDS:
        options = f"({','.join(f'{option}=…' for option in kind.options)})" if kind.options else ""
        shown.append(kind.name + options + {"needed": "@k", "optional": "[@k]", "none": ""}[kind.cutoff])
    return ", ".join(shown)


def _option(kind: Kind, part: str, text: str) -> tuple[str, Option]:
    name, _, value = part.partition("=")
    if name not in kind.options:
        known = ", ".join(kind.options) or "none"
        raise InputError(f"the measure {text!r}: {kind.name} has no option {name!r}; it has: {known}")
    try:
        return name, _READERS[name](value)
    except ValueError as error:
        raise InputError(f"the measure {text!r}: {name} must be {error}, not {value!r}") from None


def _level(value: str) -> int:
    if not value.isdecimal() or not int(value):
        raise ValueError("a whole number from 1")
    return int(value)


def _persistence(value: str) -> float:
    expected = "a number between 0 and 1"
    try:
        number = float(value)
    except ValueError:
        raise ValueError(expected) from None
    if not 0 < number < 1:
        raise ValueError(expected)
    return number


def _boolean(value: str) -> bool:
    if value not in ("true", "false"):
        raise ValueError("True or False")
    return value == "true"


def _gains(value: str) -> str:
    bare = value.strip("'\"")
    if bare not in _DCG:
        raise ValueError(" or ".join(_DCG))
    return bare


_READERS: dict[str, Callable[[str], Option]] = {
    "rel": _level,
    "p": _persistence,
    "judged_only": _boolean,
    "dcg": _gains,
}
