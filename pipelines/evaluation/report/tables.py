"""The report's HTML tables; cells of sortable ones hold their exact value in an attribute."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape

from pipelines.evaluation.cost import COSTS
from pipelines.evaluation.report.charts import interval, key, signed
from pipelines.evaluation.results import DatasetResult, SystemResult

LEVEL = 0.05
"""Significance level of the marks."""


@dataclass(frozen=True, slots=True)
class Column:
    """One column of numbers, None for missing ones; `first` is the order after the first click on its head."""

    title: str
    values: Sequence[float | None]
    decimals: int
    first: str = "descending"
    notes: Sequence[str] = ()


def quality_table(
    dataset: DatasetResult, measures: Sequence[str], baseline: str | None, colours: Mapping[str, int]
) -> str:
    """Return the table of each system's measures, with marks for significant differences from the baseline."""
    systems = list(dataset.systems.values())
    columns = [
        Column(
            measure,
            [system.measures.get(measure) for system in systems],
            4,
            notes=[_mark(system, measure) for system in systems],
        )
        for measure in measures
    ]
    if any(system.ceiling for system in systems):
        columns.append(Column(f"ceiling {measures[0]}", [system.ceiling.get(measures[0]) for system in systems], 4))
    if any(system.unjudged is not None for system in systems):
        columns.append(Column("unjudged@10", [system.unjudged for system in systems], 3, "ascending"))
    return sortable([system.name for system in systems], columns, colours, baseline)


def cost_table(dataset: DatasetResult, colours: Mapping[str, int], baseline: str | None) -> str:
    """Return the table of each system's measured costs."""
    systems = list(dataset.systems.values())
    columns = [
        Column(title, [s.cost[cost] * factor if cost in s.cost else None for s in systems], decimals, first="ascending")
        for cost, title, factor, decimals in COSTS
        if any(cost in system.cost for system in systems)
    ]
    return sortable([system.name for system in systems], columns, colours, baseline) if columns else ""


def sortable(names: Sequence[str], columns: Sequence[Column], colours: Mapping[str, int], baseline: str | None) -> str:
    """Return a sortable table with one row per system and the best value of each measure in bold."""
    heads = "".join(
        f'<th scope="col" data-first="{first}"><button type="button">{escape(title)}</button></th>'
        for title, first in (("system", "ascending"), *((column.title, column.first) for column in columns))
    )
    rows = []
    for at, name in enumerate(names):
        mark = '<span class="base">baseline</span>' if name == baseline else ""
        head = f'<th scope="row" data-value="{escape(name)}">{key(colours[name])}{escape(name)}{mark}</th>'
        rows.append(f"<tr>{head}{''.join(_cell(column, at) for column in columns)}</tr>")
    return table(heads, rows, ' class="sortable"')


def table(heads: str, rows: Iterable[str], attributes: str = "") -> str:
    """Return a table from the markup of its head cells and of its rows."""
    body = "".join(rows)
    return f'<div class="wide"><table{attributes}><thead><tr>{heads}</tr></thead><tbody>{body}</tbody></table></div>'


def significance_table(dataset: DatasetResult, measure: str, colours: Mapping[str, int]) -> str:
    """Return the table of each system's difference from the baseline by one measure, with interval, p-values, wins."""
    tests = {
        system.name: system.significance[measure]
        for system in dataset.systems.values()
        if measure in system.significance
    }
    if not tests:
        return ""
    reach = max(abs(end) for test in tests.values() for end in test["interval"])
    rows = []
    for name, test in tests.items():
        low, high = test["interval"]
        rows.append(
            f'<tr><th scope="row">{key(colours[name])}{escape(name)}</th>'
            f"<td>{signed(test['difference'])}</td><td>{signed(low)} to {signed(high)}</td>"
            f'<td class="forest">{interval(test["difference"], low, high, reach)}</td>'
            f"<td>{escape(_p(test['p_t']))}</td><td>{escape(_p(test['p_fisher']))}</td>"
            f'<td class="{"best" if test["p_holm"] < LEVEL else ""}">{escape(_p(test["p_holm"]))}</td>'
            f"<td>{test['wins']} / {test['ties']} / {test['losses']}</td></tr>"
        )
    heads = ("difference", "95% interval", "", "p (t-test)", "p (randomisation)", "p (Holm)", "wins / ties / losses")
    return table("".join(f'<th scope="col">{head}</th>' for head in ("system", *heads)), rows)


def published_table(dataset: DatasetResult, measures: Sequence[str], colours: Mapping[str, int]) -> str:
    """Return the table of published figures for the same model and dataset beside ours; empty without any."""
    published = [
        (system.name, measure, system.measures[measure], figure["value"], figure["source"])
        for system in dataset.systems.values()
        for measure, figure in system.published.items()
        if measure in measures and measure in system.measures
    ]
    if not published:
        return ""
    rows = [
        f'<tr><th scope="row">{key(colours[name])}{escape(name)}</th><td>{escape(measure)}</td><td>{ours:.4f}</td>'
        f'<td>{theirs:.4f}</td><td>{signed(ours - theirs)}</td><td class="source">{escape(source)}</td></tr>'
        for name, measure, ours, theirs, source in published
    ]
    heads = "".join(f'<th scope="col">{head}</th>' for head in ("system", "measure", "here", "published", "difference"))
    return table(f'{heads}<th scope="col" class="source">source</th>', rows)


def _cell(column: Column, at: int) -> str:
    value = column.values[at]
    if value is None:
        return '<td data-value="">–</td>'
    known = [other for other in column.values if other is not None]
    best = column.first == "descending" and len(known) > 1 and value == max(known)
    kind = ' class="best"' if best else ""
    note = column.notes[at] if column.notes else ""
    return f'<td data-value="{value!r}"{kind}>{value:,.{column.decimals}f}{note}</td>'


def _mark(system: SystemResult, measure: str) -> str:
    test = system.significance.get(measure)
    if test is None or test["p_holm"] is None or test["p_holm"] >= LEVEL:
        return ""
    up = test["difference"] > 0
    hint = f"{'better' if up else 'worse'} than {test['baseline']}, p (Holm) {_p(test['p_holm'])}"
    return f'<span class="mark {"up" if up else "down"}" title="{escape(hint)}">{"▲" if up else "▼"}</span>'


def _p(value: float | None) -> str:
    return "–" if value is None else "< 0.0001" if value < 0.0001 else f"{value:.4f}"
