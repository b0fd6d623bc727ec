"""Measure an index of token vectors: recall against exact MaxSim, latency, time to build and bytes a vector.

    python benchmarks/run_token_index.py --data pydocs --output results/token-index

The vectors are MiniLM's token vectors, reduced by a principal component analysis of the documents and scaled to unit
length. They are encoded once and kept in OUTPUT/vectors.npz. Recall is the share of the exact top 10 (MaxSim over these
vectors in float16) among the 10 hits. Latency is that of one query at a time, without encoding it; `cpu_ms` is its
processor time. With 0 bits the vectors are in the shards of a collection, whose bytes do not count as the index's.
Writes OUTPUT/token-index.json.
"""

import argparse
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # a script finds only modules beside it

import numpy as np

from benchmarks.speed.token_index import built, exact_best
from indexing.disk import write_json
from indexing.token_vectors import TokenVectors
from pipelines.cli import script_main, script_parser
from pipelines.commands.command import positive


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = script_parser(__file__, __doc__)
    parser.add_argument("--data", default="pydocs", metavar="NAME|FOLDER", help="pydocs, or a BEIR folder (pydocs)")
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="where results are written")
    parser.add_argument("--dimension", type=positive, default=128, help="of the reduced vectors (128)")
    parser.add_argument("--queries", type=positive, default=100, help="number of queries (100)")
    parser.add_argument(
        "--bits", type=_bits, default="0,8", help="bits a dimension to compare; 0 reads vectors from shards (0,8)"
    )
    parser.add_argument("--centroids", type=int, default=0, help="number of centroids (0: by the number of vectors)")
    parser.add_argument(
        "--nprobe", type=_numbers, default="8", help="numbers of centroids that are searched, to compare (8)"
    )
    parser.add_argument(
        "--candidates", type=_numbers, default="128,256,512", help="numbers of candidates to compare (128,256,512)"
    )
    return parser


def run(options: argparse.Namespace) -> int:
    """Measure each number of bits, and print a line for each number of centroids and of candidates."""
    documents, queries = vectors(options.output / "vectors.npz", options.data, options.dimension, options.queries)
    print(
        f"{documents.texts:,} documents of {len(documents.vectors) / max(1, documents.texts):.0f} vectors", flush=True
    )
    best = exact_best(queries, documents)
    rows = [row for bits in options.bits for row in measure(documents, queries, best, bits, options)]
    write_json(options.output / "token-index.json", {"documents": documents.texts, "rows": rows})
    return 0


def measure(
    documents: TokenVectors, queries: TokenVectors, best: np.ndarray, bits: int, options: argparse.Namespace
) -> list[dict[str, Any]]:
    """Build one index and search it with each setting."""
    rows = []
    with (
        tempfile.TemporaryDirectory(dir=options.output) as folder,
        built(Path(folder), documents, bits=bits, centroids=options.centroids) as index,
    ):
        for nprobe in options.nprobe:
            for candidates in options.candidates:
                row = {"bits": bits, "nprobe": nprobe, "candidates": candidates, "build_s": round(index.seconds, 1)}
                row["bytes_a_vector"] = round(index.bytes_a_vector, 1)
                row |= index.search(queries, best, nprobe=nprobe, candidates=candidates)
                print("  ".join(f"{name} {value}" for name, value in row.items()), flush=True)
                rows.append(row)
    return rows


def vectors(file: Path, data: str, dimension: int, count: int) -> tuple[TokenVectors, TokenVectors]:
    """Return the vectors of documents and queries, encoded on the first call."""
    if not file.exists():
        from pipelines.evaluation.datasets import load_evaluation_set
        from retrieve.default_models import default_dense_model
        from retrieve.encoders import DenseEncoder, DenseTokens

        loaded = load_evaluation_set(data, check_corpus=False)
        encoder = DenseTokens(DenseEncoder(default_dense_model()))
        documents = encoder.encode_document([document.contents for document in loaded.corpus])
        queries = encoder.encode_query(list(loaded.queries.values()))
        sample = documents.vectors[:: max(1, len(documents.vectors) // 100_000)]
        axes = np.linalg.eigh(sample.T @ sample)[1][:, -dimension:].astype(np.float32)
        arrays = {}
        for name, side in (("documents", documents), ("queries", queries)):
            reduced = side.vectors @ axes
            reduced /= np.maximum(np.linalg.norm(reduced, axis=1, keepdims=True), 1e-12)
            arrays |= {name: reduced.astype(np.float16), f"{name}_offsets": side.offsets}
        file.parent.mkdir(parents=True, exist_ok=True)
        np.savez(file, **arrays)
    with np.load(file, allow_pickle=False) as stored:
        documents = TokenVectors(stored["documents_offsets"], stored["documents"])
        queries = TokenVectors(stored["queries_offsets"], stored["queries"].astype(np.float32))
    return documents, queries.slice(0, min(count, queries.texts))


def _numbers(text: str, *, least: int = 1) -> list[int]:
    """Return whole numbers separated by commas; argparse shows the message of what is none."""
    try:
        found = [int(part) for part in text.split(",")]
    except ValueError:
        found = [-1]
    if min(found) < least:
        raise argparse.ArgumentTypeError(f"must be whole numbers from {least}, separated by commas, not {text[:60]!r}")
    return found


def _bits(text: str) -> list[int]:
    return _numbers(text, least=0)


main = script_main(parser, run)

if __name__ == "__main__":
    sys.exit(main())
