"""The report's sections: each dataset, the mean over datasets, and how the results were made."""

import json
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from indexing.plurals import counted
from pipelines.evaluation.report.charts import curves, histogram, key, scatter
from pipelines.evaluation.report.differences import differences_figure
from pipelines.evaluation.report.facts import COST_PLOTS, Facts, shown_groups
from pipelines.evaluation.report.tables import (
    LEVEL,
    Column,
    cost_table,
    published_table,
    quality_table,
    significance_table,
    sortable,
)
from pipelines.evaluation.report.worst import worst_queries
from pipelines.evaluation.results import Results


def dataset_section(facts: Facts, number: int, results: Results, colours: Mapping[str, int]) -> str:
    """Return the section of one dataset."""
    result = facts.result
    measures = [name for name in results.measures if any(name in s.measures for s in result.systems.values())]
    summary = [f"{counted(result.documents, 'document')}, {counted(result.queries, 'query')}, split {result.split}"]
    if result.self_hits_dropped:
        summary.append("hits with the query’s own id are dropped")
    summary += [f"{check}: {count:,}" for check, count in result.checks.items() if count]
    parts = [
        f'<section id="d{number}"><h2>{escape(result.name)}</h2><p class="facts">{escape("; ".join(summary))}</p>',
        quality_table(result, measures, results.baseline, colours),
        _not_run(facts),
        _significance(facts, measures, results.baseline, colours),
        _published(facts, measures, colours),
        _costs(facts, colours, results.baseline),
        differences_figure(facts, number, results.baseline),
        _depth(facts, colours),
        worst_queries(facts, colours),
        "</section>",
    ]
    return "".join(parts)


def mean_section(results: Results, facts: Sequence[Facts], colours: Mapping[str, int]) -> str:
    """Return the section of the means over datasets."""
    names = [name for name in colours if name in results.mean]
    if not names:
        return ""
    columns = [Column(measure, [results.mean[name].get(measure) for name in names], 4) for measure in results.measures]
    dataset_columns = [
        Column(
            dataset.result.name,
            [
                dataset.result.systems[name].measures.get(dataset.primary) if name in dataset.result.systems else None
                for name in names
            ],
            4,
        )
        for dataset in facts
    ]
    means, by_dataset = (sortable(names, shown, colours, results.baseline) for shown in (columns, dataset_columns))
    title = f"Mean over {len(facts)} datasets"
    by = f"{escape(facts[0].primary)} by dataset"
    return f'<section id="mean"><h2>{title}</h2>{means}<h3>{by}</h3>{by_dataset}</section>'


def environment_section(results: Results) -> str:
    """Return the section of the command, the machine and the versions behind the results."""
    facts = {"date": results.date, **results.environment}
    rows = "".join(f"<dt>{escape(str(name))}</dt><dd>{_lines(value)}</dd>" for name, value in facts.items())
    command = f"<pre>{escape(results.command)}</pre>" if results.command else ""
    return f'<section id="how"><h2>How it was made</h2>{command}<dl>{rows}</dl></section>'


def _lines(value: Any) -> str:
    """Format a value, a mapping of mappings with one entry per line."""
    if isinstance(value, Mapping) and value and all(isinstance(entry, Mapping) for entry in value.values()):
        return "<br>".join(f"{escape(str(name))}: {escape(_plain(entry))}" for name, entry in value.items())
    return escape(_plain(value))


def _plain(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_plain(entry)}" for name, entry in value.items() if entry is not None)
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _not_run(facts: Facts) -> str:
    return "".join(
        f'<p class="note">Not run: <strong>{escape(name)}</strong>: {escape(reason)}</p>'
        for name, reason in facts.result.not_run.items()
    )


def _significance(facts: Facts, measures: Sequence[str], baseline: str | None, colours: Mapping[str, int]) -> str:
    tables = {measure: significance_table(facts.result, measure, colours) for measure in measures}
    shown = [measure for measure, table in tables.items() if table]
    if not shown:
        return ""
    main = facts.primary if facts.primary in shown else shown[0]
    others = "".join(f"<h3>{escape(measure)}</h3>{tables[measure]}" for measure in shown if measure != main)
    base = escape(baseline or "the baseline")
    table = (
        f'<p class="note">▲ ▼: differs from {base} with p &lt; {LEVEL} (paired randomisation test, Holm’s correction '
        f"over the systems).</p><h3>{escape(main)} against {base}</h3>{tables[main]}"
    )
    if not others:
        return table
    return f'{table}<details class="more"><summary>The same for the other measures</summary>{others}</details>'


def _published(facts: Facts, measures: Sequence[str], colours: Mapping[str, int]) -> str:
    table = published_table(facts.result, measures, colours)
    return f"<h3>Beside published figures</h3>{table}" if table else ""


def _costs(facts: Facts, colours: Mapping[str, int], baseline: str | None) -> str:
    figures = []
    for cost, factor, x_title, name in COST_PLOTS:
        title = f"Quality against {name}"
        if points := facts.cost_points(cost, factor, colours):
            drawn = scatter(points, x_title=x_title, y_title=facts.primary, label=f"{title} on {facts.result.name}")
            figures.append(
                f"<figure><h3>{title}</h3>{drawn}<figcaption>Filled: no other system is both better and cheaper "
                "(the Pareto front).</figcaption></figure>"
            )
    table = cost_table(facts.result, colours, baseline)
    shown = f"<h3>Cost</h3>{table}" if table else ""
    return shown + (f'<div class="pair">{"".join(figures)}</div>' if figures else "")


def _depth(facts: Facts, colours: Mapping[str, int]) -> str:
    lines = {name: line for name, line in facts.curves.items() if line}
    if not lines:
        return ""
    drawn = curves(lines, colours, label=f"Recall by depth on {facts.result.name}")
    groups = shown_groups(facts)
    most = max(max(counts) for counts in facts.firsts.values())
    small = "".join(
        f"<figure><h3>{key(colours[name])}{escape(name)}</h3>"
        + histogram(
            [counts[at] for at in groups.values()],
            list(groups),
            most,
            colours[name],
            label=f"Rank of the first relevant hit of {name} on {facts.result.name}",
        )
        + "</figure>"
        for name, counts in facts.firsts.items()
    )
    caption = "Fraction of the relevant documents among the first hits, mean over queries."
    return (
        f'<figure><h3>Recall by depth</h3><div class="broad">{drawn}</div><figcaption>{caption}</figcaption></figure>'
        f'<h3>Rank of the first relevant hit</h3><div class="trio">{small}</div>'
    )
