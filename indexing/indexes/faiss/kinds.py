"""The kinds of FAISS index: their settings, how each is made, and how each is told what to search."""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, get_args

from indexing.errors import InputError

if TYPE_CHECKING:
    import faiss

Kind: TypeAlias = Literal["flat", "hnsw", "ivf", "pq", "sq", "factory"]


@dataclass(frozen=True, slots=True)
class FaissSettings:
    """What a FaissIndex is made of.

    Parameters
    ----------
    dimension
        Length of a vector.
    kind
        ``"flat"`` compares with every vector: exact. ``"hnsw"`` walks a graph: approximate, faster on large corpora.
        ``"ivf"`` looks into the `nprobe` nearest of `nlist` clusters. ``"pq"`` keeps `pq_bytes` bytes a vector
        (product quantisation, Jégou et al. 2011), ``"sq"`` one byte a component; both compare with every vector.
        ``"factory"`` is any string of FAISS's ``index_factory``, given as `factory`: ``"OPQ48,IVF1024,PQ48"``.
    metric
        ``"cosine"`` normalises vectors and queries to length 1; ``"dot"`` takes them as they are.
    m, ef_construction, ef_search
        HNSW's links a node, breadth while building and breadth while searching (Malkov and Yashunin 2018).
    nlist, nprobe
        IVF's clusters (0: four times the root of the training sample) and how many of them a query looks into.
    pq_bytes
        A divisor of the dimension; 0 takes an eighth of the dimension, or the next smaller divisor.
    factory
        The string, for the kind ``"factory"``.
    training_sample
        Kinds that learn from data (IVF, PQ, SQ, most factory strings) wait for so many vectors, and learn from so
        many at most. Before that they search exactly.
    """

    dimension: int
    kind: Kind = "flat"
    metric: Literal["cosine", "dot"] = "cosine"
    m: int = 32
    ef_construction: int = 200
    ef_search: int = 128
    nlist: int = 0
    nprobe: int = 16
    pq_bytes: int = 0
    factory: str = ""
    training_sample: int = 50_000

    def __post_init__(self) -> None:
        if self.dimension < 1:
            raise InputError(f"dimension must be at least 1, not {self.dimension}")
        if self.kind not in get_args(Kind):
            known = ", ".join(map(repr, get_args(Kind)[:-1]))
            raise InputError(f"unknown kind {self.kind!r} of FAISS index: there are {known} and 'factory'")
        if self.metric not in ("cosine", "dot"):
            raise InputError(f"unknown metric {self.metric!r}: there are 'cosine' and 'dot'")
        if bool(self.factory) != (self.kind == "factory"):
            raise InputError("factory goes with kind='factory': kind='factory', factory='IVF1024,PQ48'")
        for name in ("m", "ef_construction", "ef_search", "nprobe", "training_sample"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} must be at least 1, not {getattr(self, name)}")
        if self.nlist < 0:
            raise InputError(f"nlist must be at least 1, or 0 to let it be chosen, not {self.nlist}")
        if self.pq_bytes and self.dimension % self.pq_bytes:
            raise InputError(f"pq_bytes must divide the dimension {self.dimension}, and {self.pq_bytes} does not")
        if self.kind == "factory":
            _from_factory(self.dimension, self.factory)


def make_flat(dimension: int) -> "faiss.Index":
    """Make an empty Flat index."""
    import faiss

    return faiss.IndexFlatIP(dimension)


def make(settings: FaissSettings, sample: int) -> "faiss.Index":
    """Make an empty index, not yet trained on its `sample` of so many vectors."""
    import faiss

    if settings.kind == "flat":
        return make_flat(settings.dimension)
    if settings.kind == "hnsw":
        index = faiss.IndexHNSWFlat(settings.dimension, settings.m, faiss.METRIC_INNER_PRODUCT)
        index.hnsw.efConstruction = settings.ef_construction
        return index
    return _from_factory(settings.dimension, _factory_string(settings, sample))


def needs_training(settings: FaissSettings) -> bool:
    """Say whether this kind must see data before it can hold vectors."""
    if settings.kind in ("flat", "hnsw"):
        return False
    return settings.kind != "factory" or not _from_factory(settings.dimension, settings.factory).is_trained


def search_parameters(index: "faiss.Index", settings: FaissSettings, k: int, selector: Any) -> Any:
    """Make the parameters that search this index among the selected positions (all: None).

    Returns
    -------
    SearchParameters
        None where the index takes no parameters: then it cannot be told a selector either.
    """
    import faiss

    chosen = {} if selector is None else {"sel": selector}
    if isinstance(index, faiss.IndexHNSW):
        return faiss.SearchParametersHNSW(efSearch=max(settings.ef_search, k), **chosen)
    if isinstance(index, faiss.IndexIVFPQ):
        return faiss.IVFPQSearchParameters(nprobe=settings.nprobe, **chosen)
    if isinstance(index, faiss.IndexIVF):
        return faiss.SearchParametersIVF(nprobe=settings.nprobe, **chosen)
    if isinstance(index, faiss.IndexPreTransform):
        inner = search_parameters(faiss.downcast_index(index.index), settings, k, selector)
        return None if inner is None else faiss.SearchParametersPreTransform(index_params=inner, **chosen)
    if isinstance(index, faiss.IndexRefine):
        inner = search_parameters(faiss.downcast_index(index.base_index), settings, 4 * k, selector)
        return None if inner is None else faiss.IndexRefineSearchParameters(k_factor=4.0, base_index_params=inner)
    if isinstance(index, faiss.IndexFlat | faiss.IndexScalarQuantizer):
        return faiss.SearchParameters(**chosen)
    return None


def _factory_string(settings: FaissSettings, sample: int) -> str:
    if settings.kind == "factory":
        return settings.factory
    if settings.kind == "ivf":
        return f"IVF{settings.nlist or max(1, min(sample, round(4 * math.sqrt(sample))))},Flat"
    if settings.kind == "sq":
        return "SQ8"
    dimension = settings.dimension
    parts = settings.pq_bytes or next(parts for parts in range(max(1, dimension // 8), 0, -1) if dimension % parts == 0)
    return f"PQ{parts}"


def _from_factory(dimension: int, text: str) -> "faiss.Index":
    import faiss

    try:
        return faiss.index_factory(dimension, text, faiss.METRIC_INNER_PRODUCT)
    except RuntimeError as error:
        reason = str(error).rpartition("failed: ")[2] or str(error)
        raise InputError(f"FAISS makes no index of dimension {dimension} from {text!r}: {reason}") from error
