"""``retrieve reindex``: another index for a leg, with no model and no corpus."""

import argparse
import uuid
from pathlib import Path
from typing import Any

from indexing.errors import InputError
from pipelines.commands.command import command, positive
from pipelines.commands.index import KINDS

_HNSW = frozenset({"m", "ef_construction", "ef_search"})
_KNOWN = {
    "faiss": _HNSW | {"kind", "factory", "nlist", "nprobe", "pq_bytes", "training_sample"},
    "qdrant": _HNSW | {"quantization", "on_disk", "server"},
    "bm25": frozenset({"k1", "b"}),
    "impact": frozenset({"scale"}),
}


def add_parser(commands: Any) -> None:
    """Describe the command line."""
    parser = command(
        commands,
        "reindex",
        run,
        "Make a leg's index again, of another kind or with other parameters, from the encoded documents that the "
        "collection keeps: no model is loaded and nothing is encoded. Readers go on with the old index meanwhile.",
        "retrieve reindex my-collection --dense-index hnsw --hnsw-m 32\n"
        "retrieve reindex my-collection --dense-backend qdrant --hnsw-m 32\n"
        "retrieve reindex my-collection --leg bm25 --k1 1.2 --b 0.75",
    )
    parser.add_argument("directory", metavar="DIR", help="what `retrieve index` built")
    parser.add_argument("--leg", metavar="NAME", help="which leg (dense)")
    parser.add_argument(
        "--backend",
        "--dense-backend",
        choices=["faiss", "qdrant", "impact"],
        help="another kind of index for the same encoded documents: faiss or qdrant for vectors, impact or qdrant for "
        "term weights",
    )
    parser.add_argument("--dense-index", choices=(*KINDS, "factory"), help="exact (flat), or approximate")
    parser.add_argument("--factory", metavar="STRING", help="with --dense-index factory, as in IVF1024,PQ48")
    parser.add_argument("--nlist", type=positive, metavar="N", help="clusters of ivf")
    parser.add_argument("--nprobe", type=positive, metavar="N", help="clusters that a query looks into")
    parser.add_argument("--pq-bytes", type=positive, metavar="N", help="bytes that pq keeps of a vector")
    parser.add_argument("--training-sample", type=positive, metavar="N", help="vectors that ivf, pq and sq learn from")
    parser.add_argument("--hnsw-m", type=positive, metavar="N", help="links of a node")
    parser.add_argument("--hnsw-ef-construction", type=positive, metavar="N", help="breadth while building")
    parser.add_argument("--hnsw-ef-search", type=positive, metavar="N", help="breadth while searching")
    parser.add_argument("--quantization", choices=["scalar", "product", "binary"], help="of qdrant")
    parser.add_argument("--on-disk", action="store_true", help="qdrant leaves vectors and graph in files")
    parser.add_argument(
        "--qdrant-url", metavar="URL", help="a Qdrant server; without one, qdrant is embedded and serves one process"
    )
    parser.add_argument("--qdrant-collection", metavar="NAME", help="its name on the server (a fresh one)")
    parser.add_argument("--k1", type=float, help="of BM25")
    parser.add_argument("--b", type=float, help="of BM25")
    parser.add_argument("--scale", type=float, help="what a sparse leg's weights are multiplied by")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")


def run(options: argparse.Namespace) -> int:
    """Run it."""
    from indexing.collection import Collection, read_manifest

    name = options.leg or "dense"
    manifest = read_manifest(Path(options.directory))
    if name not in manifest.legs:
        raise InputError(f"{options.directory} has no leg {name!r}: --leg one of {', '.join(manifest.legs)}")
    backend = options.backend or manifest.legs[name].backend
    given = _parameters(options)
    stray = next((key for key in given if key not in _KNOWN[backend]), None)
    if stray is not None:
        raise InputError(f"the leg {name!r} is of backend {backend!r}, which has no parameter {stray!r}")
    if backend == "faiss" and "kind" in given:
        given.setdefault("factory", "")  # one that is no longer wanted would be refused
    with Collection.open(options.directory, read_only=False, without=[name]) as collection:
        collection.reindex(name, backend=backend, show_progress=not options.quiet, **given)
        leg = collection.leg(name)
    chosen = ", ".join(f"{key} {value}" for key, value in leg.parameters.items() if not key.endswith("sha256"))
    print(
        f"{options.directory}: {name} holds {leg.count:,} documents in {leg.backend}, {leg.bytes / 1e6:.1f} MB "
        f"({chosen or 'defaults'})"
    )
    return 0


def _parameters(options: argparse.Namespace) -> dict[str, Any]:
    given = {
        "kind": options.dense_index,
        "factory": options.factory,
        "m": options.hnsw_m,
        "ef_construction": options.hnsw_ef_construction,
        "ef_search": options.hnsw_ef_search,
        "nlist": options.nlist,
        "nprobe": options.nprobe,
        "pq_bytes": options.pq_bytes,
        "training_sample": options.training_sample,
        "quantization": options.quantization,
        "on_disk": options.on_disk or None,
        "k1": options.k1,
        "b": options.b,
        "scale": options.scale,
    }
    if options.qdrant_url:
        given["server"] = {"url": options.qdrant_url, "collection": options.qdrant_collection or _free_name(options)}
    return {key: value for key, value in given.items() if value is not None}


def _free_name(options: argparse.Namespace) -> str:
    """Name Qdrant's collection as nobody has: one of a job that was killed may be there."""
    return f"{Path(options.directory).resolve().name}-{options.leg or 'dense'}-{uuid.uuid4().hex[:8]}"
