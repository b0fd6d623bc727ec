"""Bm25Index: words, by Lucene's BM25 over Anserini's English analysis."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Self

from indexing.documents import Document
from indexing.errors import InputError
from indexing.hits import Hits
from indexing.java_functions import SEPARATOR, bind, method
from indexing.jvm import java_class
from indexing.lucene_index import LuceneIndex, check_id
from indexing.lucene_search import CONTENTS
from indexing.seen import SeenIds

_ANALYZER = "anserini-default-english"
_GENERATOR = "io.anserini.search.query.BagOfWordsQueryGenerator"


class Bm25Index(LuceneIndex):
    """BM25 as in Anserini's flat BEIR baselines.

    Title and text are one field, analyzed by Anserini's ``DefaultEnglishAnalyzer`` (Porter stemming, Lucene's
    English stopwords). Scores are Lucene's ``BM25Similarity`` (Kamphuis et al. 2020 list the variants: no factor
    ``k1 + 1``, document lengths kept in one byte), float32.
    """

    kind = "bm25"

    @classmethod
    def create(cls, path: str | Path, *, k1: float = 0.9, b: float = 0.4) -> Self:
        """Make an empty index at `path` (a folder that does not hold one).

        Parameters
        ----------
        path
            The folder; made when it is not there.
        k1
            How slowly a repeated word saturates, 0 or more. Anserini's default.
        b
            How far long documents are held back, from 0 to 1. Anserini's default.
        """
        if not 0 <= k1 < float("inf"):
            raise InputError(f"k1 must be a number of at least 0, not {k1}")
        if not 0 <= b <= 1:
            raise InputError(f"b must be between 0 and 1, not {b}")
        path = Path(path)
        cls._make_folder(path)
        settings = {"k1": float(k1), "b": float(b), "analyzer": _ANALYZER}
        return cls(path, settings, create=True, read_only=False)

    def add(self, documents: Iterable[Document]) -> None:
        """Index the documents' `contents`, one after another; an id that is there already is replaced.

        Raises
        ------
        InputError
            For an id that stands twice in one call, or that is longer than Lucene takes. What came before the
            document at fault is in the index, and may be added again.
        """
        self._add(_contents(documents), norms=True)

    def upsert(self, documents: Iterable[Document]) -> None:
        """Do what `add` does, under the name the other stores have for it; doing it twice changes nothing."""
        self.add(documents)

    def search(self, queries: Sequence[str], k: int) -> Hits:
        """Find the `k` best documents for each query: score descending, then doc_id ascending, ties at the cutoff too.

        A query is its bag of analyzed words, each counted as often as it stands there (Anserini's
        ``BagOfWordsQueryGenerator``). One without a word that is not a stopword has no hits.
        """
        if isinstance(queries, str):
            raise InputError(f"queries must be a list of strings, not the string {queries!r}")
        with self.snapshot() as search:
            return search.search([_as_query(query) for query in queries], k)

    def _make_similarity(self) -> Any:
        similarity = java_class("org.apache.lucene.search.similarities.BM25Similarity")
        return similarity(self.settings["k1"], self.settings["b"])

    def _make_analyzer(self) -> Any:
        return java_class("io.anserini.analysis.DefaultEnglishAnalyzer").newDefaultInstance()

    def _make_parser(self) -> Any:
        build = method(
            _GENERATOR,
            "buildQuery",
            "(Ljava/lang/String;Lorg/apache/lucene/analysis/Analyzer;Ljava/lang/String;)Lorg/apache/lucene/search/Query;",
        )
        return bind(build, 0, java_class(_GENERATOR)(), CONTENTS, self._make_analyzer())


def _contents(documents: Iterable[Document]) -> Iterator[tuple[str, str]]:
    seen = SeenIds()
    for document in documents:
        check_id(document.doc_id)
        if not seen.add(document.doc_id):
            raise InputError(f"the id {document.doc_id!r} stands twice in one call: which one counts?")
        yield document.doc_id, document.contents


def _as_query(text: str) -> str:
    """Replace what cannot be handed to Java: halves of surrogate pairs, and the mark between queries."""
    whole = text if text.isascii() else text.encode("utf-8", "replace").decode()
    return whole.replace(SEPARATOR, " ")
