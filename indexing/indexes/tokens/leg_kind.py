"""Token vectors as a kind of leg."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from indexing.indexes.base import NO_LOOKUPS, Kind, Lookups, Making, Precision
from indexing.indexes.registry import Rows, chosen
from indexing.indexes.tokens.codebook import CODES_ONLY, FULL
from indexing.indexes.tokens.files import FILE_NAMES
from indexing.indexes.tokens.index import TokenIndex
from indexing.indexes.vectors import check_token_rows


class TokensKind(Kind):
    """Token vectors compared by MaxSim; parameters as in `TokenSettings`."""

    backend = "tokens"
    file_names = FILE_NAMES

    def choices(self, rows: Rows, parameters: Mapping[str, Any]) -> frozenset[str]:
        """Return the settings of a token index."""
        return frozenset({"metric", "bits", "train_at", "centroids", "nprobe", "candidates"})

    def is_exact(self, rows: Rows, parameters: Mapping[str, Any]) -> bool:
        """Return False: once centroids are learned, the candidates of a search depend on its depth."""
        return False

    def precision(self, rows: Rows, parameters: Mapping[str, Any]) -> Precision:
        """Return whether candidates are scored by whole vectors, or by codes."""
        return "exact" if parameters.get("bits", CODES_ONLY) in (CODES_ONLY, FULL) else "quantised"

    def check(self, ids: Sequence[str], rows: Any, parameters: Mapping[str, Any]) -> None:
        """Raise `InputError` unless the rows are finite token vectors of the leg's dimension."""
        check_token_rows(ids, rows, int(parameters["dimension"]))

    def create(self, path: Path, parameters: Mapping[str, Any], making: Making) -> TokenIndex:
        """Make an empty index; unless bits are chosen it keeps no vectors, which the collection stores already."""
        return TokenIndex.create(
            path,
            int(parameters["dimension"]),
            matching=making.lookups.matching,
            stored_rows=making.lookups.stored_rows,
            **({"bits": CODES_ONLY} | chosen(parameters)),
        )

    def open(self, path: Path, *, read_only: bool, lookups: Lookups = NO_LOOKUPS) -> TokenIndex:
        """Open the last committed state."""
        return TokenIndex.open(path, read_only=read_only, matching=lookups.matching, stored_rows=lookups.stored_rows)

    def fresh_after_delete(self, parameters: Mapping[str, Any]) -> bool:
        """Return whether whole vectors are kept: coded ones stay coded by centroids of deleted documents."""
        return parameters.get("bits") == FULL
