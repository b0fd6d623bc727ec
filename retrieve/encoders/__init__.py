"""Encoders: models that turn text into vectors (dense), weighted terms (sparse) or a score for a pair (cross).

Importing this loads neither torch nor transformers; making an encoder does.
"""

from retrieve.encoders.cross import CrossEncoder
from retrieve.encoders.dense import DenseEncoder, TokenVectors
from retrieve.encoders.quantize import quantize, value_ranges
from retrieve.encoders.sparse import SparseEncoder, Sparsity, sparsity
from retrieve.encoders.workers import EncoderWorkers

__all__ = [
    "CrossEncoder",
    "DenseEncoder",
    "EncoderWorkers",
    "SparseEncoder",
    "Sparsity",
    "TokenVectors",
    "quantize",
    "sparsity",
    "value_ranges",
]
