"""Choose a fusion: by its method's name, by a preset's name, by a configuration, or as an object."""

from collections.abc import Mapping
from typing import Any

from indexing.errors import InputError
from indexing.inputs import shown
from retrieve.fusion import METHODS, Fusion, fusion_from_config
from retrieve.fusion.presets.preset import TOOLS


def fusion_config_of(name: str) -> dict[str, Any]:
    """Return the configuration that a name stands for: a method's, such as ``rrf``, or a preset's, such as ``qdrant``.

    Raises
    ------
    InputError
        For an unknown name; the message lists the known ones.
    """
    if name in METHODS:
        return {"method": name}
    if name in TOOLS:
        return {"like": name}
    raise InputError(f"there is no fusion {shown(name)}; choose one of {', '.join([*METHODS, *TOOLS])}")


def fusion_of(given: Any) -> Fusion:
    """Return a fusion that is given by name, as a configuration, or as a callable.

    Raises
    ------
    InputError
        For an unknown name, an invalid configuration, and anything else.
    """
    if isinstance(given, str):
        given = fusion_config_of(given)
    if isinstance(given, Mapping):
        return fusion_from_config(given)
    if isinstance(given, type) or not callable(given):
        raise InputError(f"fusion must be a method's name, its configuration or a function, not {shown(given)}")
    fusion: Fusion = given
    return fusion
