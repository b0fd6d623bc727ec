"""Matched terms of Lucene hits and what each adds to the score, parsed from Lucene's explanation."""

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
    """Return the query terms that each hit matches, with the summand of each in the score.

    This takes a few calls into Java per hit: use it for the hits to show, not for whole rankings.

    Parameters
    ----------
    index
        The index that returned the hits.
    queries
        In the form that the index's parser reads: plain text for BM25.
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
    with index.snapshot() as search, java_calls(index.path):
        parse = as_function(index._parse)
        for text, ranking in zip(queries, hits, strict=True):
            if not len(ranking):
                continue
            query = _query(parse, text)
            terms += [_explained_terms(search.searcher, query, doc_id) for doc_id in ranking.doc_ids]
    return terms


def matched_impacts(index: ImpactIndex, weights: csr_matrix, hits: Hits) -> list[Terms]:
    """Return the terms that each hit shares with its query; the products of their impacts sum to the score.

    As `matched_terms`, for queries given as rows of weights [queries, vocabulary].
    """
    factors: list[dict[str, float]] = []
    for low, high in pairwise(weights.indptr):
        impacts = np.rint(weights.data[low:high] * index.scale).tolist()
        words = (index.vocabulary[column] for column in weights.indices[low:high])
        factors.append(dict(zip(words, impacts, strict=True)))
    # Anserini's similarity explains only the document's impact, not the query's.
    explained = matched_terms(index, index.query_texts(weights), hits)
    return [
        _sorted_terms({term: impact * factors[row][term] for term, impact in terms})
        for row, terms in zip(hits.rows.tolist(), explained, strict=True)
    ]


def _query(parse: Any, text: str) -> Any:
    import jnius

    # pyjnius cannot pass half of a surrogate pair to Java.
    valid = text if text.isascii() else text.encode("utf-8", "replace").decode()
    parsed = jnius.cast("java.util.function.Function", parse).apply(java_class("java.lang.String")(valid))
    return jnius.cast("org.apache.lucene.search.Query", parsed)


def _explained_terms(searcher: Any, query: Any, doc_id: str) -> Terms:
    term = java_class("org.apache.lucene.index.Term")(ID, doc_id)
    score_docs = searcher.search(java_class("org.apache.lucene.search.TermQuery")(term), 1).scoreDocs
    if not len(score_docs):
        return ()
    explained = searcher.explain(query, score_docs[0].doc).toString()
    summands: dict[str, float] = {}
    for value, field, word in _TERM.findall(explained):
        name = word if field == CONTENTS else f"{field}:{word}"
        summands[name] = summands.get(name, 0.0) + float(value)
    return _sorted_terms(summands)


def _sorted_terms(summands: dict[str, float]) -> Terms:
    return tuple(sorted(summands.items(), key=lambda item: (-item[1], item[0])))
