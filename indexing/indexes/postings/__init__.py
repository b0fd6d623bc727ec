"""Exact term weights in columns that are mapped into memory."""
