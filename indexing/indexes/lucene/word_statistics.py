"""Statistics of the words of a BM25 index: as Anserini's ``IndexReaderUtils`` counts them."""

from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import Any

from indexing.indexes.lucene.java_functions import (
    SEPARATOR,
    as_function,
    as_text,
    bind,
    combine,
    compose,
    constructor,
    each_part,
    method,
    part_text,
)
from indexing.indexes.lucene.jvm import apply, java_calls, java_class
from indexing.indexes.lucene.search import CONTENTS, LuceneSearch
from indexing.indexes.lucene.structured import TOKENS, analysis
from indexing.indexes.words import TermCounts, Words

_INDEX = "org/apache/lucene/index/"
_TERM = "io.anserini.index.IndexReaderUtils$IndexTerm"


class WordStatistics(Words):
    """Statistics of the field ``contents`` in one snapshot; safe for any number of threads.

    Documents that were replaced or deleted count until Lucene merges them away.

    Parameters
    ----------
    search
        The snapshot.
    analyzer
        Lucene's ``Analyzer`` of the index.
    """

    def __init__(self, search: LuceneSearch, analyzer: Any) -> None:
        self.over = search
        self.documents = search.documents
        with java_calls(search.path):
            term = bind(constructor(f"{_INDEX}Term", "(Ljava/lang/String;Ljava/lang/String;)V"), 0, CONTENTS)
            counts = [
                bind(method("org.apache.lucene.index.IndexReader", name, f"(L{_INDEX}Term;){kind}"), 0, search.reader)
                for name, kind in (("docFreq", "I"), ("totalTermFreq", "J"))
            ]
            self._counts = [each_part(term, count, as_text()) for count in counts]
            self._analyze = analysis(analyzer)

    def analyzed(self, texts: Sequence[str]) -> list[list[str]]:
        """Return the words of each text as the index stores them, in their order."""
        if not texts:
            return []
        lines = apply(self._analyze, SEPARATOR.join(part_text(text) or " " for text in texts)).split("\n")
        return [[token for token in line.split(TOKENS) if token] for line in lines]

    def counts(self, words: Iterable[str]) -> dict[str, TermCounts]:
        """Return the document frequency and the number of occurrences of each analyzed word."""
        distinct = [word for word in dict.fromkeys(words) if word and SEPARATOR not in word]
        if not distinct:
            return {}
        columns = [map(int, apply(function, SEPARATOR.join(distinct)).split("\n")) for function in self._counts]
        return {word: TermCounts(*pair) for word, *pair in zip(distinct, *columns, strict=True)}

    @cached_property
    def totals(self) -> dict[str, float]:
        """Number of documents, of their words and of distinct words, and the average length."""
        with java_calls(self.over.path):
            statistics = self.over.searcher.collectionStatistics(CONTENTS)
            documents, words = (0, 0) if statistics is None else (statistics.docCount(), statistics.sumTotalTermFreq())
        return {
            "documents": documents,
            "words": words,
            "distinct_words": len(self._vocabulary),
            "average_length": words / documents if documents else 0.0,
        }

    def most_frequent(self, number: int) -> list[tuple[str, TermCounts]]:
        """Return the words with the highest document frequencies, ties by word."""
        return sorted(self._vocabulary, key=lambda entry: (-entry[1].documents, entry[0]))[:number]

    @cached_property
    def _vocabulary(self) -> list[tuple[str, TermCounts]]:
        """All words, read in one call into Java."""
        with java_calls(self.over.path):
            # Anserini cannot list the words of an index that has none.
            lines = "" if self.over.searcher.collectionStatistics(CONTENTS) is None else self._lines()
        rows = (line.rsplit(TOKENS, 2) for line in lines.split("\n") if line)
        return [(word, TermCounts(int(documents), int(occurrences))) for word, documents, occurrences in rows]

    def _lines(self) -> str:
        import jnius

        concat = method("java.lang.String", "concat", "(Ljava/lang/String;)Ljava/lang/String;")
        behind = bind(concat, 1, TOKENS)
        parts = [
            compose(method(_TERM, "getTerm", "()Ljava/lang/String;"), behind),
            compose(method(_TERM, "getDF", "()I"), as_text(), behind),
            compose(method(_TERM, "getTotalTF", "()J"), as_text()),
        ]
        line = combine(concat, combine(concat, parts[0], parts[1]), parts[2])
        utilities = java_class("io.anserini.index.IndexReaderUtils")
        reader = jnius.cast("org.apache.lucene.index.IndexReader", self.over.reader)
        terms = utilities.getTerms(reader)
        split = java_class("java.util.Spliterators").spliteratorUnknownSize(
            jnius.cast("java.util.Iterator", terms), java_class("java.lang.Integer")(0).intValue()
        )
        stream = java_class("java.util.stream.StreamSupport").stream(split, False)
        newline = jnius.cast("java.lang.CharSequence", java_class("java.lang.String")("\n"))
        joined = stream.map(as_function(line)).collect(java_class("java.util.stream.Collectors").joining(newline))
        return joined if isinstance(joined, str) else str(joined.toString())
