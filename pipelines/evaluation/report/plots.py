"""The report's plots as PNG files, for slides and papers; drawn by matplotlib, without a screen."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pipelines.evaluation.report.charts import Point, pareto
from pipelines.evaluation.report.facts import Facts, shown_groups

PALETTE = ("#2557c7", "#c2540a", "#14703f", "#8a35b0", "#b3261e", "#0a7285", "#7a5a1e", "#5d636e")


def write_plots(folder: Path, facts: Facts, colours: Mapping[str, int], baseline: str | None) -> list[Path]:
    """Draw what the page draws, as far as there are values; give the files."""
    from matplotlib import rc_context

    folder.mkdir(parents=True, exist_ok=True)
    written = []
    look: Any = {
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "axes.axisbelow": True,
        "grid.color": "#e4e2dd",
        "font.size": 9,
    }
    with rc_context(look):
        for name, draw in (
            ("quality-latency", lambda axes: _scatter(axes, facts, colours, "p50_ms", 1.0, "p50 latency, ms")),
            ("quality-size", lambda axes: _scatter(axes, facts, colours, "index_bytes", 1e-6, "index, MB")),
            ("recall-depth", lambda axes: _curves(axes, facts, colours)),
            ("first-relevant", lambda axes: _firsts(axes, facts, colours)),
            ("differences", lambda axes: _differences(axes, facts, colours, baseline)),
        ):
            path = folder / f"{re.sub(r'[^A-Za-z0-9._-]+', '-', facts.result.name)}-{name}.png"
            if _drawn(path, draw):
                written.append(path)
    return written


def _drawn(path: Path, draw: Any) -> bool:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 4.0), layout="constrained")
    FigureCanvasAgg(figure)
    if not draw(figure.add_subplot()):
        return False
    figure.savefig(path, dpi=160)
    return True


def _colour(colours: Mapping[str, int], name: str) -> str:
    return PALETTE[colours[name] % len(PALETTE)]


def _logarithmic(axes: Any) -> None:
    """Count 1, 2, 5, 10 along the x axis, in plain numbers."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())


def _scatter(axes: Any, facts: Facts, colours: Mapping[str, int], key: str, factor: float, x_title: str) -> bool:
    points = [
        Point(name, system.cost[key] * factor, system.measures[facts.primary], colours[name])
        for name, system in facts.result.systems.items()
        if system.cost.get(key, 0) > 0 and facts.primary in system.measures
    ]
    front = pareto(points)
    axes.plot([point.x for point in front], [point.y for point in front], "--", color="#8b919c", linewidth=1, zorder=1)
    for point in points:
        colour = _colour(colours, point.name)
        axes.scatter(
            point.x, point.y, s=48, edgecolor=colour, facecolor=colour if point in front else "white", zorder=2
        )
        # Below: the front rises to the right of each of its points.
        axes.annotate(point.name, (point.x, point.y), (7, -11), textcoords="offset points", color=colour)
    _logarithmic(axes)
    axes.set(xlabel=x_title, ylabel=facts.primary, title=facts.result.name)
    axes.margins(x=0.2, y=0.15)
    return bool(points)


def _curves(axes: Any, facts: Facts, colours: Mapping[str, int]) -> bool:
    for name, line in facts.curves.items():
        axes.plot(*zip(*line, strict=True), marker="o", markersize=3, color=_colour(colours, name), label=name)
    _logarithmic(axes)
    axes.set(xlabel="depth (hits)", ylabel="recall", title=facts.result.name)
    if facts.curves:
        axes.legend(frameon=False)
    return bool(facts.curves)


def _firsts(axes: Any, facts: Facts, colours: Mapping[str, int]) -> bool:
    groups = shown_groups(facts)
    width = 0.8 / max(len(facts.firsts), 1)
    for at, (name, counts) in enumerate(facts.firsts.items()):
        places = [place + at * width for place in range(len(groups))]
        axes.bar(places, [counts[group] for group in groups.values()], width, color=_colour(colours, name), label=name)
    axes.set_xticks([place + 0.4 - width / 2 for place in range(len(groups))], list(groups))
    axes.set(xlabel="rank of the first relevant hit", ylabel="queries", title=facts.result.name)
    axes.grid(axis="x", visible=False)
    if facts.firsts:
        axes.legend(frameon=False)
    return bool(facts.firsts)


def _differences(axes: Any, facts: Facts, colours: Mapping[str, int], baseline: str | None) -> bool:
    best, base = facts.scores.get(facts.best), facts.scores.get(baseline or "")
    if best is None or base is None or facts.best == baseline or best.query_ids != base.query_ids:
        return False
    if facts.primary not in best.per_query or facts.primary not in base.per_query:
        return False
    by: Sequence[float] = sorted((best.per_query[facts.primary] - base.per_query[facts.primary]).tolist(), reverse=True)
    axes.bar(
        range(len(by)),
        by,
        1.0,
        color=[_colour(colours, facts.best if value > 0 else str(baseline)) for value in by],
    )
    axes.set(
        xlabel="queries, sorted", ylabel=f"{facts.primary}: {facts.best} minus {baseline}", title=facts.result.name
    )
    return True
