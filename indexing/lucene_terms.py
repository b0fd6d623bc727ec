"""Which terms of a query a Lucene hit has, and what each adds to its score: Lucene's own explanation, read."""

import re
from collections.abc import Sequence
from typing import Any

from indexing.hits import Hits
from indexing.java_functions import as_function
from indexing.jvm import java_calls, java_class
from indexing.lucene_index import LuceneIndex
from indexing.lucene_search import CONTENTS, ID

_TERM = re.compile(r"^\s*([-+.\dEe]+) = weight\((\w+):(.*) in \d+\) \[", re.MULTILINE)


def matched_terms(index: LuceneIndex, queries: Sequence[str], hits: Hits) -> list[tuple[tuple[str, float], ...]]:
    """Say for each hit which of its query's terms it has and what they add to its score.

    A few calls into Java for each hit: meant for those that are shown, not for whole rankings.

    Parameters
    ----------
    index
        Where the hits were found, not changed since.
    queries
        As the index's parser takes them: text for BM25, `ImpactIndex.query_texts` for impacts.
    hits
        For the queries.

    Returns
    -------
    list of ((term, summand), …)
        One for each hit, the largest summand first, then by term. They add up to Lucene's score, but for its rounding.
        A term of another field than ``contents`` is written ``field:term``. Of a document that is no longer there,
        nothing.
    """
    found: list[tuple[tuple[str, float], ...]] = []
    with index.snapshot() as search, java_calls(index.path):
        parse = as_function(index._parse)
        for text, ranking in zip(queries, hits, strict=True):
            if not len(ranking):
                continue
            query = _query(parse, text)
            found += [_terms(search.searcher, query, doc_id) for doc_id in ranking.doc_ids]
    return found


def _query(parse: Any, text: str) -> Any:
    import jnius

    whole = text if text.isascii() else text.encode("utf-8", "replace").decode()
    parsed = jnius.cast("java.util.function.Function", parse).apply(java_class("java.lang.String")(whole))
    return jnius.cast("org.apache.lucene.search.Query", parsed)


def _terms(searcher: Any, query: Any, doc_id: str) -> tuple[tuple[str, float], ...]:
    term = java_class("org.apache.lucene.index.Term")(ID, doc_id)
    place = searcher.search(java_class("org.apache.lucene.search.TermQuery")(term), 1).scoreDocs
    if not len(place):
        return ()
    explained = searcher.explain(query, place[0].doc).toString()
    summands: dict[str, float] = {}
    for value, field, word in _TERM.findall(explained):
        name = word if field == CONTENTS else f"{field}:{word}"
        summands[name] = summands.get(name, 0.0) + float(value)
    return tuple(sorted(summands.items(), key=lambda item: (-item[1], item[0])))
