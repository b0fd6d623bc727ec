"""Search in a Qdrant engine by vectors, weights, both fused, or token vectors; counts of filters are cached."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix, issparse

from indexing.errors import InputError
from indexing.filters import Fields, Filter, FilterLike, parse_filter
from indexing.hits import Hits, encode_strings
from indexing.indexes.qdrant.engine import PointQuery, QdrantEngine, ScoredIds, point_id, sparse_rows
from indexing.indexes.qdrant.filters import one_value, qdrant_filter
from indexing.indexes.qdrant.settings import DENSE, SPARSE, TEXT, TOKENS, QdrantSettings
from indexing.indexes.qdrant.text_index import Text
from indexing.indexes.qdrant.tokens import query_tokens
from indexing.indexes.vectors import check_vectors, check_weights
from indexing.inputs import whole_number
from indexing.max_sim import EMPTY_SCORE
from indexing.plurals import counted
from indexing.token_vectors import TokenVectors

SCAN_BELOW = 0.1
"""If at most this share of the points matches a filter, all of them are compared with the query: exact search."""
QUERIES_AT_ONCE = 64
CACHED_COUNTS = 1024

Queries: TypeAlias = "NDArray[np.floating] | csr_matrix | TokenVectors | list[str]"


class QdrantSearch:
    """Search and scoring of a `QdrantIndex`.

    Parameters
    ----------
    path
        The index, named in errors.
    engine, settings, fields
        Those of the index.
    alone
        True if only this process changes the points, so that counts can be cached.
    name
        Name of the points' vectors, where they are not named after their kind.

    Attributes
    ----------
    counted
        Count the points that match a filter before a search, and check that candidates exist, each in a request of
        its own; False to leave it to the engine.
    tenant
        The field of tenants, where the graph links documents of one tenant only: a search of several compares all.
    """

    def __init__(
        self,
        path: Path,
        engine: QdrantEngine,
        settings: QdrantSettings,
        fields: Fields,
        *,
        alone: bool,
        name: str | None = None,
    ) -> None:
        self._path, self._engine, self._settings, self._fields = path, engine, settings, fields
        self._alone, self._name = alone, name
        self.counted = True
        self.tenant: str | None = None
        self._counts: dict[Filter | None, int] = {}

    def search(self, queries: Queries, k: int, filter: FilterLike | None) -> Hits:
        """Search as `QdrantIndex.search` does."""
        return self._run(self.point_queries(queries), k, filter)

    def fused_search(
        self, vectors: NDArray[np.floating], weights: csr_matrix, k: int, filter: FilterLike | None, **fusion: Any
    ) -> Hits:
        """Search as `QdrantIndex.fused_search` does."""
        dense, sparse = self.point_queries(vectors), self.point_queries(weights)
        if issparse(vectors) or not issparse(weights) or len(dense) != len(sparse):
            raise InputError("a fused search takes dense vectors and a CSR matrix of as many rows")
        both = [
            replace(query, vectors={**query.vectors, **other.vectors})
            for query, other in zip(dense, sparse, strict=True)
        ]
        return self._run(both, k, filter, **fusion)

    def score(self, queries: Queries, doc_ids: Sequence[Sequence[str]]) -> NDArray[np.float32]:
        """Score documents as `QdrantIndex.score` does."""
        point_queries = self.point_queries(queries)
        if len(point_queries) != len(doc_ids):
            raise InputError(
                f"{counted(len(doc_ids), 'list')} of candidates for {counted(len(point_queries), 'query')}"
            )
        self._check_known(list(dict.fromkeys(chain.from_iterable(doc_ids))))
        pairs = [(query, ids) for query, ids in zip(point_queries, doc_ids, strict=True) if len(ids)]
        scores: list[float] = []
        for start in range(0, len(pairs), QUERIES_AT_ONCE):
            batch = [
                (replace(query, limit=len(ids), filter=self._among(ids), exact=True), ids)
                for query, ids in pairs[start : start + QUERIES_AT_ONCE]
            ]
            results = self._answers([query for query, _ in batch])
            for (_, ids), hits in zip(batch, results, strict=True):
                by_id = dict(hits)
                # A document without token vectors, or that shares no term with a sparse query, is not returned.
                absent = EMPTY_SCORE if self._settings.of_tokens else 0.0
                scores.extend(by_id.get(doc_id, absent) for doc_id in ids)
        return np.array(scores, np.float32)

    def vectors(self, ids: Sequence[str]) -> NDArray[np.float32] | TokenVectors:
        """Return vectors as `QdrantIndex.vectors` does."""
        if not self._settings.dimension:
            raise InputError(f"points of the index {self._path} have {self.parts}, no vectors")
        distinct = list(dict.fromkeys(ids))
        self._check_known(distinct)
        name = self.name(TOKENS if self._settings.of_tokens else DENSE)
        points = self._engine.retrieve([point_id(doc_id) for doc_id in distinct], [name]) if distinct else []
        found = {point.id: point.vectors[name] for point in points if name in point.vectors}
        if not self._settings.of_tokens:
            rows = [found[point_id(doc_id)] for doc_id in ids]
            return np.array(rows, np.float32).reshape(len(ids), self._settings.dimension)
        empty = np.zeros((0, self._settings.dimension), np.float32)
        texts = [np.array(found.get(point_id(doc_id), empty), np.float32) for doc_id in ids]
        return TokenVectors.of(texts, self._settings.dimension)

    def present(self, ids: Sequence[str]) -> NDArray[np.bool_]:
        """Return which of these ids are in the index, in one call if all are."""
        distinct = list(dict.fromkeys(ids))
        if not distinct or self.count_ids(distinct) == len(distinct):
            return np.ones(len(ids), bool)
        known = {doc_id for doc_id in distinct if self.count_ids([doc_id])}
        return np.array([doc_id in known for doc_id in ids], bool)

    def count(self, parsed: Filter | None = None) -> int:
        """Return the number of points that match a filter; it is cached if only this process changes them."""
        if parsed not in self._counts or not self._alone:
            if len(self._counts) >= CACHED_COUNTS:
                self._counts.clear()
            self._counts[parsed] = self._engine.count(self._engine_filter(parsed))
        return self._counts[parsed]

    def count_ids(self, doc_ids: Sequence[str]) -> int:
        """Return how many of these distinct ids the index holds."""
        return self._engine.count(self._among(doc_ids))

    def clear_counts(self) -> None:
        """Clear the cached counts after a change."""
        self._counts.clear()

    @property
    def parts(self) -> str:
        """Description of a point's vectors."""
        if self._settings.text is not None:
            return "texts that Qdrant scores"
        if self._settings.of_tokens:
            return f"token vectors of dimension {self._settings.dimension}"
        dense = f"dense vectors of dimension {self._settings.dimension}" if self._settings.dimension else ""
        sparse = f"weights over {counted(self._settings.vocabulary, 'term')}" if self._settings.vocabulary else ""
        return " and ".join(part for part in (dense, sparse) if part)

    def _run(self, queries: list[PointQuery], k: int, filter: FilterLike | None, **fusion: Any) -> Hits:
        k = whole_number(k, "k")
        parsed = None if filter is None else parse_filter(filter, self._fields)
        limit, exact = k, self.scans(parsed)
        if self.counted:
            matching = self.count(parsed)
            if not matching:
                return Hits.empty(len(queries))
            limit = min(k, matching)
            exact = exact or (parsed is not None and matching <= SCAN_BELOW * self.count(None))
        options = fusion | {"limit": limit, "filter": self._engine_filter(parsed), "exact": exact}
        # A query without token vectors has no hits, and Qdrant refuses it.
        asked = [at for at, query in enumerate(queries) if query.vectors]
        hits: ScoredIds = [[] for _ in queries]
        for start in range(0, len(asked), QUERIES_AT_ONCE):
            places = asked[start : start + QUERIES_AT_ONCE]
            for at, found in zip(
                places, self._results([replace(queries[at], **options) for at in places]), strict=True
            ):
                hits[at] = found
        return hits_of(hits)

    def _results(self, queries: list[PointQuery]) -> ScoredIds:
        """Run a batch of queries; scores are as `scaled` returns them."""
        results = self._engine.query(queries)
        return [self.scaled(query, hits) for query, hits in zip(queries, results, strict=True)]

    def _answers(self, queries: list[PointQuery]) -> ScoredIds:
        """Run a batch of queries, of which some may have no vectors."""
        if self._settings.of_tokens:
            return self._results([query if query.vectors else self._zero(query) for query in queries])
        asked = [query for query in queries if query.vectors]
        found = iter(self._results(asked) if asked else [])
        return [next(found) if query.vectors else [] for query in queries]

    def scaled(self, query: PointQuery, hits: list[tuple[str, float]]) -> list[tuple[str, float]]:
        """Return the hits of a query with means in place of sums, where the metric says so, and BM25 without k1 + 1."""
        if self._settings.text is not None:
            return [(doc_id, score / self._settings.text.factor) for doc_id, score in hits]
        if self._settings.metric != "meanmaxsim":
            return hits
        return [(doc_id, score / len(query.vectors[self.name(TOKENS)])) for doc_id, score in hits]

    def scans(self, parsed: Filter | None) -> bool:
        """Return whether a search with this filter must compare all documents, because no graph links them."""
        return self._settings.scans or (self.tenant is not None and one_value(parsed, self.tenant) is None)

    def _zero(self, query: PointQuery) -> PointQuery:
        """Return a query that every document with token vectors answers with the score 0."""
        return replace(query, vectors={self.name(TOKENS): [[0.0] * self._settings.dimension]})

    def _engine_filter(self, parsed: Filter | None) -> Any:
        return None if parsed is None else qdrant_filter(parsed, self._fields, self._engine.conditions)

    def name(self, kind: str) -> str:
        """Return the name of the points' vectors of this kind."""
        return self._name or kind

    def point_queries(self, queries: Queries) -> list[PointQuery]:
        """Check queries, and return them as the engine takes them; without vectors for one that has none."""
        if self._settings.text is not None:
            texts = [Text.of(str(query)) for query in queries]
            return [PointQuery({self.name(TEXT): text} if text else {}) for text in texts]
        if self._settings.of_tokens:
            tokens = query_tokens(queries, self._settings, self._path)
            name = self.name(TOKENS)
            return [PointQuery({name: text.tolist()} if len(text) else {}) for text in tokens.to_list()]
        if issparse(queries):
            if not self._settings.vocabulary:
                raise InputError(f"points of the index {self._path} have {self.parts}, no sparse vectors")
            weights = check_weights(queries, self._settings.vocabulary, self._path)
            return [PointQuery({self.name(SPARSE): row}) for row in sparse_rows(weights)]
        if not self._settings.dimension:
            raise InputError(f"points of the index {self._path} have {self.parts}, no dense vectors")
        vectors = check_vectors(np.atleast_2d(np.asarray(queries)), self._settings.dimension, self._path)
        return [PointQuery({self.name(DENSE): row}) for row in vectors.tolist()]

    def _check_known(self, ids: list[str]) -> None:
        if not ids or not self.counted or self.count_ids(ids) == len(ids):
            return
        missing = next(doc_id for doc_id in ids if not self.count_ids([doc_id]))
        raise InputError(f"the id {missing!r} is not in the index {self._path}")

    def _among(self, doc_ids: Sequence[str]) -> Any:
        conditions = self._engine.conditions
        return conditions.group(must=[conditions.points([point_id(doc_id) for doc_id in doc_ids])])


def hits_of(results: ScoredIds) -> Hits:
    """Return the hits of queries, ordered as all hits are."""
    ids, codes = encode_strings([doc_id for hits in results for doc_id, _ in hits])
    scores = np.fromiter((score for hits in results for _, score in hits), np.float32, count=len(codes))
    rows = np.repeat(np.arange(len(results)), [len(hits) for hits in results])
    return Hits.ranked(len(results), rows, codes, scores, ids)
