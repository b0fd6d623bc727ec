"""Comparison of an encoder's identity with that of the encoder that a leg was built with."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from indexing.errors import ModelError

RECORDED_ONLY = frozenset({"name", "dtype", "revision", "url"})
"""Fields recorded but not compared: an index built in bfloat16 from one folder opens with float32 from another."""

FINGERPRINT = "fingerprint"
"""Field with sketches of vectors of fixed texts, one row a text, compared by their cosines."""

LEAST_COSINE = 0.999
"""Cosine of two sketches from which they are of the same model: other hardware and batches move the fourth digit."""


def differences(recorded: Mapping[str, Any], given: Mapping[str, Any]) -> list[str]:
    """Return the names of the fields in which two encoder identities differ."""
    compared = (recorded.keys() | given.keys()) - RECORDED_ONLY
    differing = {key for key in compared if recorded.get(key) != given.get(key)}
    if FINGERPRINT in differing and are_alike(recorded.get(FINGERPRINT), given.get(FINGERPRINT)):
        differing.remove(FINGERPRINT)
    return sorted(differing)


def are_alike(one: Any, other: Any) -> bool:
    """Return whether two fingerprints are of the same model: each of their rows points in the same direction."""
    try:
        rows, others = np.asarray(one, np.float64), np.asarray(other, np.float64)
    except (ValueError, TypeError):
        return False
    if rows.ndim != 2 or rows.shape != others.shape:
        return False
    lengths = np.linalg.norm(rows, axis=1) * np.linalg.norm(others, axis=1)
    return bool(((rows * others).sum(axis=1) >= LEAST_COSINE * lengths).all())


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
