"""The parameters of a leg: which each kind of index has, and what stays of them when a leg gets another kind."""

import uuid
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from indexing.collection.manifest import Backend, Leg, Rows
from indexing.errors import InputError

OF_ROWS = frozenset({"dimension", "dtype", "columns", "vocabulary_sha256"})
"""What describes the encoded documents."""
ENCODED = OF_ROWS | {"metric"}
"""Parameters that the encoder decides: another index of the same rows cannot choose them."""

_GRAPH = frozenset({"m", "ef_construction", "ef_search"})
_PLACE = frozenset({"on_disk", "engine", "server"})
_FAISS = {
    "flat": frozenset[str](),
    "hnsw": _GRAPH,
    "ivf": frozenset({"nlist", "nprobe", "training_sample"}),
    "pq": frozenset({"pq_bytes", "training_sample"}),
    "sq": frozenset({"training_sample"}),
    "factory": frozenset({"factory", "ef_search", "nprobe", "training_sample"}),
}
_BM25 = frozenset({"k1", "b", "analyzer", "weights"})
_BACKENDS: Mapping[Rows | None, tuple[Backend, ...]] = {
    "vectors": ("faiss", "qdrant"),
    "weights": ("impact", "qdrant"),
    None: ("bm25",),
}


def known_parameters(backend: Backend, rows: Rows | None, kind: str = "flat") -> frozenset[str]:
    """Give the parameters that may be chosen of an index of this backend; of ``faiss``, of this kind."""
    if backend == "faiss":
        return _FAISS.get(kind, frozenset()) | {"kind"}
    if backend == "qdrant":
        return _PLACE | _GRAPH | {"quantization"} if rows == "vectors" else _PLACE
    return _BM25 if backend == "bm25" else frozenset({"scale"})


def with_parameters(leg: Leg, name: str, backend: Backend, parameters: Mapping[str, Any]) -> Leg:
    """Give this leg on a backend and with these parameters; what it had stays where the new kind knows it too.

    Raises
    ------
    InputError
        For a backend that does not take the leg's rows, and for a parameter that this kind of index does not have, or
        that is the encoder's.
    """
    fixed = sorted(parameters.keys() & ENCODED)
    if fixed:
        raise InputError(f"{fixed[0]} is the encoder's: it cannot be changed without encoding again")
    possible = _BACKENDS[leg.rows]
    if backend not in possible:
        there = " or ".join(map(repr, possible))
        raise InputError(f"the leg {name!r} cannot be of backend {backend!r}: for its rows there is {there}")
    stays = leg.parameters.keys() if backend == leg.backend else ENCODED
    merged = {key: value for key, value in leg.parameters.items() if key in stays} | dict(parameters)
    known = known_parameters(backend, leg.rows, merged.get("kind", "flat"))
    stray = next((key for key in parameters if key not in known), None)
    if stray is not None:
        which = f", kind {merged.get('kind', 'flat')!r}" if backend == "faiss" and stray != "kind" else ""
        raise InputError(
            f"the leg {name!r} is of backend {backend!r}{which}, which has no parameter {stray!r}: "
            f"there are {', '.join(sorted(known)) or 'none'}"
        )
    kept = {key: value for key, value in merged.items() if key in ENCODED | known}
    if "server" in kept and "server" not in parameters:
        # The collection that stands on the server is the present index's: the new one is made beside it.
        kept["server"] = {key: value for key, value in kept["server"].items() if key != "collection"}
    return replace(leg, backend=backend, parameters=kept)


def with_server_name(leg: Leg, name: str, collection: Path) -> Leg:
    """Name Qdrant's collection on a server, where nobody has; freshly, for one of a killed job may be there."""
    server = leg.parameters.get("server")
    if not server or server.get("collection"):
        return leg
    home = collection.absolute().name.removeprefix(".").removesuffix(".building")
    named = {**server, "collection": f"{home}-{name}-{uuid.uuid4().hex[:8]}"}
    return replace(leg, parameters={**leg.parameters, "server": named})


def agrees(leg: Leg, wanted: Leg) -> bool:
    """Say whether a leg is of the wanted backend and has every parameter that is asked for."""
    return leg.backend == wanted.backend and _agree(leg.parameters, wanted.parameters)


def _agree(stored: Any, wanted: Any) -> bool:
    if not isinstance(wanted, Mapping):
        return bool(stored == wanted)
    found = stored or {}
    return isinstance(found, Mapping) and all(_agree(found.get(key), value) for key, value in wanted.items())
