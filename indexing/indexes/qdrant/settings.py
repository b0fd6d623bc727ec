"""Settings of a QdrantIndex, the schema of its points, and its location."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias, get_args

from indexing.errors import InputError
from indexing.indexes.names import TOKEN_METRICS
from indexing.indexes.qdrant.text_index import EngineText
from indexing.inputs import require_positive

Engine: TypeAlias = Literal["edge", "local", "server"]
Quantization: TypeAlias = Literal["scalar", "product", "binary"]

DENSE, SPARSE, TOKENS, TEXT = "dense", "sparse", "tokens", "text"
"""Names of the vectors of a point, and of its text."""
DOC_ID = "doc_id"
"""Payload field of the document's id."""
LARGEST_DOCUMENT = 2**20
"""Qdrant's bound on the numbers of a point's token vectors together."""


@dataclass(frozen=True, slots=True)
class Vector:
    """One named vector of the points of a Qdrant collection.

    Parameters
    ----------
    kind
        ``"dense"``, ``"sparse"``, ``"tokens"`` (a multivector that MaxSim compares), or ``"text"`` (a text in the
        payload that Qdrant scores by BM25).
    dimension
        Dimension of dense vectors and of token vectors.
    cosine
        Compare by cosine: Qdrant stores the vectors normalised. Else by inner product.
    idf
        Qdrant multiplies the query's weights by the inverse document frequency, as it is at the search.
    m, ef_construction, ef_search, quantization, on_disk, text
        As in `QdrantSettings`.
    """

    kind: Literal["dense", "sparse", "tokens", "text"]
    dimension: int = 0
    cosine: bool = False
    idf: bool = False
    m: int = 16
    ef_construction: int = 128
    ef_search: int = 128
    quantization: Quantization | None = None
    on_disk: bool = False
    text: EngineText | None = None

    @property
    def scans(self) -> bool:
        """True if every search compares all full vectors, because there is neither a graph nor a quantisation."""
        return self.kind == "tokens" and self.m == 0 and self.quantization is None


@dataclass(frozen=True, slots=True)
class Schema:
    """The points of one Qdrant collection.

    Parameters
    ----------
    vectors
        The vectors of a point by name.
    tenant
        The declared field that names a point's tenant: Qdrant keeps the points of a tenant together, and links the
        graph within each.
    sharded
        Each tenant has shards of its own, in a cluster.
    """

    vectors: Mapping[str, Vector]
    tenant: str | None = None
    sharded: bool = False

    @property
    def idf(self) -> bool:
        """True if some scores depend on the document frequencies of the whole collection."""
        return any(vector.idf for vector in self.vectors.values())

    @property
    def texts(self) -> Mapping[str, EngineText]:
        """The texts that Qdrant scores by itself, by name."""
        return {name: vector.text for name, vector in self.vectors.items() if vector.text is not None}


