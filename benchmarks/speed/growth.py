"""Show how the time of the dense indexes grows with n, as a table and as a plot."""

import math
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from benchmarks.speed.indexes import DIMENSION
from benchmarks.speed.measure import Row


class Point(NamedTuple):
    """Measurement of a dense index of `n` vectors: seconds to build it or milliseconds per search, and recall@10."""

    n: int
    time: float
    recall: float


def growth(rows: Sequence[Row]) -> str:
    """Return a table of the dense rows: one line per index and size.

    The last column is the exponent of n with which time grew since the previous size: 1 is linear, 0 is constant.
    """
    unit = "build s" if _is_building(rows) else "p50 ms"
    lines = [f"index                       n  {unit:>9}  recall@10  grows as n^"]
    for name, points in _by_index(rows).items():
        powers = ["", *(f"{math.log(b.time / a.time) / math.log(b.n / a.n):.2f}" for a, b in pairwise(points))]
        for point, power in zip(points, powers, strict=True):
            lines.append(f"{name:<20} {point.n:>8,}  {point.time:>9.3f}  {point.recall:>9.4f}  {power:>11}".rstrip())
    return "\n".join(lines)


def plot(rows: Sequence[Row], path: Path) -> None:
    """Plot median search time, or build time, over n, on logarithmic axes, one line per index."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.subplots()
    for name, points in _by_index(rows).items():
        axes.plot([point.n for point in points], [point.time for point in points], marker="o", label=name)
    building = _is_building(rows)
    title = "Building, vectors in memory" if building else "One query at a time, k=10"
    label = "build time, s" if building else "median ms per query"
    axes.set(xscale="log", yscale="log", xlabel="vectors", ylabel=label, title=title)
    axes.grid(True, which="both", alpha=0.3)
    axes.legend()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)


def _is_building(rows: Sequence[Row]) -> bool:
    return any(row["task"] == "index" for row in rows)


def _by_index(rows: Sequence[Row]) -> dict[str, list[Point]]:
    """Return the measurements in the dense rows, by index and ascending size."""
    points: dict[str, list[Point]] = {}
    for row in rows:
        if row["peer"].startswith("FAISS Flat"):
            size, _, name = row["setting"].partition(f" x {DIMENSION}, ")
            time = row["ours_s"] if row["task"] == "index" else 1000 * row["ours_s"]
            points.setdefault(name, []).append(Point(int(size.replace(",", "")), time, row["agreement"]))
    return {name: sorted(series) for name, series in points.items()}
