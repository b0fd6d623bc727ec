"""Names of the kinds of index and of the rows that they take."""

from typing import Literal, TypeAlias

Rows: TypeAlias = Literal["text", "vectors", "weights", "tokens"]
"""Rows of an index: texts, dense vectors, the term weights of a sparse encoder, or token vectors."""
Backend: TypeAlias = str
"""Name of a kind of index: a key of `indexing.indexes.registry.KINDS`."""
TOKEN_METRICS = ("maxsim", "meanmaxsim")
"""Metrics that compare token vectors: a leg's rows are token vectors if its metric is one of these."""
