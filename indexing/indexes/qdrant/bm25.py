"""QdrantBm25Index: BM25 over texts in Qdrant, with Lucene's analysis and Lucene's scores.

A document's vector holds the saturated frequency of each of its words (`indexing.indexes.bm25_weights`); Qdrant
multiplies a query's words by their inverse document frequency. Two statistics drift as documents come and go:

- The mean length is part of the stored weights. Each document's payload records its length and the mean for which it
  was weighted, so that `optimize` can weight it again without its text.
- Edge counts replaced and deleted documents in document frequencies until `optimize` drops them, a server until its
  own optimizer does. (Lucene does so too, until it merges them away.)

`optimize` restores both, `finish_indexing` only when they have drifted by more than `DRIFT`, or after many
changes (`CHANGED`).
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Self, cast

import numpy as np

from indexing.documents import Document, check_ids
from indexing.errors import InputError
from indexing.filters import Fields, batch_field_values
from indexing.hits import Hits
from indexing.indexes.base import Index, Terms
from indexing.indexes.bm25_weights import (
    COLUMNS,
    DEFAULT_ANALYZER,
    Analysis,
    Bm25,
    column,
    document_weights,
    rows_of_counts,
)
from indexing.indexes.qdrant import files as qdrant_files
from indexing.indexes.qdrant.engine import Point, PointBatch, QdrantEngine, Sparse, point_id, scroll_all
from indexing.indexes.qdrant.index import QdrantIndex
from indexing.indexes.qdrant.settings import DOC_ID, SPARSE, Engine, QdrantServer, QdrantSettings
from indexing.indexes.qdrant.text_index import plain_texts
from indexing.indexes.registry import analysis_of
from indexing.indexes.terms import terms_by_score
from indexing.inputs import local_path
from indexing.plurals import counted

WORDS = "words"
"""Payload field of a document's length in words, and of the mean length for which it was weighted."""
DRIFT = 0.01
"""Relative change of the mean length from which a write weights all documents again at its end."""
CHANGED = 0.2
"""Share of written and deleted documents from which a write does the same."""
_AT_ONCE = 1000


@dataclass(frozen=True, slots=True)
class WordSettings:
    """How texts become weights, and the statistics for it.

    Parameters
    ----------
    k1, b, analyzer
        As in `Bm25Index.create`.
    mean_length
        The mean length for which new documents are weighted; 0 before the first.
    documents, words
        Number of documents with words, and of their words; approximate since the last `optimize`.
    dead, added
        Number of documents replaced or deleted, and of those written, since the last `optimize`.
    """

    k1: float = 0.9
    b: float = 0.4
    analyzer: str = DEFAULT_ANALYZER
    mean_length: float = 0.0
    documents: int = 0
    words: float = 0.0
    dead: int = 0
    added: int = 0
    bm25: Bm25 = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "bm25", Bm25(self.k1, self.b))

    @classmethod
    def of(cls, stored: Mapping[str, Any]) -> Self:
        """Return the settings that `stored` wrote."""
        return cls(**stored)

    @property
    def stored(self) -> dict[str, Any]:
        """The settings as plain values."""
        return {name: value for name, value in asdict(self).items() if name != "bm25"}

    def without(self, lengths: Collection[int]) -> Self:
        """Return the settings after documents of these lengths were replaced or deleted."""
        documents = sum(length > 0 for length in lengths)
        return replace(
            self,
            documents=max(0, self.documents - documents),
            words=max(0.0, self.words - sum(lengths)),
            dead=self.dead + documents,
        )

    @property
    def present_mean(self) -> float:
        """The mean length of the present documents."""
        return self.words / self.documents if self.documents else self.mean_length

    @property
    def drift(self) -> float:
        """Relative difference of the present mean length from that of the weights."""
        return abs(self.present_mean / self.mean_length - 1) if self.mean_length else 0.0

    @property
    def notes(self) -> list[str]:
        """Differences that make scores deviate from those of an index of the present documents."""
        notes = []
        if self.drift > 1e-9:
            notes.append(
                f"documents are weighted for a mean length of {self.mean_length:.2f} words, and the present mean is "
                f"about {self.present_mean:.2f} ({self.drift:.2%} off)"
            )
        if self.dead:
            notes.append(f"document frequencies may count {counted(self.dead, 'replaced or deleted document')}")
        return notes


