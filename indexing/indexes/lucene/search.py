"""Search in a snapshot of a Lucene index: from query texts to `Hits`, with one JNI call per batch.

Lucene sorts by score, then by the bytes of the id (UTF-8 bytes sort as code points do), so ties are also resolved at
the cutoff. Hits are returned as the text of ``Arrays.toString(scoreDocs)``, which prints an id as the hexadecimal
numbers of its bytes, so no character of an id can break the parsing.
"""

import re
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from indexing.errors import InputError
from indexing.filters.fields import Fields
from indexing.filters.tree import Filter
from indexing.hits import Hits, string_array
from indexing.indexes.lucene.filters import lucene_filter
from indexing.indexes.lucene.java_functions import (
    SEPARATOR,
    as_function,
    bind,
    compose,
    constructor,
    for_each_part,
    getter,
    method,
    read_from,
    supply,
)
from indexing.indexes.lucene.jvm import apply, java_calls, java_class
from indexing.inputs import whole_number

ID = "id"
CONTENTS = "contents"
"""Field names that Anserini's searchers read."""

BATCH = 128
"""Queries per call into Java, which cannot be interrupted."""
BATCH_HITS = 200_000
"""Maximum number of hits of a batch, for deep cutoffs."""

CACHED_FUNCTIONS = 256
"""Number of (cutoff, filter) pairs whose Java functions are cached."""

_SEARCH = "org/apache/lucene/search/"
_BUILDER = "org.apache.lucene.search.BooleanQuery$Builder"
_OPERATORS = ("AND", "OR", "NOT")
_HIT = re.compile(r"doc=(\d+) score=\S+ shardIndex=\S+ fields=\[([^,]+), \[([0-9a-f ]*)\]\]")
_SINGLE_DIGIT = re.compile(r"\b([0-9a-f])\b")


