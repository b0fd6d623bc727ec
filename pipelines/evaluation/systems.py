"""Systems: ways to search, as configurations. What they share is found by comparing them."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, get_args

from indexing.errors import InputError

LegKind = Literal["bm25", "dense", "sparse"]
LATE_INTERACTION = "late-interaction"

HYBRID, HYBRID_RERANK = HYBRIDS = ("hybrid", "hybrid+rerank")
MULTIFIELD = "bm25-multifield"
"""BM25 over title and text as two fields of equal weight, as Anserini's multifield has it; a leg of no hybrid."""
BUILT_IN = ("bm25", MULTIFIELD, "dense", "sparse", *HYBRIDS)
"""Systems that need no file: each leg alone, all legs fused, and a reranker on top of that."""


@dataclass(frozen=True, slots=True)
class LegSpec:
    """One leg: what is indexed, and with what.

    Parameters
    ----------
    name
        As systems call it.
    kind
        ``bm25``, ``dense`` or ``sparse``.
    model
        The encoder's path or Hub name; None for BM25, and for the default dense model.
    dtype
        Of the encoder.
    index
        Of a dense leg: ``flat`` (exact) or ``hnsw``.
    fields
        Of a BM25 leg: ``{"title": 1.0, "text": 1.0}`` scores them apart, with these weights; by default as one field.
    """

    name: str
    kind: LegKind
    model: str | None = None
    dtype: str = "auto"
    index: Literal["flat", "hnsw"] = "flat"
    fields: Mapping[str, float] | None = None

    def __post_init__(self) -> None:
        check_name("leg", self.name)
        if self.kind not in get_args(LegKind):
            raise InputError(f"leg {self.name!r}: there is no kind {self.kind!r}: {', '.join(get_args(LegKind))}")
        if self.fields is not None and (self.kind != "bm25" or not isinstance(self.fields, Mapping)):
            raise InputError(f"leg {self.name!r}: fields are weights of a bm25 leg, as in {{title: 1, text: 1}}")
        if self.index not in ("flat", "hnsw"):
            raise InputError(f"leg {self.name!r}: index must be 'flat' or 'hnsw', not {self.index!r}")

    @property
    def settings(self) -> dict[str, Any]:
        """What was chosen for a leg of its kind, without its name."""
        without = {"name", *{"bm25": ("dtype", "index"), "dense": (), "sparse": ("index",)}[self.kind]}
        return {option: value for option, value in asdict(self).items() if option not in without and value is not None}

    @property
    def exact(self) -> bool:
        """Whether a deeper search begins with the hits of a shallower one."""
        return self.kind != "dense" or self.index == "flat"


