"""Which terms of a query a Lucene hit has, and what each adds to its score: Lucene's own explanation, read."""

import re
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from scipy.sparse import csr_matrix

from indexing.hits import Hits
from indexing.indexes.base import Terms
from indexing.indexes.lucene.impact import ImpactIndex
from indexing.indexes.lucene.index import LuceneIndex
from indexing.indexes.lucene.java_functions import as_function
from indexing.indexes.lucene.jvm import java_calls, java_class
from indexing.indexes.lucene.search import CONTENTS, ID

_TERM = re.compile(r"^\s*([-+.\dEe]+) = weight\((\w+):(.*) in \d+\) \[", re.MULTILINE)


def matched_terms(index: LuceneIndex, queries: Sequence[str], hits: Hits) -> list[Terms]:
    """Say for each hit which of its query's terms it has and what they add to its score.

    A few calls into Java for each hit: meant for those that are shown, not for whole rankings.

    Parameters
    ----------
    index
        Where the hits were found.
    queries
        As the index's parser takes them: plain text for BM25.
    hits
        For the queries.

    Returns
    -------
    list of ((term, summand), …)
        One for each hit, the largest summand first, then by term. They add up to Lucene's score, but for its rounding.
        A term of another field than ``contents`` is written ``field:term``. Of a document that is no longer there,
        nothing.
    """
    found: list[Terms] = []
    with index.snapshot() as search, java_calls(index.path):
        parse = as_function(index._parse)
        for text, ranking in zip(queries, hits, strict=True):
            if not len(ranking):
                continue
            query = _query(parse, text)
            found += [_terms(search.searcher, query, doc_id) for doc_id in ranking.doc_ids]
    return found


def matched_impacts(index: ImpactIndex, weights: csr_matrix, hits: Hits) -> list[Terms]:
    """Say for each hit which terms it shares with its query, and the products of their impacts: they sum to its score.

    As `matched_terms`, for queries given as rows of weights [queries, vocabulary].
    """
    factors: list[dict[str, float]] = []
    for low, high in pairwise(weights.indptr):
        impacts = np.rint(weights.data[low:high] * index.scale).tolist()
        words = (index.vocabulary[column] for column in weights.indices[low:high])
        factors.append(dict(zip(words, impacts, strict=True)))
    # Anserini's similarity explains the document's impact and leaves out the query's.
    explained = matched_terms(index, index.query_texts(weights), hits)
    return [
        _ordered({term: impact * factors[row][term] for term, impact in terms})
        for row, terms in zip(hits.rows.tolist(), explained, strict=True)
    ]


def _query(parse: Any, text: str) -> Any:
    import jnius

    whole = text if text.isascii() else text.encode("utf-8", "replace").decode()
    parsed = jnius.cast("java.util.function.Function", parse).apply(java_class("java.lang.String")(whole))
    return jnius.cast("org.apache.lucene.search.Query", parsed)


def _terms(searcher: Any, query: Any, doc_id: str) -> Terms:
    term = java_class("org.apache.lucene.index.Term")(ID, doc_id)
    place = searcher.search(java_class("org.apache.lucene.search.TermQuery")(term), 1).scoreDocs
    if not len(place):
        return ()
    explained = searcher.explain(query, place[0].doc).toString()
    summands: dict[str, float] = {}
    for value, field, word in _TERM.findall(explained):
        name = word if field == CONTENTS else f"{field}:{word}"
        summands[name] = summands.get(name, 0.0) + float(value)
    return _ordered(summands)


def _ordered(summands: dict[str, float]) -> Terms:
    return tuple(sorted(summands.items(), key=lambda item: (-item[1], item[0])))
