"""Compare fusions on several datasets: each leg alone, untuned fusions, and fusions tuned on held-out queries.

    python benchmarks/run_fusion.py --datasets pydocs --output results/fusion
    python benchmarks/run_fusion.py --datasets scifact,cosqa,squad:test1k --data-dir DIR --output results/fusion

Each leg runs once; every fusion reads the same answers. Prints Markdown tables and writes OUTPUT/fusion.json. The
collections stay in OUTPUT/index; a second run with the same corpora and model reuses them.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run as a script, it finds its neighbours only

from benchmarks.evaluation_sets import load, named_datasets
from indexing.disk import write_json
from indexing.json_text import parse_json
from pipelines.cli import script_main, script_parser
from retrieve.fusion import default_fusion

FUSIONS: dict[str, dict[str, Any]] = {
    "rrf": {"method": "rrf", "k": 60},
    "min-max 0.5": {"method": "weighted-sum"},
    "min-max 0.6 dense": {"method": "weighted-sum", "weights": {"bm25": 0.4, "dense": 0.6}},
    "spread-weighted": default_fusion({"bm25": "bm25", "dense": "cosine"}).as_config() | {"rare_words": False},
    "spread-weighted, power 1.5": {"method": "spread-weighted", "scales": {"bm25": 1, "dense": 34}, "power": 1.5},
}
"""Fusions that need no judgements; the intervals compare each with the better leg."""


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = script_parser(__file__, __doc__)
    parser.add_argument(
        "--datasets", required=True, metavar="NAME[:SPLIT],…", help="as for run_beir.py; the split is test if not given"
    )
    parser.add_argument("--data-dir", metavar="DIR", help="folder of local copies of datasets (RETRIEVE_DATA)")
    parser.add_argument("--dense", metavar="MODEL", help="the dense encoder, a path or Hub name (all-MiniLM-L6-v2)")
    parser.add_argument(
        "--dtype", choices=["auto", "float32", "bfloat16"], default="auto", help="precision of the encoder (auto)"
    )
    parser.add_argument(
        "--depth", type=int, default=100, metavar="N", help="hits that each leg gives to a fusion (100)"
    )
    parser.add_argument(
        "--limit-queries", type=int, metavar="N", help="only N queries per dataset, the same ones each time"
    )
    parser.add_argument("--measure", default="ndcg@10", help="(ndcg@10)")
    parser.add_argument("--index", metavar="DIR", help="folder of the collections (OUTPUT/index)")
    parser.add_argument(
        "--also",
        type=parse_json,
        action="append",
        default=[],
        metavar="JSON",
        help="""one more fusion as a configuration, as in '{"method": "comb-mnz"}' (repeatable)""",
    )
    parser.add_argument("--no-tuning", action="store_true", help="omit the tuned column, which takes longest")
    parser.add_argument("--output", required=True, metavar="DIR", help="folder of fusion.json")
    return parser


def run(options: argparse.Namespace) -> int:
    """Compare the fusions on every dataset, then write and print the results."""
    from pipelines.models import Models
    from retrieve.fusion import fusion_from_config

    fusions = FUSIONS | {json.dumps(fusion): fusion for fusion in options.also}
    for fusion in fusions.values():
        fusion_from_config(fusion)
    dense = Models().dense(options.dense, options.dtype)
    rows = []
    for given in named_datasets(options.datasets):
        rows.append(compare_fusions(given, dense, fusions, options))
        Path(options.output).mkdir(parents=True, exist_ok=True)
        write_json(Path(options.output) / "fusion.json", rows)
    print(table(rows, options.measure))
    return 0


def compare_fusions(
    given: str, dense: Any, fusions: dict[str, dict[str, Any]], options: argparse.Namespace
) -> dict[str, Any]:
    """Return the row of one dataset: every fusion measured on one search per leg."""
    from pipelines.build.job import build_collection
    from pipelines.build.plan import is_built
    from pipelines.evaluation.harness import drops_self_hits
    from pipelines.evaluation.task import without_self_hits
    from pipelines.tuning.fusion import DEPTHS, Choice, LegRuns, bootstrap, run_legs, score_choices, tune

    dataset = load(given, options.data_dir)
    if options.limit_queries:
        dataset = dataset.limited(options.limit_queries)
    index = Path(options.index or Path(options.output) / "index") / dataset.name
    if not is_built(index, dataset.corpus, dense=dense):
        build_collection(dataset.corpus, index, dense=dense, overwrite=options.index is None)
    print(f"{dataset.name} {dataset.split}: {len(dataset.queries):,} queries", file=sys.stderr)
    drops = drops_self_hits(dataset.name, "auto")
    runs = run_legs(
        index, dataset.queries, legs=["bm25", "dense"], depth=max(*DEPTHS, options.depth) + drops, dense=dense
    )
    if drops:
        runs = LegRuns(runs.query_ids, tuple(without_self_hits(hits, runs.query_ids) for hits in runs.answers))
    alone = [Choice({"method": "weighted-sum", "weights": weights}, options.depth) for weights in ([1, 0], [0, 1])]
    values = score_choices(
        runs, dataset.qrels, [*alone, *(Choice(fusion, options.depth) for fusion in fusions.values())], options.measure
    )
    better = values[:2][values[:2].mean(axis=1).argmax()]
    row: dict[str, Any] = {
        "dataset": dataset.name,
        "split": dataset.split,
        "queries": values.shape[1],
        "measure": options.measure,
        "depth": options.depth,
        "encoder": dense.identity["name"],
        "dtype": str(dense.identity["dtype"]),
        "legs": {"bm25": float(values[0].mean()), "dense": float(values[1].mean())},
        "fusions": {
            fusion: {"mean": float(scores.mean()), "over_better_leg": interval(bootstrap(scores - better))}
            for fusion, scores in zip(fusions, values[2:], strict=True)
        },
    }
    if not options.no_tuning:
        untuned = Choice(FUSIONS["spread-weighted"], options.depth)
        report = tune(runs, dataset.qrels, untuned=untuned, measure=options.measure)
        row["tuned"] = {
            "held_out": report.held_out,
            "over_better_leg": interval(report.over_best_leg),
            "over_untuned": interval(report.over_default),
            "chosen": str(report.chosen),
        }
    print(json.dumps(row), file=sys.stderr)
    return row


def interval(found: Any) -> list[float]:
    """Return an interval as [mean, low, high]."""
    return [found.mean, found.low, found.high]


def table(rows: Sequence[dict[str, Any]], measure: str) -> str:
    """Return Markdown tables: the means, then the gains over the better leg with 95% intervals."""
    names = list(rows[0]["fusions"])
    tuned = any("tuned" in row for row in rows)
    head = ["dataset", "queries", "bm25", "dense", *names, *(["tuned (held out)"] if tuned else [])]
    lines = [f"{measure}:", "", _line(head), _line(["---"] * len(head))]
    for row in rows:
        cells = [_name(row), str(row["queries"]), *(f"{row['legs'][leg]:.3f}" for leg in ("bm25", "dense"))]
        cells += [f"{row['fusions'][name]['mean']:.3f}" for name in names]
        lines.append(_line(cells + ([f"{row['tuned']['held_out']:.3f}"] if "tuned" in row else [])))
    head = ["dataset", *names, *(["tuned (held out)", "tuned over spread-weighted"] if tuned else [])]
    lines += ["", "Over the better leg, with 95% bootstrap intervals over the queries:", ""]
    lines += [_line(head), _line(["---"] * len(head))]
    for row in rows:
        cells = [_name(row), *(_signed(row["fusions"][name]["over_better_leg"]) for name in names)]
        if "tuned" in row:
            cells += [_signed(row["tuned"]["over_better_leg"]), _signed(row["tuned"]["over_untuned"])]
        lines.append(_line(cells))
    return "\n".join(lines)


def _name(row: dict[str, Any]) -> str:
    return row["dataset"] + ("" if row["split"] == "test" else f" {row['split']}")


def _signed(found: Sequence[float]) -> str:
    mean, low, high = found
    return f"{mean:+.3f} [{low:+.3f}, {high:+.3f}]"


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


main = script_main(parser, run)

if __name__ == "__main__":
    sys.exit(main())
