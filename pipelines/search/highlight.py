"""Highlighting: where a query's words occur in a text, and the snippet that has most of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from indexing.indexes.lucene.matched_words import find_query_words
from indexing.inputs import whole_number
from indexing.query_syntax import QuerySyntax, parse_query

if TYPE_CHECKING:
    from pipelines.search.pipeline import SearchPipeline
    from pipelines.search.results import SearchResult

Spans = Sequence[tuple[int, int]]
"""Character ranges of a text, ascending and disjoint."""


@dataclass(frozen=True, slots=True)
class Highlight:
    """A text and the places where a query's words occur in it.

    Parameters
    ----------
    text
        The text.
    spans
        Character ranges of the words.
    """

    text: str
    spans: Spans

    def marked(self, before: str = "**", after: str = "**") -> str:
        """Return the text with the words marked."""
        return _marked(self.text, self.spans, 0, len(self.text), before, after)

    def snippet(self, length: int = 200, *, before: str = "**", after: str = "**") -> str:
        """Return the part of at most `length` characters, cut between words, with the most distinct words of the query.

        It is one line, with ``…`` where text was cut off; marks do not count towards the length.

        Raises
        ------
        InputError
            For a length below 1.
        """
        start, end = best_window(self.text, self.spans, length)
        part = " ".join(_marked(self.text, self.spans, start, end, before, after).split())
        return f"{'…' if start else ''}{part}{'…' if end < len(self.text) else ''}"


def highlight(
    pipeline: "SearchPipeline", query: str, texts: Sequence[str], *, query_syntax: QuerySyntax | None = None
) -> list[Highlight]:
    """Find where a query's words occur in texts: those of results, or of a parent document.

    Words match as in the collection's BM25 leg: ``baking`` matches ``bake``, and stopwords are not marked. Without a
    BM25 leg, or if Qdrant analyses its texts, words match when they differ in case only. Words that a query in the
    syntax ``simple`` excludes are not marked, and the words of its phrases wherever they stand.
    """

    def found(stages: Any, _: Any) -> list[Highlight]:
        simple = (query_syntax or stages.query_syntax) == "simple"
        name = stages.snapshot.manifest.first_leg("text")
        index = None if name is None else stages.snapshot.index(name)

        def analyze(words: Sequence[str]) -> Sequence[str]:
            forms = None if index is None else index.analyze(words)
            return [word.casefold() for word in words] if forms is None else forms

        spans = find_query_words(parse_query(query) if simple else query, texts, analyze)
        return [Highlight(*both) for both in zip(texts, spans, strict=True)]

    return pipeline.in_one_state(found)


def token_highlight(result: "SearchResult") -> Highlight | None:
    """Return the places in a result's text of the tokens that a query's tokens met, from its explanation.

    None if no leg of token vectors and no late-interaction reranker explains the result. A token that only stands in
    the title is left out.
    """
    if (why := result.explanation) is None:
        return None
    matched = [
        tokens for tokens in (*(leg.tokens for leg in why.legs.values()), why.reranker_tokens) if tokens is not None
    ]
    if not matched:
        return None
    whole = f"{result.title} {result.text}"
    shift = len(result.title) + 1 - (len(whole) - len(whole.lstrip()))  # where the text begins in what was indexed
    spans = sorted(
        {
            (match.span[0] - shift, match.span[1] - shift)
            for tokens in matched
            for match in tokens
            if match.span is not None and match.span[0] >= shift
        }
    )
    return Highlight(result.text, spans)


def best_window(text: str, spans: Spans, length: int) -> tuple[int, int]:
    """Return the bounds of the part of a text, at most `length` characters long, with the most distinct marked words.

    Ties are broken by the number of marked words, then by position. The part is shifted so that its marked words are
    centred, and begins and ends between words where there is a space.
    """
    length = whole_number(length, "length")
    if len(text) <= length:
        return 0, len(text)
    first, last = _richest(text, spans, length) if spans else (0, 0)
    start = max(0, min(first - (length - (last - first)) // 2, len(text) - length))
    end = start + length
    if start and not text[start - 1].isspace() and (gap := text.find(" ", start, max(first, start + 1))) >= 0:
        start = gap + 1
    if end < len(text) and not text[end].isspace() and (gap := text.rfind(" ", last, end)) >= 0:
        end = gap
    return start, end


def _richest(text: str, spans: Spans, length: int) -> tuple[int, int]:
    """Return where the marked words of the best part begin and end."""
    best, chosen, stop = (0, 0), (spans[0][0], min(spans[0][1], spans[0][0] + length)), 0
    counts: dict[str, int] = {}
    for at, (start, _) in enumerate(spans):
        while stop < len(spans) and spans[stop][1] - start <= length:
            word = text[slice(*spans[stop])].casefold()
            counts[word] = counts.get(word, 0) + 1
            stop += 1
        if stop <= at:
            # A word longer than the part: none of it is counted.
            stop = at + 1
            continue
        if (value := (len(counts), stop - at)) > best:
            best, chosen = value, (start, spans[stop - 1][1])
        word = text[slice(*spans[at])].casefold()
        counts[word] -= 1
        if not counts[word]:
            del counts[word]
    return chosen


def _marked(text: str, spans: Spans, start: int, end: int, before: str, after: str) -> str:
    parts, reached = [], start
    for first, last in spans:
        if start <= first and last <= end:
            parts += [text[reached:first], before, text[first:last], after]
            reached = last
    return "".join([*parts, text[reached:end]])