@dataclass(frozen=True, slots=True)
class QdrantSettings:
    """Settings of a QdrantIndex.

    Parameters
    ----------
    dimension
        Dimension of dense vectors, or of token vectors; 0 for points without any.
    vocabulary
        Number of terms of sparse vectors; 0 for points without one.
    metric
        For dense vectors ``"cosine"`` (Qdrant stores them normalised) or ``"dot"``; sparse ones always use the inner
        product. ``"maxsim"`` and ``"meanmaxsim"`` make points of token vectors (multivectors): the latter divides a
        score by the number of the query's vectors.
    m, ef_construction, ef_search
        HNSW's links per node, and breadth of the search while building and while searching (Malkov and Yashunin
        2018). With token vectors `m` may be 0, and is unless chosen: no graph, every document is compared.
    quantization
        Vectors for the search in the graph: ``"scalar"`` (a byte per component), ``"product"`` (a sixteenth of the
        bytes), ``"binary"`` (a bit per component). Hits are scored again with the full vectors.
    on_disk
        Leave vectors and graph in files, behind the page cache; else they are loaded into memory.
    idf
        Multiply the weights of sparse queries by the inverse document frequency.
    text
        Points have a text, which Qdrant analyses and scores by BM25, and no vectors.
    """

    dimension: int = 0
    vocabulary: int = 0
    metric: Literal["cosine", "dot", "maxsim", "meanmaxsim"] = "cosine"
    m: int = 16
    ef_construction: int = 128
    ef_search: int = 128
    quantization: Quantization | None = None
    on_disk: bool = False
    idf: bool = False
    text: EngineText | None = None

    def __post_init__(self) -> None:
        if isinstance(self.text, Mapping):
            object.__setattr__(self, "text", EngineText(**self.text))
        if self.text is not None and (self.dimension or self.vocabulary):
            raise InputError(
                "points with a text that Qdrant scores have no vectors: leave dimension and vocabulary out"
            )
        if self.dimension < 0 or self.vocabulary < 0 or not (self.dimension or self.vocabulary or self.text):
            raise InputError(
                f"an index needs a dimension, a vocabulary or both, not {self.dimension} and {self.vocabulary}"
            )
        if self.metric not in ("cosine", "dot", *TOKEN_METRICS):
            raise InputError(
                f"unknown metric {self.metric!r}: choose 'cosine' or 'dot', for token vectors 'maxsim' or 'meanmaxsim'"
            )
        if self.of_tokens and (self.vocabulary or not self.dimension):
            raise InputError(f"an index of metric {self.metric!r} needs a dimension, and has no vocabulary")
        if self.quantization is not None and self.quantization not in get_args(Quantization):
            known = ", ".join(map(repr, get_args(Quantization)))
            raise InputError(f"unknown quantization {self.quantization!r}: choose one of {known}")
        if not (self.of_tokens and self.m == 0):
            require_positive(m=self.m)
        require_positive(ef_construction=self.ef_construction, ef_search=self.ef_search)

    @property
    def of_tokens(self) -> bool:
        """True if points have token vectors."""
        return self.metric in TOKEN_METRICS

    @property
    def schema(self) -> Schema:
        """The points that these settings describe."""
        vectors = {}
        if self.dimension:
            vectors[TOKENS if self.of_tokens else DENSE] = Vector(
                "tokens" if self.of_tokens else "dense",
                self.dimension,
                self.metric == "cosine",
                m=self.m,
                ef_construction=self.ef_construction,
                ef_search=self.ef_search,
                quantization=self.quantization,
                on_disk=self.on_disk,
            )
        if self.vocabulary:
            vectors[SPARSE] = Vector("sparse", idf=self.idf, on_disk=self.on_disk)
        if self.text is not None:
            vectors[TEXT] = Vector("text", on_disk=self.on_disk, text=self.text)
        return Schema(vectors)

    @property
    def scans(self) -> bool:
        """True if every search compares all full vectors, because there is neither a graph nor a quantisation."""
        return all(vector.scans for vector in self.schema.vectors.values())


@dataclass(frozen=True, slots=True)
class QdrantServer:
    """Address of a collection on a Qdrant server or cluster.

    Parameters
    ----------
    url
        ``"http://localhost:6333"``.
    collection
        Name of Qdrant's collection.
    api_key
        Never written to disk; by default the environment variable ``QDRANT_API_KEY``.
    grpc
        Use gRPC (port 6334) instead of HTTP.
    timeout
        Timeout of a request in seconds.
    shard_number, replication_factor, write_consistency_factor
        For a cluster: number of shards, of copies of each, and of copies that must confirm a write. None means
        Qdrant's default.
    """

    url: str
    collection: str
    api_key: str | None = field(default=None, repr=False)
    grpc: bool = False
    timeout: int = 60
    shard_number: int | None = None
    replication_factor: int | None = None
    write_consistency_factor: int | None = None

    @property
    def cluster_options(self) -> dict[str, int]:
        """Options for a cluster that are given."""
        options = {
            "shard_number": self.shard_number,
            "replication_factor": self.replication_factor,
            "write_consistency_factor": self.write_consistency_factor,
        }
        return {name: value for name, value in options.items() if value is not None}
