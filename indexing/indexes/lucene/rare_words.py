"""Find the hits that contain the rare words of their query, such as an identifier, an error code or a name.

A word is rare in proportion to its idf. The rule was chosen by measurement (docs/fusion.md).
"""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from indexing.hits import Hits
from indexing.indexes.lucene.java_functions import SEPARATOR, as_text, bind, constructor, each_part, method
from indexing.indexes.lucene.jvm import apply, java_calls
from indexing.indexes.lucene.search import CONTENTS, HitParser, LuceneSearch, print_hits, top_docs

RAREST_DOCUMENTS = 3
"""The rarest word that decides a query occurs in at most this many documents,"""
RAREST_FRACTION = 0.01
"""and in at most this part of all documents: in a small collection every word occurs in few."""
RARE_DOCUMENTS = 10
"""Beside it, words in at most this many documents count as rare: parts of the same number or name."""
SHARE = 0.4
"""Smallest share of the rare words in the idf of the query's words, if the rarest occurs in one document,"""
SHARE_STEP = 0.1
"""and so much more for each further document."""

_CANDIDATE_DOCUMENTS = 5 * RARE_DOCUMENTS
"""Lucene also counts deleted documents: a word with this count may be rare among the living."""

_TERM = re.compile(r"([^\s()]+?)(?:\^[\d.]+)?(?=[\s()]|$)")
_INDEX, _SEARCH = "org/apache/lucene/index/", "org/apache/lucene/search/"


class RareWords:
    """Finds rare words in the snapshot of a BM25 index; safe for any number of threads.

    Parameters
    ----------
    search
        The snapshot.
    parse
        Handle of the Java function from text to the ``Query`` of one field.
    fields
        The fields that hold text.
    """

    def __init__(self, search: LuceneSearch, parse: Any, fields: Sequence[str]) -> None:
        with java_calls(search.path):
            to_text = method("org.apache.lucene.search.Query", "toString", "(Ljava/lang/String;)Ljava/lang/String;")
            frequency = method("org.apache.lucene.index.IndexReader", "docFreq", f"(L{_INDEX}Term;)I")
            term = constructor(f"{_INDEX}Term", "(Ljava/lang/String;Ljava/lang/String;)V")
            query = constructor(f"{_SEARCH}TermQuery", f"(L{_INDEX}Term;)V")
            self._documents = int(search.reader.maxDoc())
            find = top_docs(search.searcher, RARE_DOCUMENTS + 1)
            terms = [bind(term, 0, field) for field in fields]
            self._parse = each_part(parse, bind(to_text, 1, CONTENTS))
            self._frequencies = [each_part(made, bind(frequency, 0, search.reader), as_text()) for made in terms]
            self._containing = [each_part(made, query, find, *print_hits()) for made in terms]

    def mark(self, queries: Sequence[str], hits: Hits) -> NDArray[np.bool_]:
        """Mark each query's first hits that contain its rare words, bool [hits].

        The words of the query that the best hit contains and that occur in few documents (`RARE_DOCUMENTS`) are its
        rare words. They decide the query if the rarest occurs in very few documents (`RAREST_DOCUMENTS` and
        `RAREST_FRACTION`), and if they hold a large share (`SHARE`) of the idf of all words of the query: then the
        query is about them. The best hit is marked, and those directly below that contain the same rare words.

        Parameters
        ----------
        queries
            One text for each row of `hits`.
        """
        marked = np.zeros(len(hits.codes), np.bool_)
        asked = [row for row in np.flatnonzero(hits.counts).tolist() if queries[row]]
        if not asked or self._documents * RAREST_FRACTION < 1:
            return marked
        words = self._words([queries[row] for row in asked])
        frequency = self._document_frequencies(word for found in words for word in found)
        documents = self._rare_documents(word for word, count in frequency.items() if 0 < count <= _CANDIDATE_DOCUMENTS)
        bounds = list(pairwise(hits.offsets.tolist()))
        for row, found in zip(asked, words, strict=True):
            start, stop = bounds[row]
            best = hits.ids[hits.codes[start]]
            rare = [word for word in found if best in documents.get(word, ())]
            if rare and self._decide(rare, found, frequency, documents):
                shared = set.intersection(*(documents[word] for word in rare))
                for at in range(start, stop):
                    if hits.ids[hits.codes[at]] not in shared:
                        break
                    marked[at] = True
        return marked

    def _decide(
        self,
        rare: Sequence[str],
        words: Sequence[str],
        frequency: Mapping[str, int],
        documents: Mapping[str, set[str]],
    ) -> bool:
        rarest = min(len(documents[word]) for word in rare)
        if rarest > min(RAREST_DOCUMENTS, RAREST_FRACTION * self._documents):
            return False
        share = SHARE + SHARE_STEP * (rarest - 1)
        return self._idf(rare, frequency) >= share * self._idf(words, frequency)

    def _idf(self, words: Iterable[str], frequency: Mapping[str, int]) -> float:
        """Return the sum of the words' idf as in Lucene's BM25; a word that no document contains adds nothing."""
        total = self._documents
        counts = [min(frequency[word], total) for word in words if frequency[word]]
        return sum(math.log(1 + (total - count + 0.5) / (count + 0.5)) for count in counts)

    def _words(self, queries: Sequence[str]) -> list[list[str]]:
        """Return the different analyzed words of each query."""
        lines = apply(self._parse, SEPARATOR.join(queries)).split("\n")
        return [list(dict.fromkeys(_TERM.findall(line))) for line in lines]

    def _document_frequencies(self, words: Iterable[str]) -> dict[str, int]:
        """Return the number of documents that contain each word, deleted ones included."""
        distinct = list(dict.fromkeys(words))
        if not distinct:
            return {}
        text = SEPARATOR.join(distinct)
        columns = [map(int, apply(function, text).split("\n")) for function in self._frequencies]
        return dict(zip(distinct, map(sum, zip(*columns, strict=True)), strict=True))

    def _rare_documents(self, words: Iterable[str]) -> dict[str, set[str]]:
        """Return the documents that contain each word, for the words that at most `RARE_DOCUMENTS` contain."""
        candidates = list(words)
        if not candidates:
            return {}
        found: list[set[str]] = [set() for _ in candidates]
        for function in self._containing:
            parser = HitParser()
            parser.add(apply(function, SEPARATOR.join(candidates)))
            for ids, ranking in zip(found, parser.hits(np.array(parser.counts)), strict=True):
                ids.update(ranking.doc_ids)
        return {word: ids for word, ids in zip(candidates, found, strict=True) if 0 < len(ids) <= RARE_DOCUMENTS}
