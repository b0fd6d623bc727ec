"""Options of indexes, shared by `retrieve index` and `retrieve reindex`, and what they choose."""

import argparse
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from indexing.errors import InputError
from indexing.indexes.registry import backends_of, kind_of
from pipelines.commands.command import numbers_by_field, positive

if TYPE_CHECKING:
    from indexing.indexes.registry import Backend, Rows

KINDS = ("flat", "hnsw", "ivf", "pq", "sq", "binary", "int8", "factory")

_OPTIONS = {
    "kind": "--dense-index",
    "factory": "--factory",
    "nlist": "--nlist",
    "nprobe": "--nprobe",
    "pq_bytes": "--pq-bytes",
    "training_sample": "--training-sample",
    "graph": "--graph",
    "kept": "--kept",
    "rescore_multiplier": "--rescore-multiplier",
    "m": "--hnsw-m",
    "ef_construction": "--hnsw-ef-construction",
    "ef_search": "--hnsw-ef-search",
    "quantization": "--quantization",
    "on_disk": "--on-disk",
    "server": "--qdrant-url",
    "k1": "--k1",
    "b": "--b",
    "analyzer": "--analyzer",
    "scale": "--scale",
    "positions": "--bm25-positions",
    "similarity": "--similarity",
    "mu": "--mu",
    "smoothing": "--smoothing",
}
"""Option of each index parameter."""
BM25_PARAMETERS = ("k1", "b", "analyzer", "positions", "similarity", "mu", "smoothing")
"""Parameters of the BM25 leg among them."""
_OF_SERVER = {
    "collection": "--qdrant-collection",
    "grpc": "--qdrant-grpc",
    "shard_number": "--qdrant-shards",
    "replication_factor": "--qdrant-replicas",
    "write_consistency_factor": "--qdrant-write-consistency",
}


