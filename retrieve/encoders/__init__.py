"""Encoders: models that map text to vectors (dense, multi-vector) or weighted terms (sparse), or score pairs (cross).

Importing this package loads neither torch nor transformers; creating an encoder does.
"""

from indexing.token_vectors import TokenVectors
from retrieve.encoders.cross import CrossEncoder
from retrieve.encoders.dense import DenseEncoder
from retrieve.encoders.dense_tokens import DenseTokens
from retrieve.encoders.multi_vector import MultiVectorEncoder
from retrieve.encoders.quantize import quantize, value_ranges
from retrieve.encoders.sparse import SparseEncoder
from retrieve.encoders.term_weights import Sparsity, sparsity
from retrieve.encoders.workers import EncoderWorkers

__all__ = [
    "CrossEncoder",
    "DenseEncoder",
    "DenseTokens",
    "EncoderWorkers",
    "MultiVectorEncoder",
    "SparseEncoder",
    "Sparsity",
    "TokenVectors",
    "quantize",
    "sparsity",
    "value_ranges",
]
