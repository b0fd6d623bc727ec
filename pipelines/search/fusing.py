"""Make a fusion from a configuration, and write one as a configuration."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from indexing.errors import InputError
from retrieve.fusion import FUSIONS, Fusion, FusionMethod, fusion_from_config
from retrieve.hybrid import fusion_for
from retrieve.retrievers import Retriever


def make_fusion(config: Mapping[str, Any] | None, legs: Sequence[Retriever]) -> FusionMethod:
    """Return the fusion that a configuration names (`fusion_from_config`); for None, the default of these legs.

    Raises
    ------
    InputError
        For an unknown method or option.
    """
    return fusion_for(legs) if config is None else fusion_from_config(with_method(config))


def with_method(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a fusion's configuration with its method: ``weighted-sum`` where neither method nor preset is named."""
    return config if "like" in config else {"method": "weighted-sum", **config}


def fusion_config(fusion: Fusion, legs: Sequence[Retriever]) -> dict[str, Any] | None:
    """Return the configuration from which `make_fusion` makes this fusion; None for the default fusion.

    Raises
    ------
    InputError
        For a function that has no name in a configuration.
    """
    if isinstance(fusion, FusionMethod):
        return None if fusion == make_fusion(None, legs) else fusion.as_config()
    options = dict(fusion.keywords) if isinstance(fusion, partial) else {}
    bare = fusion.func if isinstance(fusion, partial) else fusion
    name = next((name for name, known in FUSIONS.items() if known is bare), None)
    if name is None:
        raise InputError(f"the fusion {fusion!r} is a function of your own, which a configuration file cannot name")
    return {"method": name, **{option: value for option, value in options.items() if value is not None}}
