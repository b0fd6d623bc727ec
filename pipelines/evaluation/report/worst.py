"""The report's worst queries: what was asked, what was wanted, and what each system gave."""

from collections.abc import Mapping
from html import escape

from pipelines.evaluation.report.charts import key
from pipelines.evaluation.report.facts import Facts, ShownHit, WorstQuery

RELEVANT_TEXT, HIT_TEXT = 360, 200
"""Letters shown of a document."""


def worst_queries(facts: Facts, colours: Mapping[str, int]) -> str:
    """Lay out the queries on which the best system does worst, each folded away under its text."""
    if not facts.worst:
        return ""
    measure = escape(facts.primary)
    return (
        f"<h3>The worst queries of {escape(facts.best)}</h3>"
        f'<p class="note">Lowest {measure} first; among equals those that another system answers best.</p>'
        + "".join(_query(query, facts, colours) for query in facts.worst)
    )


def _query(query: WorstQuery, facts: Facts, colours: Mapping[str, int]) -> str:
    values = ", ".join(f"{name} {value:.3f}" for name, value in query.values.items())
    own = query.values.get(facts.best)
    shown = "" if own is None else f"{own:.3f}"
    answers = "".join(
        f"<div><h3>{key(colours[name])}{escape(name)}</h3><ol>{''.join(map(_hit, hits))}</ol></div>"
        for name, hits in query.found.items()
    )
    return (
        f'<details class="query"><summary><span class="asked">{escape(query.text)}</span>'
        f'<span class="value">{shown}</span></summary><div class="inside">'
        f'<p class="note"><span class="id">{escape(query.query_id)}</span> '
        f"{escape(facts.primary)}: {escape(values)}</p>"
        f'{_wanted(query)}<div class="answers">{answers}</div></div></details>'
    )


def _wanted(query: WorstQuery) -> str:
    heads = "".join(f'<th scope="col">{escape(name)}</th>' for name in query.found)
    rows = "".join(
        f'<tr><td class="text"><span class="id">{escape(one.doc_id)}</span>{_grade(one.grade)} '
        f"{_shortened(one.text, RELEVANT_TEXT)}</td>"
        + "".join(f"<td>{one.ranks.get(name) or '–'}</td>" for name in query.found)
        + "</tr>"
        for one in query.relevant
    )
    more = query.relevant_count - len(query.relevant)
    rest = f'<p class="note">and {more} more relevant documents</p>' if more else ""
    return (
        '<div class="wide"><table><thead><tr><th class="text" scope="col">relevant document, and its rank in each</th>'
        f"{heads}</tr></thead><tbody>{rows}</tbody></table></div>{rest}"
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
