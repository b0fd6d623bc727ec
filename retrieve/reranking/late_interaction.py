"""LateInteractionReranker: MaxSim over any dense encoder's token vectors, a rerank stage with no weights of its own."""

from collections import OrderedDict
from collections.abc import Sequence
from itertools import pairwise
from threading import Lock
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from retrieve.reranking.cross_encoder import CandidateReranker
from retrieve.reranking.passages import Passages, Windows

if TYPE_CHECKING:
    from retrieve.encoders import DenseEncoder
    from retrieve.encoders.base import Encoder
    from retrieve.encoders.dense import TokenVectors


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
    passages, overlap
        As for every reranker. Windows are scored each by its own MaxSim.
    cache_bytes
        Token vectors of the documents last seen are kept, as float16, up to this many bytes; 0 keeps none.
    """

    def __init__(
        self,
        encoder: "DenseEncoder",
        *,
        weight: float = 0.5,
        passages: Passages = "first",
        overlap: int = 32,
        cache_bytes: int = 512 * 1024 * 1024,
    ) -> None:
        self.encoder, self.cache_bytes = encoder, cache_bytes
        super().__init__(weight=weight, passages=passages, overlap=overlap)
        self._cache: OrderedDict[str, NDArray[np.float16]] = OrderedDict()
        self._cached_bytes = 0
        self._caching = Lock()
        self._queries: tuple[tuple[str, ...], TokenVectors] | None = None

    @property
    def _encoder(self) -> "Encoder | None":
        return self.encoder

    def _room(self, windows: Windows, queries: Sequence[str]) -> NDArray[np.int64]:
        return np.repeat(windows.room(None), len(queries))

    def _scores(
        self, queries: Sequence[str], rows: NDArray[np.int64], texts: Sequence[str], places: NDArray[np.int64]
    ) -> NDArray:
        used, local = np.unique(places, return_inverse=True)
        documents = self._token_vectors([texts[place] for place in used.tolist()])
        query_tokens = self._query_vectors(queries)
        scores = np.zeros(len(places), np.float32)
        bounds = np.searchsorted(rows, np.arange(len(queries) + 1)).tolist()
        for row, (start, stop) in enumerate(pairwise(bounds)):
            if start < stop:
                query = query_tokens.vectors[query_tokens.offsets[row] : query_tokens.offsets[row + 1]]
                scores[start:stop] = max_sim(query, [documents[place] for place in local[start:stop].tolist()])
        return scores

    def _query_vectors(self, queries: Sequence[str]) -> "TokenVectors":
        """Encode the queries, unless they are those of the last portion."""
        key, last = tuple(queries), self._queries
        if last is None or last[0] != key:
            self._queries = last = key, self.encoder.encode_tokens(queries)
        return last[1]

    def _token_vectors(self, texts: Sequence[str]) -> list[NDArray[np.float16]]:
        """Give each text's token vectors, encoding only those that are not kept."""
        with self._caching:
            found = {text: self._cache[text] for text in texts if text in self._cache}
            for text in found:
                self._cache.move_to_end(text)
        unknown = [text for text in texts if text not in found]
        if unknown:
            encoded = self.encoder.encode_tokens(unknown)
            vectors = np.split(encoded.vectors.astype(np.float16), encoded.offsets[1:-1])
            found.update(zip(unknown, vectors, strict=True))
            with self._caching:
                for text in unknown:
                    self._keep(text, found[text])
        return [found[text] for text in texts]

    def _keep(self, text: str, vectors: NDArray[np.float16]) -> None:
        if vectors.nbytes > self.cache_bytes or text in self._cache:
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
