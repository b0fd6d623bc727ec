"""Kinds of FAISS index: their settings, construction and search parameters."""

import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray

from indexing.errors import InputError
from indexing.indexes.faiss.rescored import make_rescored
from indexing.inputs import require_positive

if TYPE_CHECKING:
    import faiss

LARGEST_DIMENSION, MOST_CLUSTERS, MOST_LINKS = 1 << 16, 1 << 22, 1 << 10
"""Limits of settings that decide how much memory an empty index takes."""

Kind: TypeAlias = Literal["flat", "hnsw", "ivf", "pq", "sq", "binary", "int8", "factory"]


@dataclass(frozen=True, slots=True)
class FaissSettings:
    """Settings of a FaissIndex.

    Parameters
    ----------
    dimension
        Dimension of the vectors.
    kind
        ``"flat"`` compares the query with every vector: exact. ``"hnsw"`` searches a graph: approximate, faster on
        large corpora. ``"ivf"`` searches the `nprobe` nearest of `nlist` clusters. ``"pq"`` stores `pq_bytes` bytes
        per vector (product quantisation, Jégou et al. 2011), ``"sq"`` one byte per component; both compare the query
        with every vector. ``"binary"`` compares one bit per component (its sign)
        with every vector by Hamming distance, ``"int8"`` one byte; both rescore the best `rescore_multiplier` times k
        from rows that are `kept`, and with `graph` search a graph instead of every vector. ``"factory"`` builds from
        the string `factory` for FAISS's ``index_factory``, such as ``"OPQ48,IVF1024,PQ48"``.
    metric
        ``"cosine"`` normalises vectors and queries to length 1; ``"dot"`` leaves them unchanged.
    m, ef_construction, ef_search
        HNSW's links per node, and breadth of the search while building and while searching (Malkov and Yashunin
        2018).
    nlist, nprobe
        Number of IVF's clusters (0: four times the square root of the training sample), and of clusters that a query
        searches.
    pq_bytes
        A divisor of the dimension; 0 means the largest divisor up to an eighth of the dimension.
    graph
        Search ``"binary"`` or ``"int8"`` codes through a graph, as HNSW does.
    kept
        Type of the rows that rescore: ``"float32"`` (the default of ``"int8"``) or ``"int8"`` (that of ``"binary"``).
    rescore_multiplier
        Number of candidates that are rescored for each of the k hits.
    factory
        String for the kind ``"factory"``.
    training_sample
        Kinds that need training (IVF, PQ, SQ, most factory strings) are trained on this number of vectors, as soon as
        the index holds so many. Before that, search is exact.
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
    graph: bool = False
    kept: Literal["", "float32", "int8"] = ""
    rescore_multiplier: int = 4
    factory: str = ""
    training_sample: int = 50_000

    def __post_init__(self) -> None:
        require_positive(dimension=self.dimension)
        if self.kind not in get_args(Kind):
            known = ", ".join(map(repr, get_args(Kind)[:-1]))
            raise InputError(f"unknown kind {self.kind!r} of FAISS index: choose one of {known}, 'factory'")
        if self.metric not in ("cosine", "dot"):
            raise InputError(f"unknown metric {self.metric!r}: choose 'cosine' or 'dot'")
        if bool(self.factory) != (self.kind == "factory"):
            raise InputError("kind='factory' and factory need each other: kind='factory', factory='IVF1024,PQ48'")
        require_positive(m=self.m, ef_construction=self.ef_construction, ef_search=self.ef_search)
        require_positive(nprobe=self.nprobe, training_sample=self.training_sample)
        require_positive(rescore_multiplier=self.rescore_multiplier)
        if self.kept not in ("", "float32", "int8"):
            raise InputError(f"kept must be 'float32' or 'int8', not {self.kept!r}")
        if self.nlist < 0:
            raise InputError(f"nlist must be at least 1, or 0 for the default, not {self.nlist}")
        for name, largest in (("dimension", LARGEST_DIMENSION), ("nlist", MOST_CLUSTERS), ("m", MOST_LINKS)):
            if getattr(self, name) > largest:
                raise InputError(f"{name} must be at most {largest:,}, not {getattr(self, name)}")
        if self.pq_bytes and self.dimension % self.pq_bytes:
            raise InputError(f"pq_bytes must divide the dimension {self.dimension}, which {self.pq_bytes} does not")
        if self.kind == "factory":
            _from_factory(self.dimension, self.factory)


def make_flat(dimension: int) -> "faiss.Index":
    """Create an empty flat index."""
    import faiss

    return faiss.IndexFlatIP(dimension)


def make(settings: FaissSettings, sample: int) -> "faiss.Index":
    """Create an empty, untrained index; `sample` is the number of vectors that it will be trained on."""
    import faiss

    if settings.kind == "flat":
        return make_flat(settings.dimension)
    if settings.kind in ("binary", "int8"):
        return make_rescored(settings)
    if settings.kind == "hnsw":
        index = faiss.IndexHNSWFlat(settings.dimension, settings.m, faiss.METRIC_INNER_PRODUCT)
        index.hnsw.efConstruction = settings.ef_construction
        return index
    return _from_factory(settings.dimension, _factory_string(settings, sample))


def needs_training(settings: FaissSettings) -> bool:
    """Return whether this kind must be trained before it can hold vectors."""
    if settings.kind in ("flat", "hnsw"):
        return False
    if settings.kind == "binary":
        return settings.kept != "float32"
    return settings.kind != "factory" or not _from_factory(settings.dimension, settings.factory).is_trained


def selector(mask: NDArray[np.bool_]) -> Any:
    """Return FAISS's selector of the positions where this mask is true."""
    import faiss

    return faiss.IDSelectorBitmap(np.packbits(mask, bitorder="little"))


