"""Output of ``retrieve search``: results as a table for a person, or as JSON for a program."""

import os
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pipelines.commands.command import json_text

if TYPE_CHECKING:
    from pipelines.search import LegExplanation, SearchPipeline, SearchResult, SearchResults
    from pipelines.search.highlight import Highlight
    from pipelines.search.parents import ParentResult, ParentResults
    from retrieve.token_matches import TokenMatch

SHOWN_TERMS = 6
"""Number of matched terms per leg that the table shows."""


@dataclass(frozen=True, slots=True)
class Found:
    """Results of one query.

    Parameters
    ----------
    query
        The query.
    query_id
        Its id in a file of queries, else empty.
    results
        The documents, or the chunks.
    parents
        The documents of the chunks; None when the results are documents.
    highlights
        Places of the query's words: in the text of each result, or of each parent's best passage.
    """

    query: str
    query_id: str
    results: "SearchResults"
    parents: "ParentResults | None"
    highlights: "Sequence[Highlight]"


def find(
    pipeline: "SearchPipeline",
    variants: Sequence[str],
    *,
    k: int,
    chunks: bool,
    query_id: str = "",
    **options: Any,
) -> Found:
    """Search for a query, given in one phrasing or several; for chunks return their documents, unless `chunks`."""
    from pipelines.search.highlight import highlight, token_highlight
    from pipelines.search.parents import holds_chunks, search_parents

    def found(stages: Any, _: Any) -> Found:
        parents = None
        if not chunks and holds_chunks(stages.snapshot):
            parents = search_parents(pipeline, variants[0] if len(variants) == 1 else variants, k, **options)
            results, shown = parents.found, [parent.passages[0] for parent in parents]
        else:
            if len(variants) == 1:
                results = pipeline.search(variants[0], k, **options)
            else:
                results = pipeline.multi_search(variants, k, **options)
            shown = list(results)
        syntax = options.get("query_syntax")
        marked = highlight(pipeline, " ".join(variants), [result.text for result in shown], query_syntax=syntax)
        if stages.snapshot.manifest.first_leg("text") is None:
            # Without a leg that matches words, the tokens that met say more.
            marked = [token_highlight(result) or words for result, words in zip(shown, marked, strict=True)]
        return Found(variants[0], query_id, results, parents, marked)

    return pipeline.in_one_state(found)


def as_json(found: Found, *, timings: bool) -> str:
    """Return one line of JSON; ``highlights`` are places in a hit's text, or in a parent's first passage."""
    answer = (found.results if found.parents is None else found.parents).as_dict()
    if not timings:
        del answer["timings"]
    for hit, marked in zip(answer["hits"], found.highlights, strict=True):
        hit["highlights"] = [list(span) for span in marked.spans]
    named = {"query_id": found.query_id} if found.query_id else {}
    return json_text({**named, "query": found.query, **answer})


def as_table(found: Found, *, timings: bool) -> str:
    """Return the results as lines of text for a person."""
    lines = [f"{found.query_id}: {found.query}" if found.query_id else found.query]
    if found.parents is None:
        for result, marked in zip(found.results, found.highlights, strict=True):
            lines += _result(result, marked)
    else:
        for parent, marked in zip(found.parents, found.highlights, strict=True):
            lines += _parent(parent, marked)
    if len(lines) == 1:
        lines.append("  nothing found")
    if found.results.facets is not None:
        lines += _facets(found.results.facets)
    lines += [f"  without {leg}: {reason}" for leg, reason in found.results.failures.items()]
    lines += [f"  note: {note}" for note in found.results.notes]
    if timings:
        lines.append("  " + "  ".join(f"{stage} {took:.1f} ms" for stage, took in found.results.timings.items()))
    return "\n".join(lines)


def _facets(facets: Mapping[str, Any]) -> Iterator[str]:
    """Yield a line for each counted field."""
    scope = "of the first" if facets["over"] == "hits" else "of all matching"
    for field, counted in facets["fields"].items():
        values = ", ".join(f"{entry['value']} {entry['count']}" for entry in counted)
        yield f"  {field} ({scope} {facets['documents']}): {values or 'no values'}"


