"""The parameters of a leg: what may be chosen for its index, and what remains when a leg changes its kind of index."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from indexing.collection.manifest import Leg
from indexing.errors import InputError
from indexing.indexes.registry import OF_ROWS, Backend, backends_of, kind_of

ENCODED = OF_ROWS | {"metric"}
"""Parameters that the encoder decides: another index of the same rows cannot choose them."""


def with_parameters(leg: Leg, name: str, backend: Backend, parameters: Mapping[str, Any]) -> Leg:
    """Return this leg with a backend and parameters; what it had remains where the new kind has it too.

    Raises
    ------
    InputError
        For a backend that does not take the leg's rows, and for a parameter that this kind of index does not have or
        that the encoder decides.
    """
    fixed = sorted(parameters.keys() & ENCODED)
    if fixed:
        raise InputError(f"{fixed[0]} is the encoder's: it cannot be changed without encoding again")
    possible = backends_of(leg.rows)
    if backend not in possible:
        names = " or ".join(map(repr, possible))
        raise InputError(f"the leg {name!r} cannot be of backend {backend!r}: its rows fit {names}")
    kind = kind_of(backend)
    scoring = kind_of(leg.backend).scoring(leg.rows)
    stays = leg.parameters.keys() if leg.backend == backend else ENCODED | scoring
    kept_before = {key: value for key, value in leg.parameters.items() if key in stays}
    merged = {**kind.recorded(leg.rows), **kept_before, **parameters}
    known = kind.choices(leg.rows, merged)
    stated = (key for key, value in kept_before.items() if key in scoring and value is not None)
    lost = next((key for key in stated if key not in known | parameters.keys()), None)
    if lost is not None:
        raise InputError(
            f"the leg {name!r} has the parameter {lost!r}, by which it scores, and the backend {backend!r} cannot "
            "score so: build a leg of plain BM25 over one field"
        )
    unknown = next((key for key in parameters if key not in known), None)
    if unknown is not None:
        raise InputError(
            f"the leg {name!r} is of backend {kind.describe(merged)}, which has no parameter {unknown!r}: "
            f"it has {', '.join(sorted(known)) or 'none'}"
        )
    kept = {key: value for key, value in merged.items() if key in ENCODED | known}
    if "server" in kept and "server" not in parameters:
        # The collection on the server belongs to the present index: the new one is made beside it.
        kept["server"] = {key: value for key, value in kept["server"].items() if key != "collection"}
    return replace(leg, backend=backend, parameters=kept)


def agrees(leg: Leg, wanted: Leg) -> bool:
    """Return whether a leg has the wanted backend and every parameter that is asked for."""
    return _agree({"backend": leg.backend, **leg.parameters}, {"backend": wanted.backend, **wanted.parameters})


def _agree(stored: Any, wanted: Any) -> bool:
    if not isinstance(wanted, Mapping):
        return bool(stored == wanted)
    found = stored or {}
    return isinstance(found, Mapping) and all(_agree(found.get(key), value) for key, value in wanted.items())
