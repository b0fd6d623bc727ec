"""Names of the kinds of index and of the rows that they take."""

from typing import Literal, TypeAlias

Rows: TypeAlias = Literal["text", "vectors", "weights"]
"""Rows of an index: texts, dense vectors, or the term weights of a sparse encoder."""
Backend: TypeAlias = str
"""Name of a kind of index: a key of `indexing.indexes.registry.KINDS`."""
