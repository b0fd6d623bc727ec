"""Min-max for what uses it outside of fusion: rerankers, which put scores of two stages on one scale."""

from retrieve.fusion.normalizers.min_max import min_max

__all__ = ["min_max"]
