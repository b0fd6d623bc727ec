"""A fusion from a configuration, and back."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from indexing.errors import InputError
from retrieve.fusion import FUSIONS, Fusion, FusionMethod, default_fusion, fusion_from_config
from retrieve.retrievers import Bm25Retriever, DenseRetriever, Retriever


def make_fusion(config: Mapping[str, Any] | None, legs: Sequence[Retriever]) -> FusionMethod:
    """Make the fusion that a configuration names (`fusion_from_config`); the default one for these legs for None.

    Raises
    ------
    InputError
        For a method or an option that there is not.
    """
    if config is not None:
        return fusion_from_config({"method": "weighted-sum", **config} if "like" not in config else config)
    return default_fusion({leg.name: score_kind(leg) for leg in legs})


def fusion_config(fusion: Fusion, legs: Sequence[Retriever]) -> dict[str, Any] | None:
    """Give what `make_fusion` makes this fusion of; None for the default.

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


def score_kind(leg: Retriever) -> str:
    """Say what kind of scores a leg gives, as `default_fusion` calls it."""
    if isinstance(leg, DenseRetriever):
        return "dot" if leg.encoder.similarity == "dot" else "cosine"
    return "bm25" if isinstance(leg, Bm25Retriever) else "another"