def add_index_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of FAISS and Qdrant legs, in groups."""
    faiss = parser.add_argument_group("dense leg in FAISS")
    faiss.add_argument("--dense-index", choices=KINDS, help="FAISS index; flat is exact, the others approximate (flat)")
    faiss.add_argument("--factory", metavar="STRING", help="with --dense-index factory, as in IVF1024,PQ48")
    faiss.add_argument("--nlist", type=positive, metavar="N", help="number of ivf clusters")
    faiss.add_argument("--nprobe", type=positive, metavar="N", help="ivf clusters searched per query (16)")
    faiss.add_argument("--pq-bytes", type=positive, metavar="N", help="bytes per vector in pq")
    faiss.add_argument(
        "--training-sample", type=positive, metavar="N", help="vectors on which quantized kinds are trained (50000)"
    )
    faiss.add_argument(
        "--graph", action="store_true", default=None, help="search binary or int8 codes through a graph, as hnsw does"
    )
    faiss.add_argument(
        "--kept",
        choices=["float32", "int8"],
        help="rows that rescore the hits of binary (int8) or int8 (float32) codes",
    )
    faiss.add_argument("--rescore-multiplier", type=positive, metavar="N", help="candidates rescored for each hit (4)")
    graph = parser.add_argument_group("dense leg in FAISS (--dense-index hnsw) or Qdrant")
    graph.add_argument("--hnsw-m", type=positive, metavar="N", help="links per node (32; qdrant: 16)")
    graph.add_argument(
        "--hnsw-ef-construction", type=positive, metavar="N", help="search breadth while building (200; qdrant: 128)"
    )
    graph.add_argument("--hnsw-ef-search", type=positive, metavar="N", help="search breadth while searching (128)")
    qdrant = parser.add_argument_group("leg in Qdrant")
    qdrant.add_argument("--quantization", choices=["scalar", "product", "binary"], help="for dense vectors (none)")
    qdrant.add_argument("--on-disk", action="store_true", help="keep vectors and graph on disk instead of in memory")
    qdrant.add_argument(
        "--qdrant-url",
        metavar="URL",
        help="a server or cluster, with its API key in QDRANT_API_KEY (embedded Qdrant, which serves one process)",
    )
    qdrant.add_argument(
        "--qdrant-collection", metavar="NAME", help="its name on the server; `index` appends the leg's (a new name)"
    )
    qdrant.add_argument("--qdrant-grpc", action="store_true", help="use gRPC, port 6334")
    qdrant.add_argument("--qdrant-shards", type=positive, metavar="N", help="shards of the collection in a cluster")
    qdrant.add_argument("--qdrant-replicas", type=positive, metavar="N", help="replicas of each shard in a cluster")
    qdrant.add_argument(
        "--qdrant-write-consistency", type=positive, metavar="N", help="replicas that must confirm a write in a cluster"
    )


def add_bm25_options(parser: Any) -> None:
    """Add the options of what a BM25 leg stores."""
    parser.add_argument(
        "--bm25-positions",
        action="store_true",
        default=None,
        help='store where words stand in a text, for phrases in --query-syntax simple: "exact phrase", "near"~5',
    )
    parser.add_argument(
        "--similarity",
        choices=("bm25", "lm-dirichlet", "lm-jelinek-mercer"),
        help="how words are scored: BM25, or query likelihood with Dirichlet or Jelinek-Mercer smoothing (bm25)",
    )
    parser.add_argument("--mu", type=float, metavar="N", help="parameter of Dirichlet smoothing (1000)")
    parser.add_argument("--smoothing", type=float, metavar="N", help="parameter of Jelinek-Mercer smoothing (0.1)")


def add_text_options(parser: Any) -> None:
    """Add the options of how a new BM25 leg reads texts."""
    parser.add_argument(
        "--bm25-fields",
        type=numbers_by_field,
        metavar="title=W,text=W",
        help="index title and text as separate fields with these weights (as one field)",
    )
    parser.add_argument(
        "--analyzer",
        metavar="NAME",
        help="Lucene analyzer: a language code, as in de (Anserini's English); with --bm25-backend qdrant also qdrant, "
        "qdrant-de: Qdrant analyses and scores the texts itself",
    )


def index_parameters(options: argparse.Namespace) -> dict[str, Any]:
    """Return the parameters that the options set, by their names in the manifest."""
    given: dict[str, Any] = {
        name: getattr(options, _attribute(option), None) for name, option in _OPTIONS.items() if name != "server"
    }
    server = {name: getattr(options, _attribute(option)) or None for name, option in _OF_SERVER.items()}
    server = {name: value for name, value in server.items() if value is not None}
    if server and not options.qdrant_url:
        raise InputError(f"{_OF_SERVER[next(iter(server))]} requires --qdrant-url")
    given["on_disk"] = options.on_disk or None
    given["server"] = {"url": options.qdrant_url, **server} if options.qdrant_url else None
    return {name: value for name, value in given.items() if value is not None}


def index_choices(options: argparse.Namespace) -> dict[str, Any]:
    """Return the index settings from the options of `retrieve index`, as keyword arguments of `make_plan`."""
    from pipelines.build.plan import IndexChoice

    dense_backend = options.dense_backend or backends_of("vectors")[0]
    sparse_backend = options.sparse_backend or backends_of("weights")[0]
    token_backend = options.late_interaction_backend or backends_of("tokens")[0]
    given = index_parameters(options)
    bm25: dict[str, Any] = {name: given.pop(name) for name in BM25_PARAMETERS if name in given}
    bm25_backend = options.bm25_backend or backends_of("text")[0]
    of_words = kind_of(bm25_backend).choices("text", {}) & given.keys()
    bm25_place = {name: _for_leg(name, value, "bm25") for name, value in given.items() if name in of_words}
    of_sparse = kind_of(sparse_backend).choices("weights", {}) & given.keys() if options.sparse else frozenset()
    of_tokens = _token_parameters(options, token_backend) & given.keys()
    shared = of_sparse | of_tokens | of_words
    sparse = {name: _for_leg(name, value, "sparse") for name, value in given.items() if name in of_sparse}
    tokens = {name: _for_leg(name, value, "tokens") for name, value in given.items() if name in of_tokens}
    known = frozenset() if options.no_dense else kind_of(dense_backend).choices("vectors", given)
    given = {name: value for name, value in given.items() if name in known or name not in shared}
    if options.no_dense and given:
        raise InputError(f"{option_of(next(iter(given)))} requires a dense leg, and --no-dense builds none")
    dense = {name: _for_leg(name, value, "dense") for name, value in given.items()}
    check_parameters("dense", dense_backend, "vectors", dense, dense)
    return {
        "dense_index": IndexChoice(dense_backend, dense),
        "sparse_index": IndexChoice(sparse_backend, sparse),
        "token_index": IndexChoice(token_backend, tokens),
        "bm25_index": IndexChoice(bm25_backend, bm25_place),
        "bm25_fields": options.bm25_fields,
        "bm25_parameters": bm25,
    }


def _token_parameters(options: argparse.Namespace, backend: "Backend") -> frozenset[str]:
    """Return the parameters that options set for token vectors; a dense leg takes those of a graph, if there is one."""
    if options.late_interaction is None:
        return frozenset()
    kind = kind_of(backend)
    return kind.choices("tokens", {}) if options.no_dense else kind.placing


def _for_leg(name: str, value: Any, leg: str) -> Any:
    """Return the value of a parameter for one leg: on a server each leg has its own collection."""
    if name != "server" or "collection" not in value:
        return value
    return {**value, "collection": f"{value['collection']}-{leg}"}


def check_parameters(
    leg: str, backend: "Backend", rows: "Rows", parameters: Mapping[str, Any], given: Mapping[str, Any]
) -> None:
    """Raise for a given parameter that this kind of index does not have; `parameters` decide its variant.

    Raises
    ------
    InputError
        Naming the option.
    """
    kind = kind_of(backend)
    known = kind.choices(rows, parameters)
    stray = next((name for name in given if name not in known), None)
    if stray is None:
        return
    options = [_OPTIONS[name] for name in sorted(known) if name in _OPTIONS]
    takers = [other for other in backends_of(rows) if stray in kind_of(other).choices(rows, {})]
    remedy = f", or choose --dense-backend {takers[0]} too" if takers and rows == "vectors" else ""
    raise InputError(
        f"{_OPTIONS[stray]} does not apply to the leg {leg!r}, which is of backend {kind.describe(parameters)} and "
        f"takes {', '.join(options)}: leave it out{remedy}"
    )


def option_of(parameter: str) -> str:
    """Return the option that sets a parameter."""
    return _OPTIONS[parameter]


def described(parameters: Mapping[str, Any]) -> str:
    """Return a leg's parameters as text, for `retrieve info`."""
    shown = {key: value for key, value in parameters.items() if not key.endswith("sha256") and value is not None}
    server = shown.pop("server", None)
    words = [f"{key} {value}" for key, value in shown.items() if not isinstance(value, Mapping)]
    for key, value in shown.items():
        if isinstance(value, Mapping):
            words.append(f"{key} " + " ".join(f"{name}={one:g}" for name, one in value.items()))
    if server:
        words.append(f"collection {server['collection']} on {server['url']}")
    return ", ".join(words) or "defaults"


def _attribute(option: str) -> str:
    return option.removeprefix("--").replace("-", "_")
