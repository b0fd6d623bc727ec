"""Measure the memory that encoding takes beside the model: the largest growth of anonymous memory while it runs.

    python benchmarks/run_memory.py dense --output results/memory
    python benchmarks/run_memory.py sparse --output results/memory

`dense` encodes short texts from a generator into a memmap; `sparse` encodes long texts in batches of several sizes.
Prints a table and writes OUTPUT/memory.json. Each row is measured in its own process. Linux only.
"""

import argparse
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # a script finds only modules beside it

from indexing.disk import write_json
from indexing.errors import InputError
from pipelines.cli import script_main, script_parser

if TYPE_CHECKING:
    from benchmarks.speed.memory import Growth


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = script_parser(__file__, __doc__)
    tasks = parser.add_subparsers(metavar="TASK", required=True)
    dense = tasks.add_parser("dense", help="short texts from a generator into a memmap")
    dense.add_argument("--model", help="a checkpoint (all-MiniLM-L6-v2)")
    dense.add_argument("--texts", type=int, default=200_000, metavar="N", help="number of texts (200000)")
    dense.set_defaults(run=run_dense)
    sparse = tasks.add_parser("sparse", help="texts of 512 tokens as term weights, in small and large batches")
    sparse.add_argument("--model", help="a checkpoint (a random one of BERT-base's size)")
    sparse.add_argument(
        "--token-budgets",
        type=int,
        nargs="+",
        default=[0, 32_768, 131_072],
        metavar="N",
        help="padded tokens per batch; 0 for the default (0 32768 131072)",
    )
    sparse.set_defaults(run=run_sparse)
    for task in (dense, sparse):
        task.add_argument("--dtype", default="auto", help="number format, as in float32 or bfloat16 (auto)")
        task.add_argument("--threads", type=int, metavar="N", help="threads (torch's choice)")
        task.add_argument("--output", metavar="DIR", help="folder for memory.json (not written)")
    return parser


def run(options: argparse.Namespace) -> int:
    """Run one task; print its rows and write them to `--output`."""
    if not Path("/proc/self/status").is_file():
        raise InputError("anonymous memory is read from /proc, which exists on Linux only")
    rows: list[Growth] = options.run(options)
    print(f"{'growth MB':>10} {'model MB':>10} {'seconds':>9}  what")
    for row in rows:
        print(f"{row['growth_mb']:10.0f} {row['model_mb']:10.0f} {row['seconds']:9.1f}  {row['what']}")
    if options.output:
        path = Path(options.output) / "memory.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, rows)
        print(f"\n{path}")
    return 0


def run_dense(options: argparse.Namespace) -> "list[Growth]":
    """Encode `--texts` different short texts."""
    from benchmarks.speed.memory import dense_into_memmap, measure
    from retrieve.default_models import default_dense_model

    if options.texts < 1:
        raise InputError(f"--texts must be at least 1, not {options.texts}")
    model = options.model or default_dense_model()
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "vectors.npy")
        return [measure(dense_into_memmap, model, options.dtype, path, options.texts, threads=options.threads)]


def run_sparse(options: argparse.Namespace) -> "list[Growth]":
    """Encode one batch of each size, filled with texts of the maximum length."""
    from benchmarks.speed.inputs import write_splade
    from benchmarks.speed.memory import longest_texts, measure, sparse_batches
    from retrieve.default_models import default_dense_model

    with tempfile.TemporaryDirectory() as folder:
        base = default_dense_model()
        model = options.model or str(write_splade(Path(folder), base, longest_texts(4)))
        return [
            measure(sparse_batches, model, options.dtype, budget, threads=options.threads)
            for budget in options.token_budgets
        ]


main = script_main(parser, run)

if __name__ == "__main__":
    sys.exit(main())
