"""Bm25Index: Lucene's BM25 over one field or two, with Anserini's English analyzer or another language's."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from indexing.documents import Document, check_ids
from indexing.errors import InputError
from indexing.filters import Fields, FilterLike, batch_field_values, check_fields, parse_filter
from indexing.hits import Hits
from indexing.indexes.base import Terms
from indexing.indexes.lucene.analyzers import DEFAULT, check_analyzer, keeps_case, make_analyzer
from indexing.indexes.lucene.bm25_fields import (
    BM25,
    TEXT,
    TITLE,
    Parameter,
    bag_of_words,
    bag_of_words_in_fields,
    bm25_similarity,
    checked_parameter,
    checked_similarity,
    checked_weights,
    language_model,
    scored_by,
    summed,
    weighted,
)
from indexing.indexes.lucene.index import LuceneIndex, check_id
from indexing.indexes.lucene.java_functions import compose, part_text
from indexing.indexes.lucene.jvm import java_calls
from indexing.indexes.lucene.matched_terms import matched_terms
from indexing.indexes.lucene.matched_words import analyze_words
from indexing.indexes.lucene.rare_words import RareWords
from indexing.indexes.lucene.search import CONTENTS, LuceneSearch, make_searcher
from indexing.indexes.lucene.structured import StructuredSearch
from indexing.indexes.lucene.word_statistics import WordStatistics
from indexing.inputs import local_path, texts
from indexing.plurals import counted
from indexing.query_syntax import SyntaxQuery

T = TypeVar("T")


class Bm25Index(LuceneIndex):
    """BM25 as in Anserini's BEIR baselines, flat or multifield.

    Flat (the default): title and text are one field, ``contents``. Multifield (`weights` given): ``contents`` holds the
    text and ``title`` the title, each scored by itself with its own lengths and frequencies; a document's score is
    the weighted sum. Scores are Lucene's ``BM25Similarity`` (Kamphuis et al. 2020 list the variants: no factor
    ``k1 + 1``, document lengths kept in one byte), float32.
    """

    kind = "bm25"
    norms = True

    @classmethod
    def create(
        cls,
        path: str | Path,
        *,
        k1: Parameter = 0.9,
        b: Parameter = 0.4,
        analyzer: str = DEFAULT,
        weights: Mapping[str, float] | None = None,
        positions: bool = False,
        similarity: str = BM25,
        mu: float = 1000.0,
        smoothing: float = 0.1,
        fields: Fields | None = None,
    ) -> Self:
        """Make an empty index in a folder that holds none.

        Parameters
        ----------
        path
            The folder; made when missing.
        k1
            How slowly a repeated word saturates, 0 or more. Anserini's default. In a multifield index it may differ
            by field: ``{"title": 0.6, "text": 0.9}``.
        b
            How strongly length is normalised, from 0 to 1. Anserini's default. By field, as k1.
        analyzer
            How texts and queries become words: Anserini's English analyzer (Porter stemming, Lucene's English
            stopwords), or one of `indexing.indexes.lucene.analyzers.ANALYZERS` by its language's code: ``"de"``.
        weights
            ``{"title": 1.0, "text": 1.0}`` makes a multifield index with these weights; both are above 0.
        positions
            Store the positions of words, which phrases need. Scores do not change.
        similarity
            ``bm25``, or query likelihood with Dirichlet (``lm-dirichlet``, Anserini's qld) or Jelinek-Mercer smoothing
            (``lm-jelinek-mercer``, qljm); these read neither k1 nor b.
        mu, smoothing
            The parameter of Dirichlet smoothing, above 0, and of Jelinek-Mercer smoothing, above 0 and at most 1, with
            Anserini's defaults.
        fields
            The metadata fields that searches may filter by, with their types (see `indexing.filters`).
        """
        multifield = weights is not None
        settings = {
            "k1": checked_parameter("k1", k1, float("inf"), multifield=multifield),
            "b": checked_parameter("b", b, 1, multifield=multifield),
            "analyzer": check_analyzer(analyzer),
            "weights": None if weights is None else checked_weights(weights),
            "fields": check_fields(fields or {}),
        }
        if positions:
            settings["positions"] = True
        settings |= checked_similarity(similarity, mu, smoothing)
        path = local_path(path, "path")
        cls._make_folder(path)
        return cls(path, settings, create=True, read_only=False)

    def upsert(
        self,
        ids: Sequence[str],
        rows: Sequence[str | Document],
        metadata: Sequence[Mapping[str, Any]] | None = None,
    ) -> None:
        """Index texts: strings, or documents whose title counts too. Otherwise as `Index.upsert`."""
        if len(ids) != len(rows):
            raise InputError(f"{counted(len(ids), 'id')} for {counted(len(rows), 'text')}")
        check_ids(ids)
        for doc_id in ids:
            check_id(doc_id)
        values = batch_field_values(self.fields, ids, metadata)
        self._add(zip(ids, map(self._texts, rows), values, strict=True))

    def search(self, queries: Sequence[str], k: int, filter: FilterLike | None = None) -> Hits:
        """Return the `k` best documents of each query as `Index.search`, ties at the cutoff resolved too.

        A query is its bag of analyzed words, each counted as often as it occurs (Anserini's
        ``BagOfWordsQueryGenerator``). A query of stopwords alone has no hits. A `SyntaxQuery` is searched by its tree.
        """
        checked = _as_queries(queries)
        if not any(isinstance(query, SyntaxQuery) for query in checked):
            return self._search_texts(checked, k, filter)
        parsed = None if filter is None else parse_filter(filter, self.fields)
        with self.snapshot() as search:
            return Hits.concatenate(
                [over.search(checked[rows], k, parsed) for rows, over in self._searches(search, checked)]
            )

    def score(self, queries: Sequence[str], doc_ids: Sequence[Sequence[str]]) -> NDArray[np.float32]:
        """Score given candidates as `Index.score`; 0 for one that does not match a `SyntaxQuery`."""
        checked = _as_queries(queries)
        if not any(isinstance(query, SyntaxQuery) for query in checked) or len(checked) != len(doc_ids):
            return self._score_texts(checked, doc_ids)
        with self.snapshot() as search:
            return np.concatenate(
                [over.score(checked[rows], doc_ids[rows]) for rows, over in self._searches(search, checked)]
            )

    def matched_terms(self, queries: Any, hits: Hits, vocabulary: Sequence[str] | None = None) -> list[Terms] | None:
        """Return each hit's matched terms with their parts of the score; see `Index.matched_terms`."""
        if not any(isinstance(query, SyntaxQuery) for query in queries):
            return super().matched_terms(queries, hits, vocabulary)
        terms: list[Terms] = []
        with self.snapshot() as search:
            for rows, over in self._searches(search, queries):
                parse, written = self._parse, queries[rows]
                if over is not search:
                    parse, written = over.parse, over.compile(written)
                terms += matched_terms(search, parse, written, hits.part(rows.start, rows.stop))
        return terms

    def constrained_ids(self, query: SyntaxQuery, limit: int, filter: FilterLike | None = None) -> list[str] | None:
        """Return the ids that the query's constraint keeps, as `Index.constrained_ids`."""
        parsed = None if filter is None else parse_filter(filter, self.fields)
        with self.snapshot() as search:
            return self._structured_over(search).constrained(query, limit, parsed)

    def meets_constraint(self, query: SyntaxQuery, doc_ids: Sequence[str]) -> NDArray[np.bool_]:
        """Return which documents the query's constraint keeps, as `Index.meets_constraint`."""
        with self.snapshot() as search:
            return self._structured_over(search).meets(query, doc_ids)

    def rare_hits(self, queries: Sequence[str], hits: Hits) -> NDArray[np.bool_]:
        """Mark hits as `Index.rare_hits`; `indexing.indexes.lucene.rare_words` states the rule."""
        with self.snapshot() as search:
            rare = self._built(
                search,
                RareWords,
                lambda analyzer: RareWords(search, bag_of_words(CONTENTS, analyzer), self._text_fields),
            )
            return rare.mark([part_text(query) for query in texts(queries, "queries")], hits)

    def words(self) -> WordStatistics:
        """Return the statistics of the words of texts, in a multifield index without the titles."""
        with self.snapshot() as search:
            return self._built(search, WordStatistics, lambda analyzer: WordStatistics(search, analyzer))

    def analyze(self, words: Sequence[str]) -> list[str]:
        """Return each word as the analyzer makes it (stemmed, for instance); "" for a stopword."""
        return analyze_words(self.path, self._parse, words)

    def _built(self, search: LuceneSearch, kind: type[T], make: Callable[[Any], T]) -> T:
        """Return what is made with the analyzer over a snapshot, once for each snapshot."""
        if kind not in search.built:
            with java_calls(self.path):
                search.built[kind] = make(self._make_analyzer())
        built: T = search.built[kind]
        return built

    def _searches(self, search: LuceneSearch, queries: Sequence[str]) -> Iterator[tuple[slice, Any]]:
        """Yield the rows of adjacent queries of one sort, and the search for it: by trees, or by plain words."""
        start = 0
        for by_trees, alike in groupby(queries, lambda query: isinstance(query, SyntaxQuery)):
            stop = start + len(list(alike))
            yield slice(start, stop), self._structured_over(search) if by_trees else search
            start = stop

    def _structured_over(self, search: LuceneSearch) -> StructuredSearch:
        """Return the search for parsed queries in a snapshot.

        Raises
        ------
        InputError
            When title and text differ in k1 or b: then no single similarity scores a tree over both.
        """
        k1, b, weights = self.settings["k1"], self.settings["b"], self.settings.get("weights")
        if isinstance(k1, dict) or isinstance(b, dict):
            raise InputError(
                f"{self.path} has another k1 or b for titles than for texts, which query_syntax='simple' cannot "
                "score: build the leg with one k1 and one b, or search in plain words"
            )
        return self._built(
            search,
            StructuredSearch,
            lambda analyzer: StructuredSearch(
                search,
                self._similarity,
                analyzer,
                lower=not keeps_case(self.settings["analyzer"]),
                positions=self.positions,
                weights={CONTENTS: 1.0} if weights is None else {CONTENTS: weights[TEXT], TITLE: weights[TITLE]},
                titles={} if weights is None else {TITLE: TITLE, TEXT: CONTENTS},
            ),
        )

    @property
    def _text_fields(self) -> tuple[str, ...]:
        return (CONTENTS,) if self.settings.get("weights") is None else (CONTENTS, TITLE)

    def _texts(self, row: str | Document) -> tuple[str, ...]:
        if len(self._text_fields) == 1:
            return (row if isinstance(row, str) else row.contents,)
        return (row, "") if isinstance(row, str) else (row.text, row.title)

    def _make_similarity(self) -> Any:
        return language_model(self.settings) or bm25_similarity(self.settings["k1"], self.settings["b"])

    def _make_analyzer(self) -> Any:
        return make_analyzer(self.settings["analyzer"])

    def _make_parser(self) -> Any:
        analyzer, weights = self._make_analyzer(), self.settings.get("weights")
        if weights is None:
            return bag_of_words(CONTENTS, analyzer)
        return bag_of_words_in_fields({CONTENTS: weights[TEXT], TITLE: weights[TITLE]}, analyzer)

    def _parser_over(self, reader: Any) -> Any:
        k1, b = self.settings["k1"], self.settings["b"]
        if "similarity" in self.settings or (not isinstance(k1, dict) and not isinstance(b, dict)):
            return super()._parser_over(reader)
        analyzer, weights = self._make_analyzer(), self.settings["weights"]
        titles = make_searcher(reader, bm25_similarity(k1, b, TITLE))
        return summed(
            compose(bag_of_words(CONTENTS, analyzer), weighted(weights[TEXT])),
            compose(bag_of_words(TITLE, analyzer), scored_by(titles), weighted(weights[TITLE])),
        )


def _as_queries(queries: Sequence[str]) -> list[str]:
    """Return plain queries as parts of a batch; those with a tree stay as they are."""
    return [query if isinstance(query, SyntaxQuery) else part_text(query) for query in texts(queries, "queries")]
