"""Measure the rule of the default fusion for rare words: on made-up families, and on datasets that it must not harm.

    python benchmarks/run_rare_words.py --output results/rare-words
    python benchmarks/run_rare_words.py --datasets scifact,cosqa --data-dir DIR --output results/rare-words

Prints Markdown tables and writes OUTPUT/rare_words.json. The collections stay in OUTPUT/index.
"""

import argparse
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run as a script, it finds its neighbours only

from benchmarks.evaluation_sets import build_if_missing, load, markdown, named_datasets
from benchmarks.rare_word_families import FAMILIES, Family
from indexing.disk import write_json
from indexing.documents import Document
from pipelines.cli import script_main, script_parser
from retrieve.fusion import FusionMethod, ReciprocalRank, SpreadWeightedSum, WeightedSum, default_fusion

if TYPE_CHECKING:
    from pipelines.evaluation.datasets import EvaluationSet

DEFAULT = default_fusion({"bm25": "bm25", "dense": "cosine"})
DEPTH = 100


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = script_parser(__file__, __doc__)
    parser.add_argument("--datasets", default="", metavar="NAME[:SPLIT],…", help="as for run_fusion.py (none)")
    parser.add_argument("--data-dir", metavar="DIR", help="folder of local copies of datasets (RETRIEVE_DATA)")
    parser.add_argument("--dense", metavar="MODEL", help="the dense encoder, a path or Hub name (all-MiniLM-L6-v2)")
    parser.add_argument("--index", metavar="DIR", help="folder of the collections (OUTPUT/index)")
    parser.add_argument("--output", required=True, metavar="DIR", help="folder of rare_words.json")
    return parser


def run(options: argparse.Namespace) -> int:
    """Measure both, then write and print the results."""
    from pipelines.models import Models

    # First what can fail at once: an unknown dataset, then a missing model.
    named = named_datasets(options.datasets) if options.datasets else []
    loaded = {given: load(given, options.data_dir) for given in named}
    dense, index = Models().dense(options.dense), Path(options.index or Path(options.output) / "index")
    families = [row for name, make in FAMILIES.items() for row in measure_family(name, make(), index, dense)]
    datasets = [measure_dataset(given, dataset, index, dense) for given, dataset in loaded.items()]
    Path(options.output).mkdir(parents=True, exist_ok=True)
    write_json(Path(options.output) / "rare_words.json", {"families": families, "datasets": datasets})
    for rows in filter(None, (families, datasets)):
        print(markdown(rows), end="\n\n")
    return 0


def fusions() -> dict[str, FusionMethod]:
    """Return the fusions that are compared, by name."""
    assert isinstance(DEFAULT, SpreadWeightedSum)
    return {
        "bm25": WeightedSum(weights=[1, 0]),
        "dense": WeightedSum(weights=[0, 1]),
        "rrf": ReciprocalRank(),
        "without the rule": replace(DEFAULT, rare_words=False),
        "default": DEFAULT,
    }


def measure_family(name: str, family: Family, index: Path, dense: Any) -> list[dict[str, Any]]:
    """Return a row for each form of the queries: how many have their document first with each fusion."""
    documents = [Document(doc_id, text) for doc_id, text in family.documents.items()]
    rows = []
    for form, queries in (("alone", family.bare), ("in a question", family.asked)):
        if queries:
            answers = _answers(documents, queries, index / name.replace(" ", "-"), dense)
            first = {
                fusion: sum(found[0].doc_id == doc_id for found, doc_id in zip(method(answers), queries, strict=True))
                for fusion, method in fusions().items()
            }
            rows.append({"family": name, "query": form, "queries": len(queries), **first})
    return rows


def measure_dataset(given: str, dataset: "EvaluationSet", index: Path, dense: Any) -> dict[str, Any]:
    """Return a row of nDCG@10 with and without the rule, and the interval of the difference."""
    from pipelines.measures.evaluate import evaluate
    from pipelines.tuning.fusion import bootstrap

    answers = _answers(dataset.corpus, dataset.queries, index / dataset.name, dense)
    marks = answers[0].rare
    measured = {
        fusion: evaluate(method(answers), dataset.qrels, ["ndcg@10"], queries=tuple(dataset.queries))
        for fusion, method in fusions().items()
        if fusion in ("without the rule", "default")
    }
    before, after = (values.per_query["ndcg@10"] for values in measured.values())
    difference = bootstrap(after - before)
    return {
        "collection": given,
        "queries": len(before),
        "decided": 0 if marks is None else len(set(answers[0].rows[marks].tolist())),
        "without the rule": f"{before.mean():.4f}",
        "default": f"{after.mean():.4f}",
        "difference": str(difference),
    }


def _answers(documents: Any, queries: Any, folder: Path, dense: Any) -> Any:
    """Return each leg's hits, in a collection that is built if it is not there."""
    from pipelines.tuning.fusion import run_legs

    build_if_missing(documents, folder, dense)
    return run_legs(
        folder, dict(queries), legs=["bm25", "dense"], depth=DEPTH, dense=dense, show_progress=False
    ).answers


main = script_main(parser, run)

if __name__ == "__main__":
    sys.exit(main())
