"""OneRequestRetriever: a hybrid whose legs are in one place, which answers for all of them in one request."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from indexing.hits import Hits
from indexing.indexes.leg_group import LegGroup
from indexing.query_syntax import SyntaxQuery
from retrieve.fusion import Fusion
from retrieve.fusion.comb_sum import CombSum
from retrieve.fusion.presets.preset import Preset
from retrieve.fusion.rank_divided import RankDivided
from retrieve.fusion.reciprocal_rank import ReciprocalRank
from retrieve.hybrid import HybridRetriever
from retrieve.retrievers import IndexRetriever, Retriever
from retrieve.trace import Trace


class Formula(NamedTuple):
    """A fusion as Qdrant names it: ``rrf`` with the paper's constant and Qdrant's weights, or ``dbsf``."""

    fusion: str
    rank_constant: int = 60
    weights: tuple[float, ...] | None = None


class OneRequestRetriever(HybridRetriever):
    """Hybrid that searches all legs in one request.

    The place fuses the hits too where its formulas have the fusion (`formula_of`) and nobody asks for an explanation,
    which needs each leg's ranks. Queries with requirements or exclusions are searched leg by leg.
    """

    def _run(self, queries: Sequence[str], k: int, filter: Any, trace: Trace) -> Hits:
        formula = formula_of(self.fusion, [leg.name for leg in self.legs])
        fits = k <= min(self.depth.values()) and not any(isinstance(query, SyntaxQuery) for query in queries)
        if trace.explain:
            trace.notes.append(
                "all legs were searched in one request; their hits were fused here"
                + ("" if formula is None else f", and without an explanation by Qdrant ({formula.fusion})")
            )
        if formula is None or trace.explain or not fits:
            return super()._run(queries, k, filter, trace)
        self._lifetime.check()
        encoded = self._encoded(queries, trace)
        with trace.stage("search"):
            hits = self._group.fused(
                encoded,
                self.depth,
                k,
                filter,
                fusion=formula.fusion,
                rank_constant=formula.rank_constant,
                weights=formula.weights,
            )
        # Fewer hits than asked for may be all that there are, or all within the legs' depths.
        return hits if len(hits) == len(queries) else super()._run(queries, k, filter, trace)

    def _answers(
        self, encodings: Any, depths: Mapping[str, int], filter: Any, queries: int, trace: Trace
    ) -> list[Hits]:
        """Search all legs in one request; leg by leg where queries have requirements or exclusions."""
        if any(isinstance(query, SyntaxQuery) for query in encodings.queries):
            return super()._answers(encodings, depths, filter, queries, trace)
        encoded = {leg.name: encodings.of(leg) for leg in self.legs}
        with trace.stage("search"):
            found = self._group.search(encoded, depths, filter)
        return [found[leg.name].as_leg(leg.name) for leg in self.legs]

    def _encoded(self, queries: Sequence[str], trace: Trace) -> dict[str, Any]:
        encodings = self.encodings(self.legs, queries, trace)
        return {leg.name: encodings.of(leg) for leg in self.legs}

    @property
    def _group(self) -> LegGroup:
        group = _group_of(self.legs[0])
        assert group is not None
        return group


def one_request(legs: Sequence[Retriever]) -> bool:
    """Return whether these legs, named as their indexes are, can be searched in one request."""
    groups = [_group_of(leg) for leg in legs]
    plain = all(type(leg).__name__ in _PLAIN for leg in legs)  # feedback searches twice
    return len(legs) > 1 and plain and groups[0] is not None and all(group is groups[0] for group in groups)


_PLAIN = ("DenseRetriever", "SparseRetriever", "TokenRetriever", "Bm25Retriever")


def _group_of(leg: Retriever) -> LegGroup | None:
    return leg.index.group if isinstance(leg, IndexRetriever) else None


def formula_of(fusion: Fusion, legs: Sequence[str]) -> Formula | None:
    """Return Qdrant's formula for a fusion of these legs; None if it has none."""
    method = fusion.inner if isinstance(fusion, Preset) else fusion
    if getattr(method, "missing", "") != "zero":
        return None
    if isinstance(method, ReciprocalRank):
        weights = _weights(method.weights, legs)
        if method.unit or any(weight != 1 for weight in weights) or method.k != int(method.k) or method.k < 0:
            return None
        return Formula("rrf", int(method.k))
    if isinstance(method, RankDivided):
        if method.k != int(method.k) or method.k < 1:
            return None
        return Formula("rrf", int(method.k) - 1, _weights(method.weights, legs))
    if isinstance(method, CombSum) and method.normalizer == "dbsf":
        return Formula("dbsf")
    return None


def _weights(given: Any, legs: Sequence[str]) -> tuple[float, ...]:
    if given is None:
        return (1.0,) * len(legs)
    values = [given[name] for name in legs] if isinstance(given, Mapping) else list(given)
    return tuple(map(float, values))
