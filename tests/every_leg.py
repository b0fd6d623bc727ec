"""A collection with every kind of leg of words, vectors and term weights, the last two by tiny encoders."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from indexing.collection.manifest import Leg
from indexing.documents import Document
from pipelines.build.job import Plan, build_legs
from retrieve.encoders import DenseEncoder, SparseEncoder

LEGS = ["words", "fields", "flat", "graph", "edge", "local", "impact", "postings", "edge-weights"]
VECTORS = ["flat", "graph", "edge", "local"]
TERMS = ["impact", "postings", "edge-weights"]


def build_every_leg(
    documents: Sequence[Document],
    path: Path,
    dense: DenseEncoder,
    sparse: SparseEncoder,
    fields: Mapping[str, str],
    *,
    positions: bool = False,
) -> Path:
    """Build the collection, with the positions of words if asked for; return its path."""
    shape, words = {"dimension": dense.dimension, "metric": "cosine"}, {"positions": True} if positions else {}
    legs = {
        "words": Leg("bm25", None, words),
        "fields": Leg("bm25", None, words | {"weights": {"title": 2.0, "text": 1.0}}),
        "flat": Leg("faiss", dense.identity, shape | {"kind": "flat"}),
        "graph": Leg("faiss", dense.identity, shape | {"kind": "hnsw"}),
        "edge": Leg("qdrant", dense.identity, shape | {"engine": "edge"}),
        "local": Leg("qdrant", dense.identity, shape | {"engine": "local"}),
        "impact": Leg("impact", sparse.identity),
        "postings": Leg("postings", sparse.identity, {"columns": len(sparse.vocabulary)}),
        "edge-weights": Leg("qdrant", sparse.identity, {"columns": len(sparse.vocabulary)}),
    }
    encoders = dict.fromkeys(VECTORS, dense) | dict.fromkeys(TERMS, sparse)
    plan = Plan(legs, encoders, {"impact": sparse.vocabulary}, fields)
    build_legs(documents, path, plan, show_progress=False)
    return path
