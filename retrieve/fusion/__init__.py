"""Fusion: several legs' hits in, one ranking out. One algorithm a file, its formula in its docstring."""

from collections.abc import Callable, Sequence

from indexing.hits import Hits
from retrieve.fusion.reciprocal_rank import reciprocal_rank_fusion
from retrieve.fusion.weighted_sum import weighted_sum

Fusion = Callable[[Sequence[Hits]], Hits]
"""Takes one `Hits` a leg and gives the fused one; `functools.partial` binds weights and constants."""

FUSIONS = {"rrf": reciprocal_rank_fusion, "weighted-sum": weighted_sum}
"""By the names of the command line."""

__all__ = ["FUSIONS", "Fusion", "reciprocal_rank_fusion", "weighted_sum"]
