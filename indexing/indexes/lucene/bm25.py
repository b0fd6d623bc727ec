"""Bm25Index: Lucene's BM25 over one field or two, with Anserini's English analyzer or another language's."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from indexing.documents import Document, check_ids
from indexing.errors import InputError
from indexing.filters import Fields, FilterLike, batch_field_values, check_fields
from indexing.hits import Hits
from indexing.indexes.lucene.analyzers import DEFAULT, check_analyzer, make_analyzer
from indexing.indexes.lucene.bm25_fields import (
    TEXT,
    TITLE,
    Parameter,
    bag_of_words,
    bag_of_words_in_fields,
    checked_parameter,
    checked_weights,
    scored_by,
    similarity,
    summed,
    weighted,
)
from indexing.indexes.lucene.index import LuceneIndex, check_id
from indexing.indexes.lucene.java_functions import SEPARATOR, compose
from indexing.indexes.lucene.jvm import java_calls
from indexing.indexes.lucene.matched_words import analyze_words
from indexing.indexes.lucene.rare_words import RareWords
from indexing.indexes.lucene.search import CONTENTS, make_searcher
from indexing.inputs import texts
from indexing.plurals import counted


class Bm25Index(LuceneIndex):
    """BM25 as in Anserini's BEIR baselines, flat or multifield.

    Flat (the default): title and text are one field, ``contents``. Multifield (`weights` given): ``contents`` holds the
    text and ``title`` the title, each scored by itself with its own lengths and frequencies; a document's score is
    the weighted sum. Scores are Lucene's ``BM25Similarity`` (Kamphuis et al. 2020 list the variants: no factor
    ``k1 + 1``, document lengths kept in one byte), float32.
    """

    kind = "bm25"
    norms = True
    _rare_words: RareWords | None = None

    @classmethod
    def create(
        cls,
        path: str | Path,
        *,
        k1: Parameter = 0.9,
        b: Parameter = 0.4,
        analyzer: str = DEFAULT,
        weights: Mapping[str, float] | None = None,
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
        path = Path(path)
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
        ``BagOfWordsQueryGenerator``). A query of stopwords alone has no hits.
        """
        return self._search_texts(_as_queries(queries), k, filter)

    def score(self, queries: Sequence[str], doc_ids: Sequence[Sequence[str]]) -> NDArray[np.float32]:
        """Score given candidates as `Index.score`."""
        return self._score_texts(_as_queries(queries), doc_ids)

    def rare_hits(self, queries: Sequence[str], hits: Hits) -> NDArray[np.bool_]:
        """Mark hits as `Index.rare_hits`; `indexing.indexes.lucene.rare_words` states the rule."""
        with self.snapshot() as search:
            # A search that runs beside this one may have moved to a newer snapshot.
            if self._rare_words is None or self._rare_words.search is not search:
                with java_calls(self.path):
                    parse = bag_of_words(CONTENTS, self._make_analyzer())
                self._rare_words = RareWords(search, parse, self._text_fields)
            return self._rare_words.mark(_as_queries(queries), hits)

    def analyze(self, words: Sequence[str]) -> list[str]:
        """Return each word as the analyzer makes it (stemmed, for instance); "" for a stopword."""
        return analyze_words(self.path, self._parse, words)

    @property
    def _text_fields(self) -> tuple[str, ...]:
        return (CONTENTS,) if self.settings.get("weights") is None else (CONTENTS, TITLE)

    def _texts(self, row: str | Document) -> tuple[str, ...]:
        if len(self._text_fields) == 1:
            return (row if isinstance(row, str) else row.contents,)
        return (row, "") if isinstance(row, str) else (row.text, row.title)

    def _make_similarity(self) -> Any:
        return similarity(self.settings["k1"], self.settings["b"])

    def _make_analyzer(self) -> Any:
        return make_analyzer(self.settings["analyzer"])

    def _make_parser(self) -> Any:
        analyzer, weights = self._make_analyzer(), self.settings.get("weights")
        if weights is None:
            return bag_of_words(CONTENTS, analyzer)
        return bag_of_words_in_fields({CONTENTS: weights[TEXT], TITLE: weights[TITLE]}, analyzer)

    def _parser_over(self, reader: Any) -> Any:
        k1, b = self.settings["k1"], self.settings["b"]
        if not isinstance(k1, dict) and not isinstance(b, dict):
            return super()._parser_over(reader)
        analyzer, weights = self._make_analyzer(), self.settings["weights"]
        titles = make_searcher(reader, similarity(k1, b, TITLE))
        return summed(
            compose(bag_of_words(CONTENTS, analyzer), weighted(weights[TEXT])),
            compose(bag_of_words(TITLE, analyzer), scored_by(titles), weighted(weights[TITLE])),
        )


def _as_queries(queries: Sequence[str]) -> list[str]:
    return [_as_query(query) for query in texts(queries, "queries")]


def _as_query(text: str) -> str:
    """Replace what Java cannot be given: halves of surrogate pairs, and the separator of queries."""
    valid = text if text.isascii() else text.encode("utf-8", "replace").decode()
    return valid.replace(SEPARATOR, " ")
