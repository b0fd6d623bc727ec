"""The report's plots as PNG files, for slides and papers, drawn by matplotlib without a display."""

import re
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.evaluation.report.charts import pareto
from pipelines.evaluation.report.facts import COST_PLOTS, Facts, shown_groups

PALETTE = ("#2557c7", "#c2540a", "#14703f", "#8a35b0", "#b3261e", "#0a7285", "#7a5a1e", "#5d636e")


def write_plots(folder: Path, facts: Facts, colours: Mapping[str, int], baseline: str | None) -> None:
    """Write the page's charts that have values into a folder."""
    from matplotlib import rc_context
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    folder.mkdir(parents=True, exist_ok=True)
    style: Any = {
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "axes.axisbelow": True,
        "grid.color": "#e4e2dd",
        "font.size": 9,
    }
    plots: Mapping[str, Callable[[Any], bool]] = {
        f"quality-{name}": partial(_scatter, facts=facts, colours=colours, cost=cost, factor=factor, x_title=x_title)
        for cost, factor, x_title, name in COST_PLOTS
    } | {
        "recall-depth": partial(_curves, facts=facts, colours=colours),
        "first-relevant": partial(_firsts, facts=facts, colours=colours),
        "differences": partial(_differences, facts=facts, colours=colours, baseline=baseline),
    }
    with rc_context(style):
        for name, draw in plots.items():
            figure = Figure(figsize=(6.4, 4.0), layout="constrained")
            FigureCanvasAgg(figure)
            if draw(figure.add_subplot()):
                figure.savefig(folder / f"{re.sub(r'[^A-Za-z0-9._-]+', '-', facts.result.name)}-{name}.png", dpi=160)


def _colour(colours: Mapping[str, int], name: str) -> str:
    return PALETTE[colours[name] % len(PALETTE)]


def _logarithmic(axes: Any) -> None:
    """Set a logarithmic x axis with ticks at 1, 2, 5, 10 in plain numbers."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())


def _scatter(axes: Any, facts: Facts, colours: Mapping[str, int], cost: str, factor: float, x_title: str) -> bool:
    points = facts.cost_points(cost, factor, colours)
    front = pareto(points)
    axes.plot([point.x for point in front], [point.y for point in front], "--", color="#8b919c", linewidth=1, zorder=1)
    for point in points:
        colour = _colour(colours, point.name)
        axes.scatter(
            point.x, point.y, s=48, edgecolor=colour, facecolor=colour if point in front else "white", zorder=2
        )
        # Below the point, because the front rises to its right.
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
        lefts = [group + at * width for group in range(len(groups))]
        axes.bar(lefts, [counts[group] for group in groups.values()], width, color=_colour(colours, name), label=name)
    axes.set_xticks([group + 0.4 - width / 2 for group in range(len(groups))], list(groups))
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
    differences = np.sort(best.per_query[facts.primary] - base.per_query[facts.primary])[::-1].tolist()
    bar_colours = [_colour(colours, facts.best if value > 0 else str(baseline)) for value in differences]
    axes.bar(range(len(differences)), differences, 1.0, color=bar_colours)
    axes.set(
        xlabel="queries, sorted", ylabel=f"{facts.primary}: {facts.best} minus {baseline}", title=facts.result.name
    )
    return True
