"""LateInteractionReranker: MaxSim over any dense encoder's token vectors, a rerank stage with no weights of its own."""

from collections import OrderedDict
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from indexing.hits import Hits
from retrieve.rerankers import CandidateReranker

if TYPE_CHECKING:
    from retrieve.encoders import DenseEncoder


class LateInteractionReranker(CandidateReranker):
    """Reranks by late interaction (ColBERT, Khattab and Zaharia 2020) on an encoder that was not trained for it.

    ``score(q, d) = mean over q's tokens of the highest cosine with any of d's tokens``, in [-1, 1].

    Parameters
    ----------
    encoder
        Any `DenseEncoder`: its token vectors are used before pooling.
    weight
        As for every reranker; half of the first stage's score is kept by default, since an encoder that was trained
        for whole texts orders candidates less surely by their tokens (figures: docs/architecture.md).
    cache_bytes
        Token vectors of the documents last seen are kept, as float16, up to this many bytes; 0 keeps none.
    """

    def __init__(
        self,
        encoder: "DenseEncoder",
        *,
        weight: float = 0.5,
        cache_bytes: int = 512 * 1024 * 1024,
    ) -> None:
        super().__init__(weight=weight)
        self.encoder, self.cache_bytes = encoder, cache_bytes
        self._cache: OrderedDict[str, NDArray[np.float16]] = OrderedDict()
        self._cached_bytes = 0

    def _scores(self, queries: Sequence[str], hits: Hits, texts: Sequence[str], places: NDArray[np.int64]) -> NDArray:
        documents = self._token_vectors(texts)
        query_tokens = self.encoder.encode_tokens(queries)
        scores = np.zeros(len(places), np.float32)
        for row, (start, stop) in enumerate(zip(hits.offsets[:-1].tolist(), hits.offsets[1:].tolist(), strict=True)):
            query = query_tokens.vectors[query_tokens.offsets[row] : query_tokens.offsets[row + 1]]
            scores[start:stop] = max_sim(query, [documents[place] for place in places[start:stop].tolist()])
        return scores

    def _token_vectors(self, texts: Sequence[str]) -> list[NDArray[np.float16]]:
        """Give each text's token vectors, encoding only those that are not kept."""
        unknown = [text for text in texts if text not in self._cache]
        fresh: dict[str, NDArray[np.float16]] = {}
        if unknown:
            encoded = self.encoder.encode_tokens(unknown)
            vectors = encoded.vectors.astype(np.float16)
            fresh = dict(zip(unknown, np.split(vectors, encoded.offsets[1:-1]), strict=True))
        found = [fresh[text] if text in fresh else self._cache[text] for text in texts]
        for text, vectors in zip(texts, found, strict=True):
            self._keep(text, vectors, fresh=text in fresh)
        return found

    def _keep(self, text: str, vectors: NDArray[np.float16], *, fresh: bool) -> None:
        if not fresh:
            if text in self._cache:
                self._cache.move_to_end(text)
            return
        if vectors.nbytes > self.cache_bytes:
            return
        # A copy: a view would keep the whole batch it was encoded in alive.
        self._cache[text] = vectors.copy()
        self._cached_bytes += vectors.nbytes
        while self._cached_bytes > self.cache_bytes:
            self._cached_bytes -= self._cache.popitem(last=False)[1].nbytes


def max_sim(query: NDArray[np.float32], documents: Sequence[NDArray[np.floating]]) -> NDArray[np.float32]:
    """Score documents by the mean over query tokens of the best-matching document token.

    Parameters
    ----------
    query
        float32 [query tokens, dim], rows of length 1.
    documents
        For each document [tokens, dim], rows of length 1; one with no tokens scores 0.

    Returns
    -------
    float32 [documents]
    """
    scores = np.zeros(len(documents), np.float32)
    sizes = np.array([len(document) for document in documents], dtype=np.int64)
    if not len(query) or not sizes.any():
        return scores
    similarity = query @ np.concatenate(documents).astype(np.float32).T
    filled = sizes > 0
    starts = (np.cumsum(sizes) - sizes)[filled]
    scores[filled] = np.maximum.reduceat(similarity, starts, axis=1).mean(axis=0)
    return scores
