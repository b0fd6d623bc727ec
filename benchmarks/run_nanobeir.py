"""Score retrieval systems on NanoBEIR: thirteen small samples of BEIR, 50 queries each, in minutes.

    python benchmarks/run_nanobeir.py --output results/nanobeir
    python benchmarks/run_nanobeir.py --datasets scifact,nfcorpus --systems bm25,dense --output results/nano
    python benchmarks/run_nanobeir.py --repository lightonai/NanoBEIR-de --output results/nano-de

Whole corpora are searched, by each system itself. (sentence-transformers' NanoBEIR evaluator of cross-encoders
reranks stored BM25 hits with all relevant documents put among them, and skips ArguAna and Touché: its figures are of
another task.) Everything else is as in run_beir.py.
"""

import argparse
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

# Run as a script, only this folder is on the path; its files are known by the folder's name everywhere.
sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.run_beir import add_benchmark_options, score
from indexing.errors import InputError
from pipelines.cli import run_safely
from pipelines.evaluation.options import add_scoring_options, add_system_options

REPOSITORY = "sentence-transformers/NanoBEIR-en"

SPLITS = {
    "arguana": "NanoArguAna",
    "climatefever": "NanoClimateFEVER",
    "dbpedia": "NanoDBPedia",
    "fever": "NanoFEVER",
    "fiqa2018": "NanoFiQA2018",
    "hotpotqa": "NanoHotpotQA",
    "msmarco": "NanoMSMARCO",
    "nfcorpus": "NanoNFCorpus",
    "nq": "NanoNQ",
    "quoraretrieval": "NanoQuoraRetrieval",
    "scidocs": "NanoSCIDOCS",
    "scifact": "NanoSciFact",
    "touche2020": "NanoTouche2020",
}
"""sentence-transformers' short names, and the splits of the repository."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and give its exit status."""
    options = parser().parse_args(arguments)
    return run_safely(partial(run, options))


def parser() -> argparse.ArgumentParser:
    """Describe the command line."""
    parser = argparse.ArgumentParser(
        prog="run_nanobeir.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    data = parser.add_argument_group("data")
    data.add_argument("--datasets", metavar="NAMES", help=f"some of {', '.join(SPLITS)} (all)")
    data.add_argument(
        "--repository",
        default=REPOSITORY,
        metavar="NAME|DIR",
        help=f"the Hub's dataset, or a copy of it ({REPOSITORY}); translations have the same splits",
    )
    add_benchmark_options(data)
    add_system_options(parser)
    add_scoring_options(parser)
    return parser


def run(options: argparse.Namespace) -> int:
    """Score on the samples."""
    names = options.datasets.split(",") if options.datasets else list(SPLITS)
    splits = [SPLITS.get(name.strip().lower()) for name in names]
    if None in splits:
        raise InputError(f"there is no sample {names[splits.index(None)]!r}: there are {', '.join(SPLITS)}")
    return score([(options.repository, split) for split in splits if split], options)


if __name__ == "__main__":
    sys.exit(main())
