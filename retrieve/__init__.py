"""Models and search: encoders, retrievers, fusion and rerankers, built on `indexing`.

Names are imported on first use, so importing this package loads no heavy library.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from indexing.max_sim import max_sim, max_sim_pairwise, xtr_scores
    from retrieve.default_models import default_dense_model
    from retrieve.encoders import CrossEncoder, DenseEncoder, MultiVectorEncoder, SparseEncoder
    from retrieve.fusion import reciprocal_rank_fusion, weighted_sum
    from retrieve.hybrid import HybridRetriever
    from retrieve.reranking.cross_encoder import Reranker
    from retrieve.reranking.late_interaction import LateInteractionReranker
    from retrieve.retrievers import Bm25Retriever, DenseRetriever, SparseRetriever, TokenRetriever

_HOME = {
    "default_dense_model": "retrieve.default_models",
    "CrossEncoder": "retrieve.encoders",
    "DenseEncoder": "retrieve.encoders",
    "MultiVectorEncoder": "retrieve.encoders",
    "SparseEncoder": "retrieve.encoders",
    "reciprocal_rank_fusion": "retrieve.fusion",
    "weighted_sum": "retrieve.fusion",
    "max_sim": "indexing.max_sim",
    "max_sim_pairwise": "indexing.max_sim",
    "xtr_scores": "indexing.max_sim",
    "HybridRetriever": "retrieve.hybrid",
    "LateInteractionReranker": "retrieve.reranking.late_interaction",
    "Reranker": "retrieve.reranking.cross_encoder",
    "Bm25Retriever": "retrieve.retrievers",
    "DenseRetriever": "retrieve.retrievers",
    "SparseRetriever": "retrieve.retrievers",
    "TokenRetriever": "retrieve.retrievers",
}

__all__ = [
    "Bm25Retriever",
    "CrossEncoder",
    "DenseEncoder",
    "DenseRetriever",
    "HybridRetriever",
    "LateInteractionReranker",
    "MultiVectorEncoder",
    "Reranker",
    "SparseEncoder",
    "SparseRetriever",
    "TokenRetriever",
    "default_dense_model",
    "max_sim",
    "max_sim_pairwise",
    "reciprocal_rank_fusion",
    "weighted_sum",
    "xtr_scores",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'retrieve' has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return __all__
