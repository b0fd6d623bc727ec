"""Result tables for a terminal, as Markdown and as CSV."""

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from indexing.disk import write_atomically
from indexing.plurals import counted
from pipelines.evaluation.cost import COSTS

_COSTS = [cost for cost in COSTS if cost[0] in ("p50_ms", "p95_ms", "p99_ms", "index_bytes")]
"""Cost columns of the tables."""


def terminal_tables(results: Mapping[str, Any]) -> str:
    """Return the results as plain text: one table for each dataset, then the mean."""
    blocks = []
    for title, rows, notes in _tables(results):
        blocks.append("\n".join([title, *aligned(rows, left=1), *notes]))
    return "\n\n".join(blocks)


def aligned(rows: Sequence[Sequence[str]], *, left: int) -> list[str]:
    """Return one line per row with aligned columns: the first `left` to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    justify = [str.ljust if place < left else str.rjust for place in range(len(widths))]
    return ["  ".join(f(cell, w) for f, cell, w in zip(justify, row, widths, strict=True)).rstrip() for row in rows]


def markdown_tables(results: Mapping[str, Any]) -> str:
    """Return the results as Markdown."""
    blocks = []
    for title, rows, notes in _tables(results):
        head, *body = ["| " + " | ".join(row) + " |" for row in rows]
        notes = [f"- {note}" for note in notes]
        blocks.append(
            "\n".join([f"**{title}**", "", head, "|---" * len(rows[0]) + "|", *body, *([""] * bool(notes)), *notes])
        )
    return "\n\n".join(blocks) + f"\n\nCommand: `{results['command']}`\n"


def write_csv(path: Path, results: Mapping[str, Any]) -> None:
    """Write one row for each dataset and system: measures, ceilings and costs; unknown values are empty."""
    costs: list[str] = []
    for dataset in results["datasets"].values():
        for row in dataset["systems"].values():
            costs.extend(name for name in row["cost"] if name not in costs)
    measures = list(results["measures"])
    lines: list[list[Any]] = [["dataset", "system", *measures, *(f"ceiling {name}" for name in measures), *costs]]
    for name, dataset in results["datasets"].items():
        for system, row in dataset["systems"].items():
            ceiling = row.get("ceiling", {})
            lines.append(
                [
                    *(name, system),
                    *(row["measures"][measure] for measure in measures),
                    *(ceiling.get(measure) for measure in measures),
                    *(row["cost"].get(cost) for cost in costs),
                ]
            )
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerows(lines)
    write_atomically(path, lambda file: file.write(buffer.getvalue().encode()))


def write_markdown(path: Path, results: Mapping[str, Any]) -> None:
    """Write `markdown_tables` to a file."""
    write_atomically(path, lambda file: file.write(markdown_tables(results).encode()))


def _tables(results: Mapping[str, Any]) -> list[tuple[str, list[list[str]], list[str]]]:
    """Return title, rows (header first) and notes of each table."""
    found = [_table(name, dataset, results["measures"]) for name, dataset in results["datasets"].items()]
    if len(results["datasets"]) > 1 and results["mean"]:
        rows = [["system", *results["measures"]]]
        rows += [[name, *_figures(row["measures"], results["measures"])] for name, row in results["mean"].items()]
        notes = [f"{name}: its parts count as one set" for name in results.get("groups", {})]
        found.append((f"mean of {len(results['datasets'])} datasets", rows, notes))
    return found


def _table(name: str, dataset: Mapping[str, Any], measures: Sequence[str]) -> tuple[str, list[list[str]], list[str]]:
    shown = [cost for cost in _COSTS if _any(dataset, cost[0])]
    baseline, differences = _differences(dataset, measures[0])
    compared = [f"{measures[0]} - {baseline} (95%)"] if baseline else []
    rows = [["system", *measures, *compared, *(heading for _, heading, _, _ in shown)]]
    notes = _doubts(name, dataset, measures)
    for system, row in dataset["systems"].items():
        costs = [_cost(row["cost"].get(key), factor, digits) for key, _, factor, digits in shown]
        rows.append([system, *_figures(row["measures"], measures), *([differences[system]] * bool(baseline)), *costs])
        if ceiling := row.get("ceiling"):
            first = measures[0]
            notes.append(f"{system}: {first} could be {ceiling[first]:.4f} with the best order of its candidates")
        notes += _published(system, row, measures)
    notes += [f"not run: {system}: {reason}" for system, reason in dataset["not_run"].items()]
    title = f"{name} {dataset['split']}: {counted(dataset['documents'], 'document')}, "
    title += counted(dataset["queries"], "query")
    return title, rows, notes


def _differences(dataset: Mapping[str, Any], measure: str) -> tuple[str, dict[str, str]]:
    """Return the baseline, and each system's difference to it with its interval and what it means in a word.

    The baseline is "" if nothing was compared.
    """
    cells, baseline = dict.fromkeys(dataset["systems"], ""), ""
    for system, row in dataset["systems"].items():
        if compared := (row.get("significance") or {}).get(measure):
            baseline = compared["baseline"]
            low, high = compared["interval"]
            word = " above" if low > 0 else " below" if high < 0 else ""
            difference = _short(compared["difference"], "+")
            cells[system] = f"{difference} [{_short(low, '+')}, {_short(high, '+')}]{word}"
    return baseline, cells


def _doubts(name: str, dataset: Mapping[str, Any], measures: Sequence[str]) -> list[str]:
    """Return one line for each system that is below another one beyond doubt."""
    notes = []
    for system, row in dataset["systems"].items():
        compared = (row.get("significance") or {}).get(measures[0])
        below = dict(row.get("below") or {})
        if compared is not None and compared["interval"][1] < 0:
            below.setdefault(compared["baseline"], {"measure": measures[0], **compared})
        for other, found in below.items():
            low, high = (_short(-bound) for bound in reversed(found["interval"]))
            notes.append(
                f"{system} is below {other} on {name} by {_short(-found['difference'])} [{low}, {high}] "
                f"{found['measure']}, beyond doubt"
            )
    return notes


def _short(value: float, sign: str = "") -> str:
    return f"{value:{sign}.3f}".replace("0.", ".", 1)


def _published(system: str, row: Mapping[str, Any], measures: Sequence[str]) -> list[str]:
    """Return one line for each source of published values of a system."""
    by_source: dict[str, list[str]] = {}
    for measure, figure in row.get("published", {}).items():
        if measure in measures:
            by_source.setdefault(figure["source"], []).append(f"{measure} {figure['value']:.4f}")
    return [f"{system}: published: {', '.join(figures)} ({source})" for source, figures in by_source.items()]


def _any(dataset: Mapping[str, Any], cost: str) -> bool:
    return any(row["cost"].get(cost) is not None for row in dataset["systems"].values())


def _figures(values: Mapping[str, float], measures: Sequence[str]) -> list[str]:
    return [f"{values[measure]:.4f}" for measure in measures]


def _cost(value: float | None, factor: float, digits: int) -> str:
    return "-" if value is None else f"{value * factor:.{digits}f}"
