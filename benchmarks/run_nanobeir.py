"""Score retrieval systems on NanoBEIR: thirteen small samples of BEIR, 50 queries each, in minutes.

    python benchmarks/run_nanobeir.py --output results/nanobeir
    python benchmarks/run_nanobeir.py --datasets scifact,nfcorpus --systems bm25,dense --output results/nano
    python benchmarks/run_nanobeir.py --repository lightonai/NanoBEIR-de --output results/nano-de

Each system searches the whole corpus. (sentence-transformers' NanoBEIR evaluator of cross-encoders instead reranks
stored BM25 hits to which all relevant documents were added, and skips ArguAna and Touché, so its figures are not
comparable.) Everything else works as in run_beir.py.
"""

import argparse
import sys
from pathlib import Path

# A script has only its own folder on the path, but benchmarks are imported as a package.
sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.run_beir import add_benchmark_options, score
from pipelines.cli import script_main, script_parser
from pipelines.evaluation.nanobeir import NAMES, NANOBEIR, split_name


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = script_parser(__file__, __doc__)
    data = parser.add_argument_group("data")
    data.add_argument("--datasets", metavar="NAMES", help=f"datasets, of {', '.join(NAMES)} (all)")
    data.add_argument(
        "--repository",
        default=NANOBEIR,
        metavar="NAME|DIR",
        help=f"dataset on the Hub, or a copy of it; translations have the same splits ({NANOBEIR})",
    )
    add_benchmark_options(parser, data)
    return parser


def run(options: argparse.Namespace) -> int:
    """Score the systems on the selected samples."""
    names = [name.strip() for name in options.datasets.split(",")] if options.datasets else list(NAMES)
    return score([(options.repository, split_name(name)) for name in names], options)


main = script_main(parser, run)

if __name__ == "__main__":
    sys.exit(main())