def _result(result: "SearchResult", marked: "Highlight") -> Iterator[str]:
    """Yield a hit's rank, id, score and provenance, its explanation, and its best snippet."""
    yield f"{result.rank:>3}. {result.doc_id}  {result.score:.4f}   {_stages(result)}"
    yield from _why(result)
    yield _text(result.title, marked)


def _parent(parent: "ParentResult", marked: "Highlight") -> Iterator[str]:
    from indexing.corpora.chunked import is_chunk

    best, (start, end) = parent.passages[0], parent.spans[0]
    yield f"{parent.rank:>3}. {parent.document.doc_id}  {parent.score:.4f}   {_stages(best)}"
    more = len(parent.passages) - 1
    others = f", {more} more passage{'s' if more > 1 else ''} found" if more else ""
    page = f"page {best.metadata['page']}, " if "page" in best.metadata and is_chunk(best.metadata) else ""
    yield f"     {page}characters {start:,} to {end:,} of {len(parent.document.text):,}{others}"
    yield from _why(best)
    yield _text(best.title, marked)


def _stages(result: "SearchResult") -> str:
    return f"[{'  '.join(f'{name} #{leg.rank} ({leg.score:.3f})' for name, leg in result.legs.items())}]"


def _why(result: "SearchResult") -> Iterator[str]:
    """Yield each leg's contribution, if explanations were requested."""
    if result.explanation is not None:
        yield from _parts(result.explanation.legs, "     ", "the fused score")
        if tokens := result.explanation.reranker_tokens:
            more = f"  and {len(tokens) - SHOWN_TERMS} more" if len(tokens) > SHOWN_TERMS else ""
            yield f"     reranker: {_largest(tokens)}{more}"
        for field, added in result.explanation.boosts.items():
            yield f"     boost of {field}: +{added:.4f}"


def _parts(legs: "Mapping[str, LegExplanation]", indent: str, total: str) -> Iterator[str]:
    for name, leg in legs.items():
        scored = "" if leg.rank is not None else f", not found but scored {leg.score:.3f}"
        normalized = "" if leg.normalized is None else f", normalised {leg.normalized:.3f}"
        terms = "".join(f"  {term} {weight:.2f}" for term, weight in (leg.terms or ())[:SHOWN_TERMS])
        more = len(leg.terms or leg.tokens or ()) - SHOWN_TERMS
        rest = f"  and {more} more" if more > 0 else ""
        terms += f"  {_largest(leg.tokens)}" if leg.tokens else ""
        decided = ", put first by rare words of the query" if leg.decided else ""
        yield f"{indent}{name}: {leg.share:.0%} of {total}{scored}{normalized}{decided}{terms}{rest}"
        yield from _parts(leg.legs, indent + "  ", "that")


def _largest(tokens: "Sequence[TokenMatch]") -> str:
    """Return the matched tokens with the largest parts of a score."""
    largest = sorted(tokens, key=lambda match: -match.part)[:SHOWN_TERMS]
    return "  ".join(f"{token}>{matched} {part:.2f}" for token, matched, part, _ in largest)


def _text(title: str, marked: "Highlight") -> str:
    """Return one line of title and snippet, as wide as the terminal."""
    width = max(shutil.get_terminal_size((110, 20)).columns - 5, 40)
    title = " ".join(title.split())
    head = f"{title[: width // 2]}{'…' if len(title) > width // 2 else ''}: " if title else ""
    before, after = _marks()
    return f"     {head}{marked.snippet(width - len(head), before=before, after=after)}"


def _marks() -> tuple[str, str]:
    """Return the marks around matched words: bold on a terminal (unless NO_COLOR is set), otherwise ``>>`` and ``<<``.

    Asterisks would not be told apart from those of a text in Markdown.
    """
    return ("\033[1m", "\033[0m") if sys.stdout.isatty() and not os.environ.get("NO_COLOR") else (">>", "<<")
