"""Measure pseudo-relevance feedback and query likelihood on datasets, against the same search without them.

    python benchmarks/run_feedback.py --datasets scifact,cosqa --data-dir DIR --output results/feedback

Prints a Markdown table and writes OUTPUT/feedback.json. The collections stay in OUTPUT/index.
"""

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run as a script, it finds its neighbours only

from benchmarks.evaluation_sets import build_if_missing, load, markdown, named_datasets
from indexing.disk import write_json
from pipelines.cli import script_main, script_parser

MEASURES = ("ndcg@10", "recall@100")
DEPTH = 100
SYSTEMS: Mapping[str, tuple[str, Mapping[str, str | None]]] = {
    "bm25 + rm3": ("bm25", {"bm25": "rm3"}),
    "bm25 + rocchio": ("bm25", {"bm25": "rocchio"}),
    "dense + vector": ("dense", {"dense": "vector"}),
    "hybrid + rm3": ("hybrid", {"bm25": "rm3", "dense": None}),
    "hybrid + rocchio": ("hybrid", {"bm25": "rocchio", "dense": None}),
    "hybrid + vector": ("hybrid", {"bm25": None, "dense": "vector"}),
}
"""Each system's baseline, and the feedback of its legs."""
BASELINES: Mapping[str, Mapping[str, str | None]] = {
    "bm25": {"bm25": None},
    "dense": {"dense": None},
    "hybrid": {"bm25": None, "dense": None},
}
LIKELIHOODS = ("lm-dirichlet", "lm-jelinek-mercer")


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = script_parser(__file__, __doc__)
    parser.add_argument("--datasets", required=True, metavar="NAME[:SPLIT],…", help="as for run_fusion.py")
    parser.add_argument("--data-dir", metavar="DIR", help="folder of local copies of datasets (RETRIEVE_DATA)")
    parser.add_argument("--dense", metavar="MODEL", help="the dense encoder, a path or Hub name (all-MiniLM-L6-v2)")
    parser.add_argument("--index", metavar="DIR", help="folder of the collections (OUTPUT/index)")
    parser.add_argument("--output", required=True, metavar="DIR", help="folder of feedback.json")
    return parser


def run(options: argparse.Namespace) -> int:
    """Measure all systems, then write and print the results."""
    from pipelines.models import Models

    models, index = Models(), Path(options.index or Path(options.output) / "index")
    dense = models.dense(options.dense)
    named = named_datasets(options.datasets)
    rows = [row for given in named for row in measure(given, index, dense, models, options.data_dir)]
    Path(options.output).mkdir(parents=True, exist_ok=True)
    write_json(Path(options.output) / "feedback.json", rows)
    print(markdown(rows))
    return 0


def measure(given: str, index: Path, dense: Any, models: Any, data_dir: str | None) -> list[dict[str, Any]]:
    """Return a row for each system of one dataset: its measures, and the intervals of the differences."""
    from pipelines.build.job import build_collection
    from pipelines.measures.evaluate import evaluate
    from pipelines.tuning.fusion import bootstrap

    dataset = load(given, data_dir)
    folder = index / dataset.name
    build_if_missing(dataset.corpus, folder, dense)
    queries = tuple(dataset.queries)

    def values(where: Path, legs: Mapping[str, str | None]) -> Any:
        hits = _search(where, list(dataset.queries.values()), legs, dense, models)
        return evaluate(hits, dataset.qrels, list(MEASURES), queries=queries).per_query

    baselines = {system: values(folder, legs) for system, legs in BASELINES.items()}
    measured = {system: (baseline, values(folder, legs)) for system, (baseline, legs) in SYSTEMS.items()}
    for similarity in LIKELIHOODS:
        where = index / f"{dataset.name}-{similarity}"
        if not where.exists():
            build_collection(dataset.corpus, where, bm25_parameters={"similarity": similarity}, show_progress=False)
        measured[similarity] = ("bm25", values(where, {"bm25": None}))
    rows = []
    for system, per_query in baselines.items():
        rows.append(_row(given, system, per_query, dict.fromkeys(MEASURES, "")))
        for other, (baseline, found) in measured.items():
            if baseline == system:
                differences = {one: str(bootstrap(found[one] - per_query[one])) for one in MEASURES}
                rows.append(_row(given, other, found, differences))
    return rows


def _row(given: str, system: str, per_query: Any, differences: Mapping[str, str]) -> dict[str, Any]:
    row: dict[str, Any] = {"collection": given, "queries": len(per_query[MEASURES[0]]), "system": system}
    for name in MEASURES:
        row |= {name: f"{per_query[name].mean():.4f}", f"difference of {name}": differences[name]}
    return row


def _search(folder: Path, queries: list[str], legs: Mapping[str, str | None], dense: Any, models: Any) -> Any:
    from pipelines.search import LegConfig, SearchConfig, SearchPipeline

    config = SearchConfig(legs={name: LegConfig(feedback=method) for name, method in legs.items()})
    options = {"dense": dense} if "dense" in legs else {}
    with SearchPipeline.open(folder, config=config, models=models, **options) as pipeline:
        return pipeline.retrieve(queries, DEPTH)


main = script_main(parser, run)

if __name__ == "__main__":
    sys.exit(main())
