"""Matched terms of Lucene hits and what each adds to the score, parsed from Lucene's explanation."""

import re
from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from indexing.hits import Hits
from indexing.indexes.base import Terms
from indexing.indexes.lucene.java_functions import as_function, java_text
from indexing.indexes.lucene.jvm import java_calls, java_class
from indexing.indexes.lucene.search import CONTENTS, ID, LuceneSearch

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

# A prefix has one constant score for all its words, as in "2.0 = contents:immun*^2.0".
_TERM = re.compile(r"^\s*([-+.\dEe]+) = (?:weight\((\w+):(.*) in \d+\) \[|(\w+):(\S*\*)(?:\^[.\d]+)?$)", re.MULTILINE)


def matched_terms(search: LuceneSearch, parse: Any, queries: Sequence[str], hits: Hits) -> list[Terms]:
    """Return the query terms that each hit matches, with the summand of each in the score.

    This takes a few calls into Java per hit: use it for the hits to show, not for whole rankings.

    Parameters
    ----------
    search
        Snapshot of the index that returned the hits.
    parse
        Handle of the Java function from text to ``Query``.
    queries
        In the form that `parse` reads: plain text for BM25.
    hits
        The hits of the queries.

    Returns
    -------
    list of ((term, summand), …)
        One tuple per hit, by descending summand, then by term. The summands add up to Lucene's score, apart from
        rounding. A term of another field than ``contents`` is written ``field:term``. A document that has been
        deleted has no terms.
    """
    terms: list[Terms] = []
    with java_calls(search.path):
        function = as_function(parse)
        for text, ranking in zip(queries, hits, strict=True):
            if not len(ranking):
                continue
            query = _query(function, text)
            terms += [_explained_terms(search.searcher, query, doc_id) for doc_id in ranking.doc_ids]
    return terms


def multiply_impacts(
    explained: Sequence[Terms], weights: "csr_matrix", hits: Hits, vocabulary: Sequence[str], scale: float
) -> list[Terms]:
    """Multiply each matched term's summand by its impact in the query: Anserini's similarity leaves the factor out.

    Parameters
    ----------
    explained
        The terms of each hit, from `matched_terms`.
    weights
        The queries [queries, vocabulary].
    scale
        Impacts are ``rint(weight * scale)``.
    """
    factors: list[dict[str, float]] = []
    for low, high in pairwise(weights.indptr):
        impacts = np.rint(weights.data[low:high] * scale).tolist()
        words = (vocabulary[column] for column in weights.indices[low:high])
        factors.append(dict(zip(words, impacts, strict=True)))
    return [
        _sorted_terms({term: impact * factors[row][term] for term, impact in terms})
        for row, terms in zip(hits.rows.tolist(), explained, strict=True)
    ]


def _query(parse: Any, text: str) -> Any:
    import jnius

    parsed = jnius.cast("java.util.function.Function", parse).apply(java_text(text))
    return jnius.cast("org.apache.lucene.search.Query", parsed)


def _explained_terms(searcher: Any, query: Any, doc_id: str) -> Terms:
    term = java_class("org.apache.lucene.index.Term")(ID, doc_id)
    score_docs = searcher.search(java_class("org.apache.lucene.search.TermQuery")(term), 1).scoreDocs
    if not len(score_docs):
        return ()
    explained = searcher.explain(query, score_docs[0].doc).toString()
    summands: dict[str, float] = {}
    for value, *names in _TERM.findall(explained):
        field, word = names[:2] if names[0] else names[2:]
        name = word if field == CONTENTS else f"{field}:{word}"
        summands[name] = summands.get(name, 0.0) + float(value)
    return _sorted_terms(summands)


def _sorted_terms(summands: dict[str, float]) -> Terms:
    return tuple(sorted(summands.items(), key=lambda item: (-item[1], item[0])))
