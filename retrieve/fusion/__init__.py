"""Fusion of the hits of several legs into one ranking. Each algorithm has its own file, with its formula."""

from collections.abc import Callable, Sequence

from indexing.hits import Hits
from retrieve.fusion.borda import Borda
from retrieve.fusion.comb_anz import CombAnz
from retrieve.fusion.comb_max import CombMax
from retrieve.fusion.comb_med import CombMed
from retrieve.fusion.comb_min import CombMin
from retrieve.fusion.comb_mnz import CombMnz
from retrieve.fusion.comb_sum import CombSum
from retrieve.fusion.config import METHODS, fusion_from_config
from retrieve.fusion.isr import InverseSquareRank
from retrieve.fusion.log_isr import LogInverseSquareRank
from retrieve.fusion.method import Explanation, FusionMethod, LegShare
from retrieve.fusion.missing import Complete, Missing
from retrieve.fusion.normalizers import NORMALIZERS
from retrieve.fusion.presets.preset import Preset
from retrieve.fusion.rank_divided import RankDivided
from retrieve.fusion.reciprocal_rank import ReciprocalRank, reciprocal_rank_fusion
from retrieve.fusion.spread_weighted import SpreadWeightedSum, default_fusion
from retrieve.fusion.weighted_sum import WeightedSum, weighted_sum

Fusion = Callable[[Sequence[Hits]], Hits]
"""Callable from one `Hits` per leg to the fused `Hits`: a `FusionMethod` or a function of your own."""

FUSIONS = {"rrf": reciprocal_rank_fusion, "weighted-sum": weighted_sum}
"""Fusion functions by their names on the command line."""


__all__ = [
    "FUSIONS",
    "METHODS",
    "NORMALIZERS",
    "Borda",
    "CombAnz",
    "CombMax",
    "CombMed",
    "CombMin",
    "CombMnz",
    "CombSum",
    "Complete",
    "Explanation",
    "Fusion",
    "FusionMethod",
    "InverseSquareRank",
    "LegShare",
    "LogInverseSquareRank",
    "Missing",
    "Preset",
    "RankDivided",
    "ReciprocalRank",
    "SpreadWeightedSum",
    "WeightedSum",
    "default_fusion",
    "fusion_from_config",
    "reciprocal_rank_fusion",
    "weighted_sum",
]
