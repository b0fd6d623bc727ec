"""``retrieve compare``: two evaluations side by side, with paired significance tests."""

import argparse
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from indexing.errors import InputError
from pipelines.commands.command import command, json_text, split_names

if TYPE_CHECKING:
    from pipelines.evaluation.compare import Side


def add_parser(commands: Any) -> None:
    """Add the subcommand and its options."""
    parser = command(
        commands,
        "compare",
        run,
        "Compare two evaluations, system by system: the second minus the first, with paired tests over the queries.",
        "retrieve compare results/before results/after\n"
        "retrieve compare results/a results/b --systems bm25=splade --measures nDCG@10,R@100",
    )
    parser.add_argument("first", metavar="A", help="a results.json, or its folder; the baseline")
    parser.add_argument("second", metavar="B", help="another one, on the same datasets")
    parser.add_argument(
        "--systems",
        metavar="NAMES",
        help="systems, as in dense,hybrid; bm25=splade compares A's bm25 with B's splade (all that both have)",
    )
    parser.add_argument("--measures", metavar="NAMES", help="measures, as in nDCG@10,R@100 (all that both have)")
    parser.add_argument("--datasets", metavar="NAMES", help="datasets (all that both have)")
    parser.add_argument("--json", action="store_true", help="print one JSON list instead of the tables")


def run(options: argparse.Namespace) -> int:
    """Run the subcommand and return its exit status."""
    from pipelines.evaluation.compare import compare_results
    from pipelines.evaluation.results import read_results

    sides = compare_results(
        read_results(options.first),
        read_results(options.second),
        systems=_pairs(options.systems) if options.systems else None,
        measures=split_names(options.measures) if options.measures else None,
        datasets=split_names(options.datasets) if options.datasets else None,
    )
    if options.json:
        print(json_text([_as_json(side) for side in sides], indent=2))
        return 0
    for dataset in dict.fromkeys(side.dataset for side in sides):
        print(_table(dataset, [side for side in sides if side.dataset == dataset]))
    print(f"A: {options.first}\nB: {options.second}\n* p (Holm) < 0.05: statistically significant")
    return 0


def _table(dataset: str, sides: "Sequence[Side]") -> str:
    from pipelines.evaluation.export import aligned

    head = ["measure", "system", "A", "B", "B - A", "95% interval", "p t-test", "p random.", "p Holm", "W/T/L"]
    lines = [[*_measure_and_systems(side), *_numbers(side)] for side in sides]
    reasons = dict.fromkeys(
        f"{_measure_and_systems(side)[1]}: not paired: {side.unpaired}" for side in sides if side.unpaired
    )
    return "\n".join([dataset, *aligned([head, *lines], left=2), *reasons, ""])


def _measure_and_systems(side: "Side") -> list[str]:
    return [side.measure, side.first if side.first == side.second else f"{side.first} = {side.second}"]


def _numbers(side: "Side") -> list[str]:
    first, second = side.means
    comparison = side.comparison
    means = [f"{first:.4f}", f"{second:.4f}", f"{second - first:+.4f}"]
    if comparison is None or side.p_holm is None:
        return [*means, "-", "-", "-", "-", "-"]
    low, high = comparison.interval
    return [
        *means,
        f"{low:+.4f} to {high:+.4f}",
        *(_p(value) for value in (comparison.p_t, comparison.p_fisher)),
        _p(side.p_holm) + ("*" if side.p_holm < 0.05 else " "),
        f"{comparison.wins}/{comparison.ties}/{comparison.losses}",
    ]


def _p(value: float) -> str:
    return "-" if value != value else "<0.0001" if value < 0.0001 else f"{value:.4f}"


def _as_json(side: "Side") -> dict[str, Any]:
    from pipelines.measures.significance import as_json

    values = asdict(side)
    comparison = values.pop("comparison")
    if side.comparison is not None and side.p_holm is not None:
        comparison = as_json(side.comparison, side.first, side.p_holm)
    return {**values, "comparison": comparison}


def _pairs(text: str) -> dict[str, str]:
    pairs: dict[str, str] = {}
    for part in text.split(","):
        first, equals, second = (piece.strip() for piece in part.partition("="))
        if not first or (equals and not second):
            raise InputError(f"--systems takes names or A=B pairs, as in dense,bm25=splade, not {text!r}")
        if first in pairs:
            raise InputError(f"--systems names {first!r} twice")
        pairs[first] = second or first
    return pairs
