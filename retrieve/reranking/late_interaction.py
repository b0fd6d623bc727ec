"""LateInteractionReranker: MaxSim over the token vectors of any dense or multi-vector encoder."""

from collections import OrderedDict
from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from indexing.errors import InputError
from indexing.hits import Hits
from indexing.inputs import shown
from indexing.locks import CopiedLock
from indexing.max_sim import max_sim_of
from indexing.token_vectors import TokenVectors
from retrieve.reranking.base import CandidateReranker
from retrieve.reranking.last_queries import LastQueries
from retrieve.reranking.passages import Passages, Windows, can_cut
from retrieve.token_matches import TokenMatch, matches, token_names

if TYPE_CHECKING:
    from retrieve.encoders import DenseEncoder, MultiVectorEncoder


DOCUMENTS_AT_ONCE = 256
"""Number of documents whose token vectors are in memory together, beside the cache: some 100 MB at 256 tokens each."""


class LateInteractionReranker(CandidateReranker):
    """Reranker by late interaction (ColBERT, Khattab and Zaharia 2020), also on an encoder not trained for it.

    ``score(q, d) = mean over q's tokens of the highest cosine with any of d's tokens``, in [-1, 1].

    Parameters
    ----------
    encoder
        A `MultiVectorEncoder`, or any `DenseEncoder`, of which the token vectors before pooling are compared.
    weight
        See `CandidateReranker`; 0.5 by default, because an encoder trained for whole texts orders candidates less
        reliably by their tokens (figures: docs/architecture.md).
    passages, overlap
        See `CandidateReranker`. By default a long document has the score of its best window (figures:
        docs/reranking.md), or of the first with a tokenizer that has no token positions.
    cache_bytes
        Size of the cache of the most recent documents' token vectors, as float16; 0 disables it.
    """

    encoder: "DenseEncoder | MultiVectorEncoder"

    def __init__(
        self,
        encoder: "DenseEncoder | MultiVectorEncoder",
        *,
        weight: float = 0.5,
        passages: Passages | None = None,
        overlap: int = 32,
        cache_bytes: int = 512 * 1024 * 1024,
    ) -> None:
        if isinstance(encoder, type) or getattr(encoder, "kind", None) not in ("dense", "multi-vector"):
            raise InputError(
                f"encoder must be a loaded DenseEncoder or MultiVectorEncoder, not {shown(encoder)}: DenseEncoder(PATH)"
            )
        if passages is None:
            passages = "max" if can_cut(encoder) else "first"
        super().__init__(weight=weight, passages=passages, overlap=overlap, encoder=encoder)
        self.cache_bytes = cache_bytes
        self._cache: OrderedDict[str, NDArray[np.float16]] = OrderedDict()
        self._cached_bytes = 0
        self._cache_lock = CopiedLock()
        self._queries = LastQueries(self._encode_queries)

    def token_matches(self, queries: Sequence[str], hits: Hits, texts: Sequence[str]) -> list[list[TokenMatch]]:
        """Return the tokens that met in each hit, in the windows that count; their parts sum to the reranker's score.

        Parameters
        ----------
        texts
            The text of each hit.
        """
        vectors = self._queries.vectors(queries)
        asked = [token_names(self.encoder, query, "query") for query in queries]
        sizes = None if self._windows is None else self._room(self._windows, queries)
        found = []
        for text, row in zip(texts, hits.rows.tolist(), strict=True):
            bounds = [(0, len(text))]
            if self._windows is not None and sizes is not None:
                bounds = self._windows.bounds(text, self._windows.spans([text])[0], int(sizes[row]))
            windows = [text[start:end] for start, end in bounds]
            documents = self._token_vectors(windows)
            met = [
                _moved(
                    matches(
                        vectors.text(row),
                        document.astype(np.float32),
                        asked[row],
                        token_names(self.encoder, window, "document"),
                        mean=True,
                    ),
                    start,
                )
                for window, document, (start, _) in zip(windows, documents, bounds, strict=True)
            ]
            if self.passages == "mean":
                found.append([match._replace(part=match.part / len(met)) for each in met for match in each])
            else:
                found.append(max(met, key=lambda each: sum(match.part for match in each)))
        return found

    def _room(self, windows: Windows, queries: Sequence[str]) -> NDArray[np.int64]:
        return np.repeat(windows.room(None), len(queries))

    def _scores(
        self, queries: Sequence[str], rows: NDArray[np.int64], texts: Sequence[str], places: NDArray[np.int64]
    ) -> NDArray:
        used, local = np.unique(places, return_inverse=True)
        query_tokens = self._queries.vectors(queries)
        scores = np.zeros(len(places), np.float32)
        for low in range(0, len(used), DOCUMENTS_AT_ONCE):
            documents = self._token_vectors([texts[place] for place in used[low : low + DOCUMENTS_AT_ONCE].tolist()])
            pairs = np.flatnonzero((local >= low) & (local < low + DOCUMENTS_AT_ONCE))
            bounds = np.searchsorted(rows[pairs], np.arange(len(queries) + 1)).tolist()
            for row, (start, stop) in enumerate(pairwise(bounds)):
                if start < stop:
                    own = pairs[start:stop]
                    scores[own] = max_sim(
                        query_tokens.text(row), [documents[place - low] for place in local[own].tolist()]
                    )
        return scores

    def _encode_queries(self, queries: Sequence[str]) -> TokenVectors:
        return self._encode(queries, is_query=True)

    def _encode(self, texts: Sequence[str], *, is_query: bool) -> TokenVectors:
        if self.encoder.kind == "dense":
            return self.encoder.encode_tokens(texts)  # type: ignore[union-attr]
        vectors: TokenVectors = self.encoder.encode(texts, task="query" if is_query else "document")  # type: ignore[assignment]
        return vectors

    def _token_vectors(self, texts: Sequence[str]) -> list[NDArray[np.float16]]:
        """Return each text's token vectors, encoding those that are not cached."""
        with self._cache_lock:
            by_text = {text: self._cache[text] for text in texts if text in self._cache}
            for text in by_text:
                self._cache.move_to_end(text)
        uncached = [text for text in texts if text not in by_text]
        if uncached:
            encoded = self._encode(uncached, is_query=False)
            vectors = np.split(encoded.vectors.astype(np.float16), encoded.offsets[1:-1])
            by_text.update(zip(uncached, vectors, strict=True))
            with self._cache_lock:
                for text in uncached:
                    self._add_to_cache(text, by_text[text])
        return [by_text[text] for text in texts]

    def _add_to_cache(self, text: str, vectors: NDArray[np.float16]) -> None:
        if vectors.nbytes > self.cache_bytes or text in self._cache:
            return
        # A view would keep the vectors of its whole batch in memory.
        self._cache[text] = vectors.copy()
        self._cached_bytes += vectors.nbytes
        while self._cached_bytes > self.cache_bytes:
            self._cached_bytes -= self._cache.popitem(last=False)[1].nbytes


def _moved(met: Sequence[TokenMatch], start: int) -> list[TokenMatch]:
    """Return the matches of a window that starts at this character of a text."""
    return [
        match if match.span is None else match._replace(span=(match.span[0] + start, match.span[1] + start))
        for match in met
    ]


def max_sim(query: NDArray[np.float32], documents: Sequence[NDArray[np.floating]]) -> NDArray[np.float32]:
    """Return each document's mean, over the query's tokens, of the similarity of the best-matching document token.

    Parameters
    ----------
    query
        float32 [query tokens, dim], rows of length 1.
    documents
        For each document [tokens, dim], rows of length 1; a document without tokens scores 0.

    Returns
    -------
    float32 [documents]
    """
    scores = np.zeros(len(documents), np.float32)
    if documents and len(query):
        vectors = TokenVectors.of(documents)
        filled = vectors.lengths > 0
        scores[filled] = max_sim_of(query, vectors)[filled] / len(query)
    return scores