class LuceneSearch:
    """Search in the snapshot of an index that a reader sees; safe for any number of threads.

    Parameters
    ----------
    path
        The index, named in errors.
    reader
        Lucene's ``DirectoryReader``.
    similarity
        Lucene's ``Similarity``.
    parse
        Handle of a thread-safe Java function from text to ``Query``.
    fields
        The declared filter fields.

    Attributes
    ----------
    built
        What an index has built over this state, by its class.
    """

    def __init__(self, path: Path, reader: Any, similarity: Any, parse: Any, fields: Fields) -> None:
        self.path = path
        self.reader = reader
        self.documents = int(reader.numDocs())
        self.users = 0
        self.built: dict[type, Any] = {}
        self.searcher = make_searcher(reader, similarity)
        self._parse = parse
        self._fields = fields
        self._functions: dict[tuple[int, Filter | None], tuple[Any, Any]] = {}
        self._scoring = threading.Lock()
        self._candidates: Any = None
        self._scorers: dict[int, Any] = {}

    def search(self, queries: Sequence[str], k: int, filter: Filter | None = None) -> Hits:
        """Find the `k` best documents for each query among those that match the filter; an empty query has no hits."""
        k = whole_number(k, "k")
        nonempty = [row for row, query in enumerate(queries) if query]
        depth = min(k, self.documents)
        if not nonempty or not depth:
            return Hits.empty(len(queries))
        search_one, search_batch = self._functions.get((depth, filter)) or self._make_functions(depth, filter)
        size = max(1, min(BATCH, BATCH_HITS // depth))
        results = HitParser()
        for start in range(0, len(nonempty), size):
            batch = [queries[row] for row in nonempty[start : start + size]]
            results.add(apply(search_batch if len(batch) > 1 else search_one, SEPARATOR.join(batch)))
        counts = np.zeros(len(queries), np.int64)
        counts[nonempty] = results.counts
        return results.hits(counts)

    @property
    def fields(self) -> Fields:
        """The declared filter fields."""
        return self._fields

    def score(
        self, queries: Sequence[str], doc_ids: Sequence[Sequence[str]], *, unknown: float | None = None
    ) -> NDArray[np.float32]:
        """Score the documents ``doc_ids[i]`` for ``queries[i]``: float32, query after query.

        A document that shares no term with its query scores 0, and one with an unknown id `unknown`.

        Raises
        ------
        InputError
            For an unknown id, unless `unknown` is given.
        """
        scores = [
            self._score(query, list(ids), unknown) if query and len(ids) else np.zeros(len(ids), np.float32)
            for query, ids in zip(queries, doc_ids, strict=True)
        ]
        return np.concatenate(scores) if scores else np.zeros(0, np.float32)

    def _score(self, query: str, ids: list[str], unknown: float | None) -> NDArray[np.float32]:
        depth = 1 << (len(set(ids)) - 1).bit_length()
        results = HitParser()
        # The Java function reads the candidates from a single reference, so one query is scored at a time.
        with self._scoring:
            with java_calls(self.path):
                scorer = self._scorers.get(depth) or self._make_scorer(depth)
                keyword = java_class("org.apache.lucene.analysis.core.KeywordAnalyzer")()
                parser = java_class("org.apache.lucene.queryparser.classic.QueryParser")(ID, keyword)
                parser.setSplitOnWhitespace(True)
                self._candidates.set(parser.parse(" ".join(map(escape, ids))))
            results.add(apply(scorer, query))
        hits = results.hits(np.array(results.counts))
        by_id = dict(zip(hits.doc_ids, hits.scores.tolist(), strict=True))
        missing = next((doc_id for doc_id in ids if doc_id not in by_id), None)
        if missing is not None and unknown is None:
            raise InputError(f"the id {missing!r} is not in the index {self.path}")
        return np.array([by_id.get(doc_id, unknown) for doc_id in ids], np.float32)

    def _make_functions(self, k: int, filter: Filter | None) -> tuple[Any, Any]:
        """Build the Java functions from the text of one query, and of a batch, to the text of the hits."""
        with java_calls(self.path):
            parse = self._parse
            if filter is not None:
                parse = compose(parse, _filtered("MUST", bind(_add("FILTER"), 1, lucene_filter(filter, self._fields))))
            search_one = as_function(compose(parse, top_docs(self.searcher, k), *print_hits()))
            if len(self._functions) >= CACHED_FUNCTIONS:
                self._functions.clear()
            functions = self._functions[k, filter] = search_one, for_each_part(search_one)
        return functions

    def _make_scorer(self, k: int) -> Any:
        """Build the Java function from the text of a query to the text of the candidates' scores."""
        if self._candidates is None:
            self._candidates = java_class("java.util.concurrent.atomic.AtomicReference")()
        add_candidates = read_from(_add("FILTER"), 1, self._candidates, f"L{_SEARCH}Query;")
        query = compose(self._parse, _filtered("SHOULD", add_candidates))
        scorer = self._scorers[k] = as_function(compose(query, top_docs(self.searcher, k), *print_hits()))
        return scorer


def make_searcher(reader: Any, similarity: Any) -> Any:
    """Return a Lucene ``IndexSearcher`` over a reader."""
    import jnius

    searcher = java_class("org.apache.lucene.search.IndexSearcher")(
        jnius.cast("org.apache.lucene.index.IndexReader", reader)
    )
    searcher.setSimilarity(similarity)
    return searcher


def escape(term: str) -> str:
    """Escape a term for Lucene's classic query parser."""
    if term in _OPERATORS:
        return "\\" + term
    return re.sub(r"(\W)", r"\\\1", term)


def _add(occur: str) -> Any:
    """Return the handle that adds a clause: it takes a ``BooleanQuery.Builder`` and a query."""
    add = method(_BUILDER, "add", f"(L{_SEARCH}Query;L{_SEARCH}BooleanClause$Occur;)L{_SEARCH}BooleanQuery$Builder;")
    return bind(add, 2, getattr(java_class("org.apache.lucene.search.BooleanClause$Occur"), occur))


def _filtered(occur: str, add_filter: Any) -> Any:
    """Return the handle from a query to a ``BooleanQuery`` of it and the filter that `add_filter` adds."""
    start = supply(_add(occur), constructor(_BUILDER, "()V"))
    return compose(start, add_filter, method(_BUILDER, "build", f"()L{_SEARCH}BooleanQuery;"))


def print_hits() -> tuple[Any, Any]:
    """Return the handles from ``TopDocs`` to the text of its hits."""
    score_docs = getter("org.apache.lucene.search.TopDocs", "scoreDocs", f"[L{_SEARCH}ScoreDoc;")
    return score_docs, method("java.util.Arrays", "toString", "([Ljava/lang/Object;)Ljava/lang/String;", static=True)


def top_docs(searcher: Any, k: int) -> Any:
    """Return the handle from a Lucene ``Query`` to its ``TopFieldDocs``, sorted by score, then id."""
    search = method(
        "org.apache.lucene.search.IndexSearcher", "search", f"(L{_SEARCH}Query;IL{_SEARCH}Sort;)L{_SEARCH}TopFieldDocs;"
    )
    field = java_class("org.apache.lucene.search.SortField")
    by_id = field(ID, java_class("org.apache.lucene.search.SortField$Type").STRING_VAL)
    order = java_class("org.apache.lucene.search.Sort")(field.FIELD_SCORE, by_id)
    return bind(bind(search, 2, java_class("java.lang.Integer")(k), order), 0, searcher)


class HitParser:
    """Parser of search results, one line per query, into columns."""

    def __init__(self) -> None:
        self.counts: list[int] = []
        self._numbers: list[np.ndarray] = []
        self._scores: list[np.ndarray] = []
        self._ids: dict[str, str] = {}

    def add(self, lines: str) -> None:
        """Parse the lines of some queries."""
        self.counts.extend(line.count("doc=") for line in lines.split("\n"))
        hits = _HIT.findall(lines)
        if hits:
            numbers, scores, ids = zip(*hits, strict=True)
            self._numbers.append(np.fromiter(map(int, numbers), np.int64, count=len(hits)))
            self._scores.append(np.fromiter(map(float, scores), np.float32, count=len(hits)))
            self._ids.update(zip(numbers, ids, strict=True))

    def hits(self, counts: np.ndarray) -> Hits:
        """Return the hits; equal codes mean the same document."""
        if not self._ids:
            return Hits.empty(len(counts))
        table = np.fromiter(map(int, self._ids), np.int64, count=len(self._ids))
        order = np.argsort(table)
        numbers = np.concatenate(self._numbers)
        return Hits(
            offsets=np.concatenate(([0], np.cumsum(counts))).astype(np.int64),
            codes=order[np.searchsorted(table, numbers, sorter=order)],
            scores=np.concatenate(self._scores),
            ids=string_array(_decoded(list(self._ids.values()))),
        )


def _decoded(hexadecimal: Sequence[str]) -> list[str]:
    """Decode ids from their bytes in hexadecimal, joined by 0xff, which never occurs in UTF-8."""
    joined = " ff ".join(hexadecimal)
    try:
        ids = bytes.fromhex(joined)
    except ValueError:
        # Java prints no leading zero: a newline is "a".
        ids = bytes.fromhex(_SINGLE_DIGIT.sub(r"0\1", joined))
    return [utf8.decode() for utf8 in ids.split(b"\xff")]
