"""What a QdrantIndex is made of, and where it lives."""

from dataclasses import dataclass, field
from typing import Literal, TypeAlias, get_args

from indexing.errors import InputError

Engine: TypeAlias = Literal["edge", "local", "server"]
Quantization: TypeAlias = Literal["scalar", "product", "binary"]

DENSE, SPARSE = "dense", "sparse"
"""The names of the vectors of a point."""
DOC_ID = "doc_id"
"""The payload's field with the id as it was given."""


@dataclass(frozen=True, slots=True)
class QdrantSettings:
    """What a QdrantIndex holds.

    Parameters
    ----------
    dimension
        Length of a dense vector; 0: points have none.
    vocabulary
        Number of terms of a sparse vector; 0: points have none.
    metric
        Of dense vectors: ``"cosine"`` (Qdrant keeps them normalised) or ``"dot"``. Sparse ones are always multiplied.
    m, ef_construction, ef_search
        HNSW's links a node, breadth while building and breadth while searching (Malkov and Yashunin 2018).
    quantization
        What the graph is walked with: ``"scalar"`` (a byte a component), ``"product"`` (a sixteenth of the bytes),
        ``"binary"`` (a bit a component); the hits are scored again with the whole vectors.
    on_disk
        Leave vectors and graph in files and let the page cache decide; else they are read into memory.
    """

    dimension: int = 0
    vocabulary: int = 0
    metric: Literal["cosine", "dot"] = "cosine"
    m: int = 16
    ef_construction: int = 128
    ef_search: int = 128
    quantization: Quantization | None = None
    on_disk: bool = False

    def __post_init__(self) -> None:
        if self.dimension < 0 or self.vocabulary < 0 or not (self.dimension or self.vocabulary):
            raise InputError(
                f"an index needs a dimension, or a vocabulary, or both: not {self.dimension} and {self.vocabulary}"
            )
        if self.metric not in ("cosine", "dot"):
            raise InputError(f"unknown metric {self.metric!r}: there are 'cosine' and 'dot'")
        if self.quantization is not None and self.quantization not in get_args(Quantization):
            known = ", ".join(map(repr, get_args(Quantization)))
            raise InputError(f"unknown quantization {self.quantization!r}: there are {known}")
        for name in ("m", "ef_construction", "ef_search"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} must be at least 1, not {getattr(self, name)}")


@dataclass(frozen=True, slots=True)
class QdrantServer:
    """A Qdrant server or cluster, and the collection in it.

    Parameters
    ----------
    url
        ``"http://localhost:6333"``.
    collection
        The name of Qdrant's collection.
    api_key
        Never written to disk; by default the environment's ``QDRANT_API_KEY``.
    grpc
        Speak gRPC (port 6334) instead of HTTP.
    timeout
        Seconds that one request may take.
    shard_number, replication_factor, write_consistency_factor
        For a cluster: into how many shards the collection is cut, how many copies there are of each, and how many of
        them must confirm a write. Qdrant's defaults when not given.
    """

    url: str
    collection: str
    api_key: str | None = field(default=None, repr=False)
    grpc: bool = False
    timeout: int = 60
    shard_number: int | None = None
    replication_factor: int | None = None
    write_consistency_factor: int | None = None
