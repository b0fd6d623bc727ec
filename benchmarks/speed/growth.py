"""How the time of the dense indexes grows with n: as a table, and as a plot."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.speed.indexes import DIMENSION
from benchmarks.speed.measure import Row


def growth(rows: Sequence[Row]) -> str:
    """Lay out what the dense rows of several sizes say: a line for each index and size.

    The last column is the power of n that time grew with since the size before: 1 is in proportion to n, 0 not at all.
    """
    points = _points(rows)
    what = "build s" if points and points[0].task == "index" else "p50 ms"
    lines = [f"index                       n  {what:>9}  recall@10  grows as n^"]
    for name, mine in _by_index(points).items():
        before = None
        for point in mine:
            power = f"{_power(before, point):.2f}" if before else ""
            lines.append(f"{name:<20} {point.n:>8,}  {point.shown:>9.3f}  {point.recall:>9.4f}  {power:>11}".rstrip())
            before = point
    return "\n".join(lines)


def plot(rows: Sequence[Row], path: Path) -> None:
    """Draw median search time, or time to build, over n, both logarithmic, a line for each index."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.subplots()
    points = _points(rows)
    for name, mine in _by_index(points).items():
        axes.plot([point.n for point in mine], [point.shown for point in mine], marker="o", label=name)
    building = bool(points) and points[0].task == "index"
    title = "Building, vectors in memory" if building else "One query at a time, k=10"
    label = "seconds to build" if building else "median ms a query"
    axes.set(xscale="log", yscale="log", xlabel="vectors", ylabel=label, title=title)
    axes.grid(True, which="both", alpha=0.3)
    axes.legend()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)


@dataclass(frozen=True)
class _Point:
    """What a dense row says: seconds to build, or of a search."""

    task: str
    name: str
    n: int
    seconds: float
    recall: float

    @property
    def shown(self) -> float:
        return self.seconds if self.task == "index" else 1000 * self.seconds


def _points(rows: Sequence[Row]) -> list[_Point]:
    """Read the dense rows, by ascending size."""
    found = []
    for row in rows:
        if row["peer"].startswith("FAISS Flat"):
            size, _, name = row["setting"].partition(f" x {DIMENSION}, ")
            found.append(_Point(row["task"], name, int(size.replace(",", "")), row["ours_s"], row["agreement"]))
    return sorted(found, key=lambda point: point.n)


def _by_index(points: Sequence[_Point]) -> dict[str, list[_Point]]:
    names = dict.fromkeys(point.name for point in points)
    return {name: [point for point in points if point.name == name] for name in names}


def _power(before: _Point, after: _Point) -> float:
    return math.log(after.seconds / before.seconds) / math.log(after.n / before.n)
