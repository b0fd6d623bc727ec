"""Show how the time of the dense indexes grows with n, as a table and as a plot."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.speed.indexes import DIMENSION
from benchmarks.speed.measure import Row


def growth(rows: Sequence[Row]) -> str:
    """Return a table of the dense rows: one line per index and size.

    The last column is the exponent of n with which time grew since the previous size: 1 is linear, 0 is constant.
    """
    points = _points(rows)
    unit = "build s" if points and points[0].task == "index" else "p50 ms"
    lines = [f"index                       n  {unit:>9}  recall@10  grows as n^"]
    for name, series in _by_index(points).items():
        previous = None
        for point in series:
            power = f"{_exponent(previous, point):.2f}" if previous else ""
            lines.append(f"{name:<20} {point.n:>8,}  {point.shown:>9.3f}  {point.recall:>9.4f}  {power:>11}".rstrip())
            previous = point
    return "\n".join(lines)


def plot(rows: Sequence[Row], path: Path) -> None:
    """Plot median search time, or build time, over n, on logarithmic axes, one line per index."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.subplots()
    points = _points(rows)
    for name, series in _by_index(points).items():
        axes.plot([point.n for point in series], [point.shown for point in series], marker="o", label=name)
    building = bool(points) and points[0].task == "index"
    title = "Building, vectors in memory" if building else "One query at a time, k=10"
    label = "build time, s" if building else "median ms per query"
    axes.set(xscale="log", yscale="log", xlabel="vectors", ylabel=label, title=title)
    axes.grid(True, which="both", alpha=0.3)
    axes.legend()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)


@dataclass(frozen=True)
class _Point:
    """One measurement of a dense index: seconds to build it, or seconds per search."""

    task: str
    name: str
    n: int
    seconds: float
    recall: float

    @property
    def shown(self) -> float:
        return self.seconds if self.task == "index" else 1000 * self.seconds


def _points(rows: Sequence[Row]) -> list[_Point]:
    """Return the measurements in the dense rows, by ascending size."""
    points = []
    for row in rows:
        if row["peer"].startswith("FAISS Flat"):
            size, _, name = row["setting"].partition(f" x {DIMENSION}, ")
            points.append(_Point(row["task"], name, int(size.replace(",", "")), row["ours_s"], row["agreement"]))
    return sorted(points, key=lambda point: point.n)


def _by_index(points: Sequence[_Point]) -> dict[str, list[_Point]]:
    names = dict.fromkeys(point.name for point in points)
    return {name: [point for point in points if point.name == name] for name in names}


def _exponent(smaller: _Point, larger: _Point) -> float:
    return math.log(larger.seconds / smaller.seconds) / math.log(larger.n / smaller.n)
