"""A fusion from a configuration, and back."""

from collections.abc import Mapping
from functools import partial
from typing import Any

from indexing.errors import InputError
from retrieve import fusion as fusions
from retrieve.fusion import FUSIONS, Fusion, weighted_sum


def make_fusion(config: Mapping[str, Any] | None) -> Fusion:
    """Make the fusion that a configuration names; the weighted sum with equal weights for None.

    Raises
    ------
    InputError
        For a method or an option that there is not.
    """
    if config is None:
        return weighted_sum
    read = getattr(fusions, "fusion_from_config", None)
    if read is not None:
        made: Fusion = read(config)
        return made
    options = dict(config)
    method = options.pop("method", "weighted-sum")
    if method not in FUSIONS:
        raise InputError(f"unknown fusion method {method!r}: there are {', '.join(FUSIONS)}")
    return partial(FUSIONS[method], **options) if options else FUSIONS[method]


def fusion_config(fusion: Fusion) -> dict[str, Any] | None:
    """Give what `make_fusion` makes this fusion of; None for the default.

    Raises
    ------
    InputError
        For a function that has no name in a configuration.
    """
    as_config = getattr(fusion, "as_config", None)
    if as_config is not None:
        written: dict[str, Any] = as_config()
        return written
    options = dict(fusion.keywords) if isinstance(fusion, partial) else {}
    options = {name: value for name, value in options.items() if value is not None}
    bare = fusion.func if isinstance(fusion, partial) else fusion
    name = next((name for name, known in FUSIONS.items() if known is bare), None)
    if name is None:
        raise InputError(f"the fusion {fusion!r} is a function of your own, which a configuration file cannot name")
    return None if bare is weighted_sum and not options else {"method": name, **options}
