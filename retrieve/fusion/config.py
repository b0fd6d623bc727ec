"""Fusion as configuration: plain values in, a fusion out, and back."""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from indexing.errors import InputError
from retrieve.fusion.borda import Borda
from retrieve.fusion.comb_anz import CombAnz
from retrieve.fusion.comb_max import CombMax
from retrieve.fusion.comb_med import CombMed
from retrieve.fusion.comb_min import CombMin
from retrieve.fusion.comb_mnz import CombMnz
from retrieve.fusion.comb_sum import CombSum
from retrieve.fusion.isr import InverseSquareRank
from retrieve.fusion.log_isr import LogInverseSquareRank
from retrieve.fusion.method import FusionMethod
from retrieve.fusion.presets.preset import Preset
from retrieve.fusion.rank_divided import RankDivided
from retrieve.fusion.reciprocal_rank import ReciprocalRank
from retrieve.fusion.spread_weighted import SpreadWeightedSum
from retrieve.fusion.weighted_sum import WeightedSum

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
"""By their names in a configuration."""


def fusion_from_config(config: Mapping[str, Any]) -> FusionMethod:
    """Make a fusion from plain values, as a YAML or JSON file has them.

    Parameters
    ----------
    config
        ``{"method": name, option: value, …}`` with a name of `METHODS` and the options of its class, as in
        ``{"method": "weighted-sum", "normalizer": "min-max", "weights": {"bm25": 0.4, "dense": 0.6}}``; or
        ``{"like": tool, …}`` for a `Preset`, as in ``{"like": "qdrant", "method": "dbsf"}``.

    Raises
    ------
    InputError
        For a method or option that is not known (naming those that are), or a value that cannot be used.
    """
    if not isinstance(config, Mapping):
        raise InputError(f"a fusion's configuration is a mapping such as {{'method': 'rrf'}}, not {config!r}")
    options = dict(config)
    like, method = options.pop("like", None), options.pop("method", None)
    try:
        if like is not None:
            return Preset(like=like, method=method, options=options)
        return _method(method, options)
    except InputError:
        raise
    except (TypeError, ValueError) as error:
        raise InputError(f"the fusion {dict(config)!r} cannot be made: {error}") from error


def _method(name: Any, options: Mapping[str, Any]) -> FusionMethod:
    if not isinstance(name, str) or name not in METHODS:
        raise InputError(f"there is no fusion method {name!r}: there are {', '.join(METHODS)}")
    known = {field.name: field.default for field in fields(METHODS[name])}
    for option, value in options.items():
        if option not in known:
            raise InputError(f"the fusion method {name} has no option {option!r}: it has {', '.join(known)}")
        default = known[option]
        kinds = {bool: (bool,), int: (int, float), float: (int, float)}.get(type(default))
        if kinds and (not isinstance(value, kinds) or (isinstance(value, bool) and not isinstance(default, bool))):
            wanted = "true or false" if isinstance(default, bool) else "a number"
            raise InputError(f"{option} must be {wanted}, not {value!r}")
    return METHODS[name](**options)
