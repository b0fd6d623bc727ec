"""StoredTokenReranker: MaxSim over the token vectors that a collection stores."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from indexing.hits import Hits
from retrieve.reranking.base import CandidateReranker, Contents
from retrieve.reranking.last_queries import LastQueries
from retrieve.reranking.late_interaction import LateInteractionReranker
from retrieve.token_matches import TokenMatch, matches, token_names

if TYPE_CHECKING:
    from indexing.token_vectors import TokenVectors

ABSENT = -1.0
"""Score of a candidate without stored vectors: the lowest mean of cosines."""


class StoredTokens(Protocol):
    """Interface of an index of token vectors: `TokenIndex`, or `QdrantIndex` with token vectors."""

    def score(self, queries: "TokenVectors", doc_ids: Sequence[Sequence[str]]) -> NDArray[np.float32]:
        """Score given candidates, as `Index.score`."""

    def present(self, ids: Sequence[str]) -> NDArray[np.bool_]:
        """Return which of these ids the index holds, bool [ids]."""


class StoredTokenReranker(CandidateReranker):
    """Reranker by late interaction that encodes only the query, because an index has the documents' token vectors.

    The score is the mean, over the query's vectors, of the largest inner product with a vector of the document.
    Documents are compared as they are stored: cut at the encoder's length, and in the index's precision.

    Parameters
    ----------
    encoder
        The encoder of the index: a `MultiVectorEncoder`, or `DenseTokens`.
    index
        The index with the documents' token vectors.
    weight
        See `CandidateReranker`; 0.5 by default, as for `LateInteractionReranker`.
    mean
        Whether the index's scores are divided by the number of the query's vectors already.
    """

    def __init__(self, encoder: Any, index: StoredTokens, *, weight: float = 0.5, mean: bool = False) -> None:
        super().__init__(weight=weight)
        self.token_encoder, self.index, self.mean = encoder, index, mean
        self._queries = LastQueries(self._encode_queries)
        self._of_texts: LateInteractionReranker | None = None

    def of_texts(self) -> LateInteractionReranker:
        """Return the reranker by the same encoder that reads texts, for documents of another origin."""
        if self._of_texts is None:
            encoder = getattr(self.token_encoder, "encoder", self.token_encoder)
            self._of_texts = LateInteractionReranker(encoder, weight=self.weight)
        return self._of_texts

    def keep_queries(self, queries: Sequence[str], vectors: "TokenVectors") -> None:
        """Keep the token vectors of queries that a leg has encoded with the same encoder."""
        self._queries.keep(queries, vectors)

    def keep_dense_queries(self, queries: Sequence[str], vectors: "TokenVectors") -> None:
        """Keep the token vectors of queries as the dense encoder of `DenseTokens` makes them."""
        self._queries.keep(queries, self.token_encoder.reduced(vectors, "query"))

    def token_matches(
        self, queries: Sequence[str], hits: Hits, texts: Sequence[str]
    ) -> list[list[TokenMatch] | None] | None:
        """Return the tokens that met in each hit; their parts sum to the reranker's score.

        None for a hit without stored vectors, and if the index returns none.

        Parameters
        ----------
        texts
            The text of each hit.
        """
        if not hasattr(self.index, "vectors"):
            return None
        ids, vectors = hits.doc_ids, self._queries.vectors(queries)
        known = self.index.present(ids)
        stored = self.index.vectors([doc_id for doc_id, there in zip(ids, known.tolist(), strict=True) if there])
        places = np.cumsum(known) - 1
        asked = [token_names(self.token_encoder, query, "query") for query in queries]
        return [
            matches(
                vectors.text(row),
                stored.text(int(places[at])),
                asked[row],
                token_names(self.token_encoder, texts[at], "document"),
                mean=True,
            )
            if known[at]
            else None
            for at, row in enumerate(hits.rows.tolist())
        ]

    def _contents(self, documents: Contents | Mapping[str, str], ids: Sequence[str]) -> Sequence[str]:
        """Return the ids themselves: no text is read."""
        return ids

    def _costs(
        self, queries: Sequence[str], rows: NDArray[np.int64], texts: Sequence[str], places: NDArray[np.int64]
    ) -> NDArray[np.float64]:
        return np.ones(len(places))

    def _scores(
        self, queries: Sequence[str], rows: NDArray[np.int64], texts: Sequence[str], places: NDArray[np.int64]
    ) -> NDArray:
        known = self.index.present(texts)[places]
        bounds = np.searchsorted(rows[known], np.arange(len(queries) + 1)).tolist()
        names = [texts[place] for place in places[known].tolist()]
        vectors = self._queries.vectors(queries)
        found = self.index.score(vectors, [names[start:stop] for start, stop in pairwise(bounds)])
        scores = np.full(len(places), ABSENT, np.float32)
        scores[known] = found if self.mean else found / np.maximum(vectors.lengths[rows[known]], 1)
        return np.maximum(scores, ABSENT)

    def _encode_queries(self, queries: Sequence[str]) -> "TokenVectors":
        vectors: TokenVectors = self.token_encoder.encode_query(list(queries))
        return vectors
