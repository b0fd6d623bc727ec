"""Encoder identity, where pipelines look for it; collections check it too, so it stands on their floor."""

from indexing.identity import RECORDED_ONLY, check_identity, differences

__all__ = ["RECORDED_ONLY", "check_identity", "differences"]
