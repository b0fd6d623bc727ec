"""Exact term weights as a kind of leg."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from indexing.indexes.base import NO_LOOKUPS, Kind, Lookups, Making
from indexing.indexes.postings.files import FILE_NAMES
from indexing.indexes.postings.index import PostingsIndex
from indexing.indexes.registry import Rows
from indexing.indexes.vectors import check_weight_rows


class PostingsKind(Kind):
    """Term weights in float32, without parameters."""

    backend = "postings"
    file_names = FILE_NAMES

    def choices(self, rows: Rows, parameters: Mapping[str, Any]) -> frozenset[str]:
        """Return no parameter."""
        return frozenset()

    def check(self, ids: Sequence[str], rows: Any, parameters: Mapping[str, Any]) -> None:
        """Raise `InputError` for weights that are negative, no numbers, or that the other kinds could not hold."""
        check_weight_rows(ids, rows, int(parameters["columns"]), 100)

    def create(self, path: Path, parameters: Mapping[str, Any], making: Making) -> PostingsIndex:
        """Make an empty index."""
        return PostingsIndex.create(path, int(parameters["columns"]), matching=making.lookups.matching)

    def open(self, path: Path, *, read_only: bool, lookups: Lookups = NO_LOOKUPS) -> PostingsIndex:
        """Open the last committed state."""
        return PostingsIndex.open(path, read_only=read_only, matching=lookups.matching)
