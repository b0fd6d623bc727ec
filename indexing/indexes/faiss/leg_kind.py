"""FAISS as a kind of leg."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from indexing.indexes.base import NO_LOOKUPS, Kind, Lookups, Making, Precision
from indexing.indexes.faiss.files import FILE_NAMES
from indexing.indexes.faiss.index import FaissIndex
from indexing.indexes.registry import Rows, chosen
from indexing.indexes.vectors import check_vector_rows

_RESCORED = frozenset({"graph", "kept", "rescore_multiplier", "m", "ef_construction", "ef_search", "training_sample"})
_CHOICES: Mapping[str, frozenset[str]] = {
    "flat": frozenset(),
    "hnsw": frozenset({"m", "ef_construction", "ef_search"}),
    "ivf": frozenset({"nlist", "nprobe", "training_sample"}),
    "pq": frozenset({"pq_bytes", "training_sample"}),
    "sq": frozenset({"training_sample"}),
    "binary": _RESCORED,
    "int8": _RESCORED,
    "factory": frozenset({"factory", "ef_search", "nprobe", "training_sample"}),
}


_CODED = ("pq", "sq", "binary", "int8", "factory")


class FaissKind(Kind):
    """Dense vectors in any kind of FAISS index; parameters as in `FaissSettings`."""

    backend = "faiss"
    file_names = FILE_NAMES
    defaults: ClassVar[Mapping[str, Any]] = {"kind": "flat"}

    def choices(self, rows: Rows, parameters: Mapping[str, Any]) -> frozenset[str]:
        """Return the settings that this kind of FAISS index has."""
        return _CHOICES.get(_variant(parameters), frozenset()) | {"kind"}

    def is_exact(self, rows: Rows, parameters: Mapping[str, Any]) -> bool:
        """Return True for the flat index, which compares all vectors."""
        return bool(parameters.get("kind", "flat") == "flat")

    def precision(self, rows: Rows, parameters: Mapping[str, Any]) -> Precision:
        """Return whether scores are those of whole vectors, or of codes."""
        return "quantised" if _variant(parameters) in _CODED else "exact"

    def check(self, ids: Sequence[str], rows: Any, parameters: Mapping[str, Any]) -> None:
        """Raise `InputError` unless the rows are finite vectors of the leg's dimension."""
        check_vector_rows(ids, rows, int(parameters["dimension"]))

    def create(self, path: Path, parameters: Mapping[str, Any], making: Making) -> FaissIndex:
        """Make an empty index."""
        matching = making.lookups.matching
        return FaissIndex.create(path, int(parameters["dimension"]), matching=matching, **chosen(parameters))

    def open(self, path: Path, *, read_only: bool, lookups: Lookups = NO_LOOKUPS) -> FaissIndex:
        """Open the last committed state."""
        return FaissIndex.open(path, read_only=read_only, matching=lookups.matching)

    def describe(self, parameters: Mapping[str, Any]) -> str:
        """Return the name with the kind of FAISS index."""
        return f"faiss with kind {_variant(parameters)}"

    def fresh_after_delete(self, parameters: Mapping[str, Any]) -> bool:
        """Return whether whole vectors are kept: quantised ones would be encoded from what is left of them."""
        return _variant(parameters) in ("flat", "hnsw")


def _variant(parameters: Mapping[str, Any]) -> str:
    return str(parameters.get("kind", "flat"))
