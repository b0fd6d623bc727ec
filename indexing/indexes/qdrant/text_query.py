"""QdrantTextIndex: BM25 over texts that Qdrant analyses and scores itself, by its `TextQuery`.

The texts stand in the payload, under a text index with scoring. Document frequencies, the number of documents and their
mean length are those of the present documents at every search, so nothing drifts. Qdrant multiplies each score by
``k1 + 1``, which is divided out. It analyses texts in its own way (`EngineText`), and counts a word once that a query
repeats.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from indexing.documents import Document, check_ids
from indexing.errors import InputError
from indexing.filters import Fields, batch_field_values
from indexing.hits import Hits
from indexing.indexes.base import Terms
from indexing.indexes.qdrant.engine import PointBatch
from indexing.indexes.qdrant.index import QdrantIndex
from indexing.indexes.qdrant.settings import TEXT, Engine, QdrantServer, QdrantSettings
from indexing.indexes.qdrant.text_index import PLAIN, EngineText, Text, plain_texts
from indexing.indexes.terms import largest_first
from indexing.inputs import local_path
from indexing.plurals import counted

_NEGLIGIBLE = 1e-5
"""Share of a score below which a query's next word has added nothing: another form of one that was counted."""


class QdrantTextIndex(QdrantIndex):
    """BM25 over title and text as one field, analysed and scored by Qdrant: Edge 0.9, servers from 1.20, local mode.

    The local mode of qdrant-client has no stopwords and stems: it takes the analyzer ``"qdrant"`` only.
    """

    @classmethod
    def create_of_texts(
        cls,
        path: str | Path,
        *,
        k1: float = 0.9,
        b: float = 0.4,
        analyzer: str = PLAIN,
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
        k1, b
            As for `Bm25Index.create`.
        analyzer
            ``"qdrant"``, or with stopwords and stems ``"qdrant-en"``, ``"qdrant-de"``, … (`ENGINE_ANALYZERS`).
        """
        settings = QdrantSettings(on_disk=on_disk, text=EngineText(analyzer, k1, b))
        path, made, name, declared = cls._make(local_path(path, "path"), settings, fields, engine, server)
        index = cls(path, settings, declared, made, engine_name=name, server=server)
        index.commit()
        return index

    def upsert(self, ids: Sequence[str], rows: Any, metadata: Sequence[Mapping[str, Any]] | None = None) -> None:
        """Index texts: strings, or documents whose title counts too. Otherwise as `Index.upsert`."""
        self._check_writable()
        if len(ids) != len(rows):
            raise InputError(f"{counted(len(ids), 'id')} for {counted(len(rows), 'text')}")
        check_ids(ids)
        values = batch_field_values(self.fields, ids, metadata)
        if len(ids):
            self._search.clear_counts()
            contents = [Text.of(row.contents if isinstance(row, Document) else row) for row in rows]
            self._engine.upsert(PointBatch(list(ids), {self._search.name(TEXT): contents}, values))

    def engine_queries(self, queries: Any) -> list[str]:
        """Return the queries as texts; raise `InputError` for one with operators."""
        return plain_texts(queries)

    def matched_terms(self, queries: Any, hits: Hits, vocabulary: Sequence[str] | None = None) -> list[Terms] | None:
        """Return each hit's matched words, as the query has them, with their parts of the score.

        A word's part is what it adds to the score of the words before it. Another form of such a word adds nothing.
        """
        prefixes: list[str] = []
        words: list[list[str]] = []
        for query in plain_texts(queries):
            words.append(list(dict.fromkeys(query.split())))
            prefixes += [" ".join(words[-1][: length + 1]) for length in range(len(words[-1]))]
        wanted = [hits[row].doc_ids for row, of_query in enumerate(words) for _ in of_query]
        scores = iter(self.score(prefixes, wanted).tolist() if prefixes else [])
        terms: list[Terms] = []
        for row, of_query in enumerate(words):
            count = len(hits[row])
            before = [0.0] * count
            found: list[list[tuple[str, float]]] = [[] for _ in range(count)]
            for word in of_query:
                for at in range(count):
                    score = next(scores)
                    if (part := score - before[at]) > _NEGLIGIBLE * score:
                        found[at].append((_without_marks(word), part))
                    before[at] = score
            terms += map(largest_first, found)
        return terms


def _without_marks(word: str) -> str:
    """Return a word without the punctuation around it."""
    ends = [at for at, char in enumerate(word) if char.isalnum()]
    return word[ends[0] : ends[-1] + 1] if ends else word