@dataclass(frozen=True, slots=True)
class SystemSpec:
    """One system.

    Parameters
    ----------
    name
        As the table calls it.
    legs
        Names of its legs; several are fused.
    fusion, weights, rrf_k
        How: a method's name or a configuration (`fusion_from_config`), a weight for each leg, and the constant of
        ``rrf``; by default what a search does (`default_fusion`).
    depth
        Hits each leg gives to the fusion; by default as many as are scored.
    reranker
        A cross-encoder's path or Hub name, or ``late-interaction`` with the first dense leg's encoder.
    reranker_weight
        The part of the first stage's score that is kept; by default the reranker's own default.
    candidates
        Hits the reranker reads.
    """

    name: str
    legs: tuple[str, ...]
    fusion: str | Mapping[str, Any] | None = None
    weights: tuple[float, ...] | None = None
    rrf_k: float = 60
    depth: int | None = None
    reranker: str | None = None
    reranker_weight: float | None = None
    candidates: int = 50

    def __post_init__(self) -> None:
        from retrieve.fusion import METHODS, fusion_from_config

        where = f"system {self.name!r}"
        check_name("system", self.name)
        if not self.legs or len(set(self.legs)) < len(self.legs):
            raise InputError(f"{where} needs one leg or several different ones, not {list(self.legs)}")
        try:
            if isinstance(self.fusion, Mapping):
                fusion_from_config(self.fusion)
            elif self.fusion is not None and self.fusion not in METHODS:
                raise InputError(f"there is no fusion {self.fusion!r}: {', '.join(METHODS)}")
        except InputError as error:
            raise InputError(f"{where}: {error}") from None
        if self.weights is not None and len(self.weights) != len(self.legs):
            raise InputError(
                f"{where}: weights must be one for each leg ({', '.join(self.legs)}), not {list(self.weights)}"
            )
        for option in ("depth", "candidates"):
            value = getattr(self, option)
            if value is not None and (not isinstance(value, int) or value < 1):
                raise InputError(f"{where}: {option} must be a whole number of 1 or more, not {value!r}")

    @property
    def determines(self) -> dict[str, Any]:
        """What of it decides the answers, beside its reranker: an option of what it does not have decides nothing."""
        without = {"name", "reranker"}
        without |= set() if len(self.legs) > 1 else {"fusion", "weights", "rrf_k", "depth"}
        without |= set() if self.reranker else {"reranker_weight", "candidates"}
        return {name: value for name, value in asdict(self).items() if name not in without}

    def first_stage(self, k: int) -> int:
        """How many hits the first stage gives when `k` are scored."""
        return k if self.reranker is None else max(k, self.candidates)

    def leg_depth(self, k: int) -> int:
        """How many hits each leg gives when `k` are scored."""
        wanted = self.first_stage(k)
        return wanted if len(self.legs) == 1 else max(wanted, self.depth or k)


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be scored.

    Parameters
    ----------
    legs
        By name.
    systems
        In the table's order.
    not_run
        Systems that were asked for and cannot be run, with the reason.
    """

    legs: Mapping[str, LegSpec]
    systems: tuple[SystemSpec, ...]
    not_run: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        names = [system.name for system in self.systems]
        if twice := next((name for name in names if names.count(name) > 1), None):
            raise InputError(f"two systems are called {twice!r}: give each its own name")
        for system in self.systems:
            for leg in system.legs:
                if leg not in self.legs:
                    raise InputError(f"system {system.name!r}: there is no leg {leg!r}: {', '.join(self.legs)}")

    def used_legs(self) -> list[str]:
        """Give the names of the legs that systems use, each once."""
        return list(dict.fromkeys(leg for system in self.systems for leg in system.legs))


def read_systems(path: str | Path, legs: Mapping[str, LegSpec]) -> Plan:
    """Read a file of systems, YAML or JSON.

    It holds ``systems``, a list of `SystemSpec` fields, and may hold ``legs``, fields of `LegSpec` by name, beside
    those that are there already::

        legs:
          bge: {kind: dense, model: BAAI/bge-base-en-v1.5}
        systems:
          - {name: bm25, legs: [bm25]}
          - {name: bm25+bge, legs: [bm25, bge], fusion: rrf, weights: [1, 2], depth: 200}
          - {name: reranked, legs: [bm25, bge], reranker: BAAI/bge-reranker-base, candidates: 100}

    Raises
    ------
    InputError
        Naming the file and the system or leg at fault.
    """
    path = Path(path).expanduser()
    given = _parsed(path)
    try:
        if not isinstance(given, dict) or not isinstance(given.get("systems"), list) or not given["systems"]:
            raise InputError("it must hold a list `systems`")
        if unknown := set(given) - {"systems", "legs"}:
            raise InputError(f"unknown key {sorted(map(str, unknown))[0]!r}: there are systems and legs")
        found = dict(legs)
        for name, values in (given.get("legs") or {}).items():
            found[str(name)] = LegSpec(**_checked(LegSpec, {"name": str(name), **_object(values, f"leg {name!r}")}))
        return Plan(found, tuple(_system(values) for values in given["systems"]))
    except InputError as problem:
        raise InputError(f"{path}: {problem}") from None


def built_in(names: Sequence[str], legs: Sequence[str], *, reranker: str | None, **options: Any) -> list[SystemSpec]:
    """Make the built-in systems of these names from these legs, in the table's order; options as in `SystemSpec`."""
    made = []
    for name in (*legs, *HYBRIDS):
        if name in names:
            own = tuple(legs) if name in HYBRIDS else (name,)
            rerank: dict[str, Any] = {"reranker": reranker or LATE_INTERACTION} if name == HYBRID_RERANK else {}
            made.append(SystemSpec(name, own, **options, **rerank))
    return made


def check_name(what: str, name: str) -> None:
    """Refuse a name that no file and no column of a run can have."""
    if not name or name.startswith(".") or set(name) & set('/\\ \t\n"'):
        raise InputError(
            f"{what} {name!r}: its name is a file's name too: no white space, quotes or slashes, no dot in front"
        )


def _parsed(path: Path) -> Any:
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read: {error}") from error
    try:
        if path.suffix == ".json":
            return json.loads(text)
        import yaml

        return yaml.safe_load(text)
    except ValueError as error:
        raise InputError(f"{path} is not JSON: {error}") from error
    except Exception as error:
        if type(error).__module__.startswith("yaml"):
            raise InputError(f"{path} is not YAML: {' '.join(str(error).split())}") from error
        raise


def _system(values: Any) -> SystemSpec:
    given = _object(values, "a system")
    name = given.get("name")
    if not isinstance(name, str):
        raise InputError(f"a system has no name: {given}")
    legs = given.get("legs")
    if not isinstance(legs, list):
        raise InputError(f"system {name!r}: legs must be a list of names, not {legs!r}")
    given = _checked(SystemSpec, given) | {"legs": tuple(map(str, legs))}
    if given.get("weights") is not None:
        try:
            given["weights"] = tuple(float(weight) for weight in given["weights"])
        except (TypeError, ValueError):
            raise InputError(f"system {name!r}: weights must be numbers, not {given['weights']!r}") from None
    return SystemSpec(**given)


def _object(values: Any, what: str) -> dict[str, Any]:
    if not isinstance(values, dict):
        raise InputError(f"{what} must be an object of options, not {values!r}")
    return {str(key): value for key, value in values.items()}


def _checked(kind: type[LegSpec] | type[SystemSpec], values: dict[str, Any]) -> dict[str, Any]:
    known = [option.name for option in fields(kind)]
    unknown = next((key for key in values if key not in known), None)
    if unknown is not None:
        raise InputError(f"{values.get('name')!r} has an unknown option {unknown!r}: there are {', '.join(known)}")
    if "kind" in known and "kind" not in values:
        raise InputError(f"leg {values['name']!r} has no kind: bm25, dense or sparse")
    return values
