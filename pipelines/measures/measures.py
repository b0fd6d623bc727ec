"""Measures as values, by ir-measures' names: ``nDCG@10``, ``AP(rel=2)@100``, ``RR@10``, ``RBP(p=0.9)``.

A measure says what is wanted; `pipelines.measures.formulas` says what it is.
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
    """What measures of one name have in common.

    Parameters
    ----------
    name
        ir-measures' spelling.
    formula
        Computes it: takes the judged hits, ``k`` where there is a cutoff, and `options` by name.
    cutoff
        Whether ``@k`` must, may or must not follow.
    options
        The options it takes, with their defaults; None is a default that no value spells.
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
"""The measures there are."""

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
        How many ranks count; None for all.
    options
        Those that are not the default, in the order of the kind's: ``rel`` (the least grade that counts as
        relevant), ``judged_only`` (leave out hits that were not judged), ``p`` (RBP's patience), ``dcg``
        (``exp-log2``: gains of ``2 ** grade - 1``).
    """

    name: str
    k: int | None = None
    options: tuple[tuple[str, Option], ...] = ()

    @classmethod
    def parse(cls, text: str) -> "Measure":
        """Read ``nDCG@10``, ``AP(rel=2)@100``, ``RBP(p=0.9)`` and their like; names in any case.

        ``MAP``, ``MRR``, ``recall`` and ``precision`` are other names for AP, RR, R and P. Without ``@k`` the whole
        ranking counts; P and Success always need a cutoff, Rprec and Bpref have none.

        Raises
        ------
        InputError
            For an unknown name, option or value, a cutoff below 1, or one that is missing or too much; saying what
            there is.
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
        """Compute it for each query."""
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
        """Give ir-measures' way of writing it, which `parse` reads."""
        options = ",".join(f"{name}={value!r}" for name, value in self.options)
        return self.name + (f"({options})" if options else "") + ("" if self.k is None else f"@{self.k}")


def described() -> str:
    """List the measures and their options in one line, for help and errors."""
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


def _patience(value: str) -> float:
    wanted = "a number between 0 and 1"
    try:
        number = float(value)
    except ValueError:
        raise ValueError(wanted) from None
    if not 0 < number < 1:
        raise ValueError(wanted)
    return number


def _truth(value: str) -> bool:
    if value not in ("true", "false"):
        raise ValueError("True or False")
    return value == "true"


def _gains(value: str) -> str:
    bare = value.strip("'\"")
    if bare not in _DCG:
        raise ValueError(" or ".join(_DCG))
    return bare


_READERS: dict[str, Callable[[str], Option]] = {"rel": _level, "p": _patience, "judged_only": _truth, "dcg": _gains}
