"""The report's worst queries, with their relevant documents and each system's first hits."""

from collections.abc import Mapping
from html import escape

from pipelines.evaluation.report.charts import key
from pipelines.evaluation.report.facts import Facts, ShownHit, WorstQuery
from pipelines.evaluation.report.tables import table

RELEVANT_TEXT, HIT_TEXT = 360, 200
"""Characters of a document's text."""


def worst_queries(facts: Facts, colours: Mapping[str, int]) -> str:
    """Return the queries on which the best system scores lowest, each collapsed under its text."""
    if not facts.worst:
        return ""
    measure = escape(facts.primary)
    return (
        f"<h3>The worst queries of {escape(facts.best)}</h3>"
        f'<p class="note">Lowest {measure} first; ties by the best {measure} of another system.</p>'
        + "".join(_query(query, facts, colours) for query in facts.worst)
    )


def _query(query: WorstQuery, facts: Facts, colours: Mapping[str, int]) -> str:
    values = ", ".join(f"{name} {value:.3f}" for name, value in query.values.items())
    own = query.values.get(facts.best)
    shown = "" if own is None else f"{own:.3f}"
    answers = "".join(
        f"<div><h3>{key(colours[name])}{escape(name)}</h3><ol>{''.join(map(_hit, hits))}</ol></div>"
        for name, hits in query.hits.items()
    )
    return (
        f'<details class="query"><summary><span class="question">{escape(query.text)}</span>'
        f'<span class="value">{shown}</span></summary><div class="inside">'
        f'<p class="note"><span class="id">{escape(query.query_id)}</span> '
        f"{escape(facts.primary)}: {escape(values)}</p>"
        f'{_relevant(query)}<div class="answers">{answers}</div></div></details>'
    )


def _relevant(query: WorstQuery) -> str:
    heads = "".join(f'<th scope="col">{escape(name)}</th>' for name in query.hits)
    rows = (
        f'<tr><td class="text"><span class="id">{escape(document.doc_id)}</span>{_grade(document.grade)} '
        f"{_shortened(document.text, RELEVANT_TEXT)}</td>"
        + "".join(f"<td>{document.ranks.get(name) or '–'}</td>" for name in query.hits)
        + "</tr>"
        for document in query.relevant
    )
    more = query.relevant_count - len(query.relevant)
    rest = f'<p class="note">and {more} more relevant documents</p>' if more else ""
    return (
        table(f'<th class="text" scope="col">relevant document, and its rank in each system</th>{heads}', rows) + rest
    )


def _hit(hit: ShownHit) -> str:
    return f'<li><span class="id">{escape(hit.doc_id)}</span>{_grade(hit.grade)} {_shortened(hit.text, HIT_TEXT)}</li>'


def _grade(grade: int | None) -> str:
    if grade is None:
        return '<span class="grade">not judged</span>'
    return f'<span class="grade{" yes" if grade > 0 else ""}">grade {grade}</span>'


def _shortened(text: str, most: int) -> str:
    words = " ".join(text.split())
    return escape(words if len(words) <= most else words[: most - 1].rstrip() + "…")
