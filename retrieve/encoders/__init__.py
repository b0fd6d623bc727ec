"""Encoders: models that map text to vectors (dense) or weighted terms (sparse), or score a pair of texts (cross).

Importing this package loads neither torch nor transformers; creating an encoder does.
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
