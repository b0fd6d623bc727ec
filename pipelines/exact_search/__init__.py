"""Exact search by dot product over vectors in memory."""