class QdrantBm25Index(QdrantIndex):
    """BM25 over title and text as one field; scores equal those of Lucene's flat index within 0.001 of each.

    The two agree after `optimize` in both. Bounds: words are compared by a 31-bit number, and words that an analyzer
    puts at the same place count towards the length, which Lucene does not count.
    """

    def __init__(self, *arguments: Any, words: WordSettings, analysis: Analysis | None = None, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.words_settings = words
        self._analysis = analysis or analysis_of(words.analyzer, self.path)

    @classmethod
    def create_of_texts(
        cls,
        path: str | Path,
        *,
        k1: float = 0.9,
        b: float = 0.4,
        analyzer: str = DEFAULT_ANALYZER,
        fields: Fields | None = None,
        engine: Engine | None = None,
        server: QdrantServer | None = None,
        on_disk: bool = False,
    ) -> Self:
        """Make an empty index in a folder that holds none.

        Parameters
        ----------
        path, fields, engine, server, on_disk
            As for `QdrantIndex.create`.
        k1, b, analyzer
            As for `Bm25Index.create`.
        """
        words = WordSettings(k1, b, analyzer)
        analysis = analysis_of(analyzer, local_path(path, "path"))
        settings = QdrantSettings(vocabulary=COLUMNS, on_disk=on_disk, idf=True)
        path, made, name, declared = cls._make(local_path(path, "path"), settings, fields, engine, server)
        index = cls(path, settings, declared, made, engine_name=name, server=server, words=words, analysis=analysis)
        index.commit()
        return index

    @classmethod
    def _opened(
        cls, path: Path, stored: qdrant_files.Stored, engine: QdrantEngine, read_only: bool, **more: Any
    ) -> Self:
        return super()._opened(path, stored, engine, read_only, words=WordSettings.of(stored.words or {}), **more)

    def upsert(self, ids: Sequence[str], rows: Any, metadata: Sequence[Mapping[str, Any]] | None = None) -> None:
        """Index texts: strings, or documents whose title counts too. Otherwise as `Index.upsert`."""
        self._check_writable()
        if len(ids) != len(rows):
            raise InputError(f"{counted(len(ids), 'id')} for {counted(len(rows), 'text')}")
        check_ids(ids)
        values = batch_field_values(self.fields, ids, metadata)
        if not len(ids):
            return
        words = self._analysis.words([row.contents if isinstance(row, Document) else row for row in rows])
        lengths = np.fromiter(map(len, words), np.int64, len(words))
        now = self.words_settings
        if not now.mean_length and lengths.any():
            now = replace(now, mean_length=float(lengths[lengths > 0].mean()))
        mean = now.mean_length or 1.0
        weights, _ = document_weights(words, now.bm25, mean)
        more = [{WORDS: {"length": length, "mean": mean}} for length in lengths.tolist()]
        if now.documents:
            now = now.without(self._stored_lengths(ids).values())
        self._search.clear_counts()
        self._engine.upsert(PointBatch(list(ids), {self._search.name(SPARSE): weights}, values, more))
        self.words_settings = replace(
            now,
            documents=now.documents + int((lengths > 0).sum()),
            words=now.words + int(lengths.sum()),
            added=now.added + len(ids),
        )

    def delete(self, ids: Sequence[str]) -> int:
        """Remove these ids, ignore unknown ones, and return how many existed."""
        self._check_writable()
        lengths = {} if isinstance(ids, str) else self._stored_lengths(ids)
        if self._engine_name == "edge" and lengths:
            # A deleted point counts in document frequencies until it is dropped, but not a point without words.
            empty = {WORDS: {"length": 0, "mean": 1.0}}
            self._engine.store([Point(point_id(doc_id), {}, {DOC_ID: doc_id, **empty}) for doc_id in lengths])
        gone = super().delete(ids)
        self.words_settings = self.words_settings.without(lengths.values())
        return gone

    def _stored_lengths(self, ids: Sequence[str]) -> dict[str, int]:
        """Return the number of words of those of these documents that are stored."""
        distinct = list(dict.fromkeys(doc_id for doc_id in ids if isinstance(doc_id, str)))
        found: dict[str, int] = {}
        for start in range(0, len(distinct), _AT_ONCE):
            points = self._engine.retrieve(list(map(point_id, distinct[start : start + _AT_ONCE])), [])
            found |= {point.payload[DOC_ID]: point.payload[WORDS]["length"] for point in points}
        return found

    def engine_queries(self, queries: Sequence[str]) -> Any:
        """Return how often each word occurs in each query: CSR [queries, `COLUMNS`].

        Raises
        ------
        InputError
            For a query with operators.
        """
        return rows_of_counts(self._analysis.words(plain_texts(queries)))

    def matched_terms(self, queries: Any, hits: Hits, vocabulary: Sequence[str] | None = None) -> list[Terms] | None:
        """Return each hit's matched words with their parts of the score; see `Index.matched_terms`."""
        names = {column(word): word for words in self._analysis.words(list(queries)) for word in words}
        index = cast("Index", self._search)  # which scores weights
        return terms_by_score(index, self.engine_queries(queries), hits, cast("Sequence[str]", names))

    def analyze(self, words: Sequence[str]) -> list[str]:
        """Return each word as the analyzer makes it (stemmed, for instance); "" for a stopword."""
        return [" ".join(found) for found in self._analysis.words(list(words))]

    def optimize(self) -> None:
        """Weight all documents for their present mean length, and drop what was replaced or deleted."""
        self._check_writable()
        documents = total = 0
        means: set[float] = set()
        for points in scroll_all(self._engine, _AT_ONCE, [], fields=[WORDS]):
            for point in points:
                length = point.payload[WORDS]["length"]
                if length:
                    documents, total = documents + 1, total + length
                    means.add(point.payload[WORDS]["mean"])
        mean = total / documents if documents else 0.0
        if means - {mean}:
            self._weight_again(mean)
        super().optimize()
        now = self.words_settings
        self.words_settings = replace(now, mean_length=mean, documents=documents, words=total, dead=0, added=0)

    def finish_indexing(self) -> None:
        """Do what `optimize` does if enough has changed since; document weights are searched from the start."""
        now = self.words_settings
        if now.drift > DRIFT or now.dead + now.added > CHANGED * now.documents:
            self.optimize()
        elif self.server is not None:
            super().optimize()

    def _weight_again(self, mean: float) -> None:
        name, bm25 = self._search.name(SPARSE), self.words_settings.bm25
        for points in scroll_all(self._engine, _AT_ONCE, [name]):
            moved = []
            for point in points:
                stored = point.payload[WORDS]
                if name not in point.vectors or stored["mean"] == mean:
                    continue
                vector = point.vectors[name]
                weights = bm25.moved(vector.values, stored["length"], stored["mean"], mean)
                payload = {**point.payload, WORDS: {"length": stored["length"], "mean": mean}}
                moved.append(Point(point.id, {name: Sparse(vector.indices, weights.tolist())}, payload))
            if moved:
                self._engine.store(moved)

    def _stored(self, sequence: int) -> qdrant_files.Stored:
        return replace(super()._stored(sequence), words=self.words_settings.stored)
