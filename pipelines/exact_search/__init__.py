"""Exact search over vectors in memory, by any similarity."""
