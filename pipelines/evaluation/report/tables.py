"""The report's tables as HTML, sortable, each cell with its exact value beside the shown one."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

from pipelines.evaluation.report.charts import interval, key, signed
from pipelines.evaluation.results import DatasetResult, SystemResult

LEVEL = 0.05
COSTS = (
    ("p50_ms", "p50 ms", 1.0, 1),
    ("p95_ms", "p95 ms", 1.0, 1),
    ("p99_ms", "p99 ms", 1.0, 1),
    ("query_s", "queries s", 1.0, 1),
    ("encode_s", "encode s", 1.0, 1),
    ("build_s", "build s", 1.0, 1),
    ("index_bytes", "index MB", 1e-6, 1),
    ("peak_mb", "peak MB", 1.0, 0),
)
"""Cost figures: key, heading, factor, decimals."""


@dataclass(frozen=True, slots=True)
class Column:
    """One column of numbers: `values` holds None where there is none; `first` is the order a first click gives."""

    title: str
    values: Sequence[float | None]
    decimals: int
    first: str = "descending"
    notes: Sequence[str] = ()


def quality_table(
    dataset: DatasetResult, measures: Sequence[str], baseline: str | None, colours: Mapping[str, int]
) -> str:
    """Lay out the measures of each system; marks say which differ from the baseline beyond chance."""
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
    """Lay out what each system costs, as far as it was measured."""
    systems = list(dataset.systems.values())
    columns = [
        Column(title, [_scaled(system, key, factor) for system in systems], decimals, "ascending")
        for key, title, factor, decimals in COSTS
        if any(key in system.cost for system in systems)
    ]
    return sortable([system.name for system in systems], columns, colours, baseline) if columns else ""


def sortable(names: Sequence[str], columns: Sequence[Column], colours: Mapping[str, int], baseline: str | None) -> str:
    """Lay out a sortable table, a row a system, the best of each measure in bold."""
    heads = ['<th scope="col" data-first="ascending"><button type="button">system</button></th>']
    heads += [
        f'<th scope="col" data-first="{column.first}"><button type="button">{escape(column.title)}</button></th>'
        for column in columns
    ]
    rows = []
    for at, name in enumerate(names):
        cells = [
            f'<th scope="row" data-value="{escape(name)}">{key(colours[name])}'
            f"{escape(name)}{_baseline(name == baseline)}</th>"
        ]
        cells += [_cell(column, at) for column in columns]
        rows.append(f"<tr>{''.join(cells)}</tr>")
    return (
        f'<div class="wide"><table class="sortable"><thead><tr>{"".join(heads)}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )


def significance_table(dataset: DatasetResult, measure: str, colours: Mapping[str, int]) -> str:
    """Lay out how each system differs from the baseline by one measure: difference, interval, p-values, wins."""
    rows = [
        (system.name, system.significance[measure])
        for system in dataset.systems.values()
        if measure in system.significance
    ]
    if not rows:
        return ""
    reach = max(abs(end) for _, found in rows for end in found["interval"])
    body = []
    for name, found in rows:
        low, high = found["interval"]
        body.append(
            f'<tr><th scope="row">{key(colours[name])}{escape(name)}</th>'
            f"<td>{signed(found['difference'])}</td><td>{signed(low)} to {signed(high)}</td>"
            f'<td class="forest">{interval(found["difference"], low, high, reach)}</td>'
            f"<td>{escape(_p(found['p_t']))}</td><td>{escape(_p(found['p_fisher']))}</td>"
            f'<td class="{"best" if found["p_holm"] < LEVEL else ""}">{escape(_p(found["p_holm"]))}</td>'
            f"<td>{found['wins']} / {found['ties']} / {found['losses']}</td></tr>"
        )
    return (
        '<div class="wide"><table><thead><tr><th scope="col">system</th><th scope="col">difference</th>'
        '<th scope="col">95% interval</th><th scope="col"></th><th scope="col">p (t-test)</th>'
        '<th scope="col">p (randomisation)</th><th scope="col">p (Holm)</th>'
        f'<th scope="col">wins / ties / losses</th></tr></thead><tbody>{"".join(body)}</tbody></table></div>'
    )


def published_table(dataset: DatasetResult, measures: Sequence[str], colours: Mapping[str, int]) -> str:
    """Lay out what others published for the same model and dataset beside ours; nothing where none is known."""
    known = [
        (system.name, measure, system.measures[measure], figure["value"], figure["source"])
        for system in dataset.systems.values()
        for measure, figure in system.published.items()
        if measure in measures and measure in system.measures
    ]
    if not known:
        return ""
    rows = [
        f'<tr><th scope="row">{key(colours[name])}{escape(name)}</th><td>{escape(measure)}</td><td>{ours:.4f}</td>'
        f'<td>{theirs:.4f}</td><td>{signed(ours - theirs)}</td><td class="source">{escape(source)}</td></tr>'
        for name, measure, ours, theirs, source in known
    ]
    heads = "".join(f'<th scope="col">{head}</th>' for head in ("system", "measure", "here", "published", "difference"))
    return (
        f'<div class="wide"><table><thead><tr>{heads}<th scope="col" class="source">source</th></tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )


def _cell(column: Column, at: int) -> str:
    value = column.values[at]
    if value is None:
        return '<td data-value="">–</td>'
    there = [other for other in column.values if other is not None]
    best = column.first == "descending" and len(there) > 1 and value == max(there)
    kind = ' class="best"' if best else ""
    note = column.notes[at] if column.notes else ""
    return f'<td data-value="{value!r}"{kind}>{value:,.{column.decimals}f}{note}</td>'


def _mark(system: SystemResult, measure: str) -> str:
    found = system.significance.get(measure)
    if found is None or found["p_holm"] is None or found["p_holm"] >= LEVEL:
        return ""
    up = found["difference"] > 0
    said = f"{'better' if up else 'worse'} than {found['baseline']}, p (Holm) {_p(found['p_holm'])}"
    return f'<span class="mark {"up" if up else "down"}" title="{escape(said)}">{"▲" if up else "▼"}</span>'


def _scaled(system: SystemResult, key: str, factor: float) -> float | None:
    return system.cost[key] * factor if key in system.cost else None


def _baseline(is_baseline: bool) -> str:
    return '<span class="base">baseline</span>' if is_baseline else ""


def _p(value: float | None) -> str:
    return "–" if value is None else "< 0.0001" if value < 0.0001 else f"{value:.4f}"
