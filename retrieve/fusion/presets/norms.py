"""Norms of other tools."""

from collections.abc import Mapping

from indexing.errors import InputError
from retrieve.fusion.normalizers import Normalizer


def choose_norm(tool: str, norms: Mapping[str, Normalizer], name: str) -> Normalizer:
    """Return a tool's norm by name, or raise InputError with the tool's norms."""
    if name not in norms:
        raise InputError(f"the preset {tool} has no norm {name!r}; choose one of {', '.join(norms)}")
    return norms[name]
