"""Comparison of an encoder's identity with that of the encoder that a leg was built with."""

from collections.abc import Mapping
from typing import Any

from indexing.errors import ModelError

RECORDED_ONLY = frozenset({"name", "dtype", "revision"})
"""Fields recorded but not compared: an index built in bfloat16 from one folder opens with float32 from another."""


def differences(recorded: Mapping[str, Any], given: Mapping[str, Any]) -> list[str]:
    """Return the names of the fields in which two encoder identities differ."""
    compared = (recorded.keys() | given.keys()) - RECORDED_ONLY
    return sorted(key for key in compared if recorded.get(key) != given.get(key))


def check_identity(recorded: Mapping[str, Any], given: Mapping[str, Any], leg: str) -> None:
    """Check that an encoder is the one that a leg was built with.

    Raises
    ------
    ModelError
        If not, naming both encoders and the differing fields.
    """
    if differ := differences(recorded, given):
        raise ModelError(
            f"the leg {leg!r} was built with the encoder {recorded.get('name')!r}, but {given.get('name')!r} was "
            f"given: they differ in {', '.join(differ)}. Use the same model, or build the collection again"
        )