def selects(index: "faiss.Index") -> bool:
    """Return whether searches of this index take a selector."""
    return search_parameters(index, FaissSettings(index.d), 1, None) is not None


def search_parameters(index: "faiss.Index", settings: FaissSettings, k: int, selector: Any) -> Any:
    """Return the parameters to search this index among the selected positions (None: all).

    Returns
    -------
    SearchParameters
        None if the index takes no parameters, and thus no selector.
    """
    import faiss

    selection = {} if selector is None else {"sel": selector}
    if isinstance(index, faiss.IndexHNSW):
        return faiss.SearchParametersHNSW(efSearch=max(settings.ef_search, k), **selection)
    if isinstance(index, faiss.IndexIVFPQ):
        return faiss.IVFPQSearchParameters(nprobe=settings.nprobe, **selection)
    if isinstance(index, faiss.IndexIVF):
        return faiss.SearchParametersIVF(nprobe=settings.nprobe, **selection)
    if isinstance(index, faiss.IndexPreTransform):
        inner = search_parameters(faiss.downcast_index(index.index), settings, k, selector)
        return None if inner is None else faiss.SearchParametersPreTransform(index_params=inner, **selection)
    if isinstance(index, faiss.IndexRefine):
        times = settings.rescore_multiplier
        inner = search_parameters(faiss.downcast_index(index.base_index), settings, times * k, selector)
        return None if inner is None else faiss.IndexRefineSearchParameters(k_factor=times, base_index_params=inner)
    if isinstance(index, faiss.IndexFlat | faiss.IndexScalarQuantizer):
        return faiss.SearchParameters(**selection)
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

    _check_factory(text)
    try:
        return faiss.index_factory(dimension, text, faiss.METRIC_INNER_PRODUCT)
    except RuntimeError as error:
        reason = str(error).rpartition("failed: ")[2] or str(error)
        raise InputError(f"FAISS cannot build an index of dimension {dimension} from {text!r}: {reason}") from error


def _check_factory(text: str) -> None:
    """Raise InputError for a factory string whose numbers would take all memory; FAISS itself has no limits."""
    numbers = [int(number) for number in re.findall(r"\d+", text[:200])]
    bits = [int(parts) * int(each) for parts, each in re.findall(r"IMI(\d+)x(\d+)", text[:200])]
    bits += [int(each) + 6 for each in re.findall(r"(?<!IMI\d)x(\d+)", text[:200])]
    links = [int(number) for number in re.findall(r"(?:HNSW|NSG)(\d+)", text[:200])]
    largest = max([0, *numbers, *(1 << min(each, 64) for each in bits), *(number << 12 for number in links)])
    if len(text) > 200 or largest > MOST_CLUSTERS:
        raise InputError(
            f"the factory string {text[:80]!r} has a number that is too large: at most {MOST_CLUSTERS:,} clusters, "
            f"{MOST_LINKS:,} links, 16 bits and 200 characters"
        )
