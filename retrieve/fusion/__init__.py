"""Fusion of the hits of several legs into one ranking. Each algorithm has its own file, with its formula."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from typing import Any

from indexing.errors import InputError
from indexing.hits import Hits
from retrieve.fusion.borda import Borda
from retrieve.fusion.comb_anz import CombAnz
from retrieve.fusion.comb_max import CombMax
from retrieve.fusion.comb_med import CombMed
from retrieve.fusion.comb_min import CombMin
from retrieve.fusion.comb_mnz import CombMnz
from retrieve.fusion.comb_sum import CombSum
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

METHODS: dict[str, type[FusionMethod]] = {
    method.name: method
    for method in (
        ReciprocalRank,
        RankDivided,
        WeightedSum,
        SpreadWeightedSum,
        CombSum,
        CombMnz,
        CombMax,
        CombMin,
        CombAnz,
        CombMed,
        Borda,
        InverseSquareRank,
        LogInverseSquareRank,
    )
}
"""Fusion methods by their names in a configuration."""

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


def fusion_from_config(config: Mapping[str, Any]) -> FusionMethod:
    """Return the fusion that plain values describe, as read from a YAML or JSON file.

    Parameters
    ----------
    config
        ``{"method": name, option: value, …}`` with a name of `METHODS` and the options of its class, for example
        ``{"method": "weighted-sum", "normalizer": "min-max", "weights": {"bm25": 0.4, "dense": 0.6}}``. Or
        ``{"like": tool, …}`` for a `Preset`, for example ``{"like": "qdrant", "method": "dbsf"}``.

    Raises
    ------
    InputError
        For an unknown method or option (the message lists the known ones), or an invalid value.
    """
    if not isinstance(config, Mapping):
        raise InputError(f"a fusion's configuration must be a mapping such as {{'method': 'rrf'}}, not {config!r}")
    options = dict(config)
    like, method = options.pop("like", None), options.pop("method", None)
    try:
        if like is not None:
            return Preset(like=like, method=method, options=options)
        return _method(method, options)
    except InputError:
        raise
    except (TypeError, ValueError) as error:
        raise InputError(f"the fusion {dict(config)!r} is not valid: {error}") from error


def _method(name: Any, options: Mapping[str, Any]) -> FusionMethod:
    if not isinstance(name, str) or name not in METHODS:
        raise InputError(f"there is no fusion method {name!r}; choose one of {', '.join(METHODS)}")
    defaults = {field.name: field.default for field in fields(METHODS[name])}
    for option, value in options.items():
        if option not in defaults:
            raise InputError(f"the fusion method {name} has no option {option!r}; its options: {', '.join(defaults)}")
        default = defaults[option]
        kinds = {bool: (bool,), int: (int, float), float: (int, float)}.get(type(default))
        if kinds and (not isinstance(value, kinds) or (isinstance(value, bool) and not isinstance(default, bool))):
            expected = "true or false" if isinstance(default, bool) else "a number"
            raise InputError(f"{option} must be {expected}, not {value!r}")

    return METHODS[name](**options)
