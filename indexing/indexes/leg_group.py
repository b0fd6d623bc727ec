"""LegGroup: the interface of several legs that one place searches in one request."""

from collections.abc import Mapping
from typing import Any, Protocol

from indexing.filters import FilterLike
from indexing.hits import Hits


class LegGroup(Protocol):
    """Several legs that answer in one request."""

    def search(
        self, queries: Mapping[str, Any], depths: Mapping[str, int], filter: FilterLike | None
    ) -> dict[str, Hits]:
        """Return each leg's hits for its encoded queries."""
        ...

    def fused(
        self,
        queries: Mapping[str, Any],
        depths: Mapping[str, int],
        k: int,
        filter: FilterLike | None,
        *,
        fusion: str,
        rank_constant: int,
        weights: tuple[float, ...] | None,
    ) -> Hits:
        """Return hits fused by the engine: ``"rrf"`` or ``"dbsf"``; of no query where it cannot."""
        ...
