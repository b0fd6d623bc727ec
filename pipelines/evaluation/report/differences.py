"""Per-query differences between any two systems: the data that the page's script draws, and the figure around it."""

from collections.abc import Mapping
from html import escape
from typing import Any

import numpy as np

from indexing.plurals import counted
from pipelines.evaluation.report.charts import COLOURS
from pipelines.evaluation.report.facts import Facts

MOST_QUERIES = 2000
"""More bars would be narrower than a pixel; the page then shows an even sample."""
PAGE_VALUES = 200_000
"""Maximum number of values in a page, about 7 bytes each, shared by the datasets."""
PAGE_TEXTS = 3000
"""Maximum number of query texts in a page, shared by the datasets; a dataset with more queries shows ids."""
TEXT = 90
"""Characters of a query's text."""


def chosen_values(facts: Facts, colours: Mapping[str, int]) -> dict[str, Any] | None:
    """Return the plot's data, rounded; None without two systems that have the same queries."""
    names = _comparable(facts)
    if len(names) < 2:
        return None
    query_ids = facts.scores[names[0]].query_ids
    sample = np.linspace(0, len(query_ids) - 1, _sample_size(facts)).astype(int)
    chosen = [query_ids[number] for number in sample]
    values = {
        name: {
            measure: np.round(facts.scores[name].per_query[measure][sample], 4).tolist() for measure in _measures(facts)
        }
        for name in names
    }
    texts = {query_id: _shortened(facts.query_texts[query_id]) for query_id in chosen if query_id in facts.query_texts}
    return {
        "queries": chosen,
        "values": values,
        "colours": {name: colours[name] % COLOURS for name in names},
        "texts": texts if len(chosen) <= PAGE_TEXTS * facts.share else {},
    }


def differences_figure(facts: Facts, number: int, baseline: str | None) -> str:
    """Return the figure that the page's script draws into; empty without two systems to compare."""
    names = _comparable(facts)
    if len(names) < 2:
        return ""
    first = facts.best if facts.best in names else names[-1]
    second = baseline if baseline in names and baseline != first else next(name for name in names if name != first)
    queries = len(facts.scores[first].query_ids)
    size = _sample_size(facts)
    note = f" An even sample of {size:,} of {counted(queries, 'query')}." if size < queries else ""
    return f"""<figure class="differences" data-values="v{number}">
<h3>Query by query</h3>
<div class="controls">
{_select(names, first, "system")} minus {_select(names, second, "compared with")}
by {_select(_measures(facts), facts.primary, "measure")}
</div>
<div class="plot broad"></div>
<p class="detail">Point at a bar to see its query.</p>
<figcaption><span class="summary"></span>. One bar a query, sorted.{note}</figcaption>
</figure>"""


def _comparable(facts: Facts) -> list[str]:
    """Return the systems with the primary measure for the same queries as the best system, or the first."""
    names = [name for name, scores in facts.scores.items() if facts.primary in scores.per_query]
    if not names:
        return []
    queries = facts.scores[facts.best if facts.best in names else names[0]].query_ids
    return [name for name in names if facts.scores[name].query_ids == queries]


def _measures(facts: Facts) -> list[str]:
    """Return the measures of all these systems, the primary one first, as many as fit into the page."""
    names = _comparable(facts)
    shared = [
        measure
        for measure in facts.scores[names[0]].per_query
        if all(measure in facts.scores[name].per_query for name in names)
    ]
    ordered = [facts.primary, *(measure for measure in shared if measure != facts.primary)]
    return ordered[: max(1, int(PAGE_VALUES * facts.share) // (len(names) * _sample_size(facts)))]


def _sample_size(facts: Facts) -> int:
    """Return the number of queries in the plot: all, or as many as fit into it and the page."""
    names = _comparable(facts)
    fitting = max(1, int(PAGE_VALUES * facts.share) // len(names))
    return min(len(facts.scores[names[0]].query_ids), MOST_QUERIES, fitting)


def _select(names: list[str], chosen: str, label: str) -> str:
    options = [f"<option{' selected' if name == chosen else ''}>{escape(name)}</option>" for name in names]
    return f'<select aria-label="{label}">{"".join(options)}</select>'


def _shortened(text: str) -> str:
    return text if len(text) <= TEXT else text[: TEXT - 1].rstrip() + "…"
