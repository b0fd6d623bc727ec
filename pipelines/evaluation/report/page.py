"""The report as one HTML page without external resources: texts are escaped, and only the page's script may run."""

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from html import escape
from importlib.resources import files

from indexing.plurals import counted
from pipelines.evaluation.report.differences import chosen_values
from pipelines.evaluation.report.facts import Facts
from pipelines.evaluation.report.sections import dataset_section, environment_section, mean_section
from pipelines.evaluation.results import Results


def page(results: Results, facts: Sequence[Facts]) -> str:
    """Return the page as HTML."""
    colours = system_colours(facts)
    parts = [mean_section(results, facts, colours)] if len(facts) > 1 else []
    parts += [dataset_section(dataset, number, results, colours) for number, dataset in enumerate(facts)]
    resources = files(__package__)
    style = resources.joinpath("page.css").read_text(encoding="utf-8")
    script = resources.joinpath("page.js").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'; base-uri 'none'"
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<title>{escape(_title(facts))}</title>
<style>{style}</style>
</head>
<body>
<header><h1>{escape(_title(facts))}</h1><p class="lead">{_lead(results, facts)}</p></header>
<nav>{_links(facts)}</nav>
<main>{"".join(parts)}{environment_section(results)}</main>
<footer class="note">Values are means over queries, by ir-measures’ names. This page needs no network.</footer>
{"".join(_values(dataset, number, colours) for number, dataset in enumerate(facts))}
<script>{script}</script>
</body>
</html>
"""


def system_colours(facts: Sequence[Facts]) -> dict[str, int]:
    """Return the number of each system's colour, the same in all charts."""
    names = dict.fromkeys(name for dataset in facts for name in dataset.result.systems)
    return {name: number for number, name in enumerate(names)}


def _title(facts: Sequence[Facts]) -> str:
    names = [dataset.result.name for dataset in facts]
    return f"Retrieval on {', '.join(names)}" if len(names) <= 3 else f"Retrieval on {len(names)} datasets"


def _lead(results: Results, facts: Sequence[Facts]) -> str:
    systems = len(system_colours(facts))
    lead = f"{counted(systems, 'system')}, {counted(sum(dataset.result.queries for dataset in facts), 'query')}, "
    lead += f"{counted(sum(dataset.result.documents for dataset in facts), 'document')}. "
    if len(facts) == 1:
        (dataset,) = facts
        value = dataset.result.systems[dataset.best].measures[dataset.primary]
        lead += f"Best {dataset.primary}: {dataset.best}, {value:.4f}. "
    return escape(f"{lead}{results.date[:16].replace('T', ' ')}".strip())


def _links(facts: Sequence[Facts]) -> str:
    links = [("mean", "Mean")] if len(facts) > 1 else []
    links += [(f"d{number}", dataset.result.name) for number, dataset in enumerate(facts)]
    links.append(("how", "How it was made"))
    return "".join(f'<a href="#{target}">{escape(name)}</a>' for target, name in links)


def _values(facts: Facts, number: int, colours: Mapping[str, int]) -> str:
    values = chosen_values(facts, colours)
    if values is None:
        return ""
    # Without "<" no text can end its script element.
    text = json.dumps(values, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")
    return f'<script type="application/json" id="v{number}">{text}</script>'
