"""Rerankers without a local model: behind a URL, or a function of one's own."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from indexing.errors import InputError, ModelError
from indexing.plurals import counted
from retrieve.remote.client import Client, Usage
from retrieve.remote.endpoint import Endpoint, Protocol
from retrieve.reranking.base import CandidateReranker


class FunctionReranker(CandidateReranker):
    """Reranker of a function from a query and texts to a score a text, the higher the better.

    Parameters
    ----------
    score
        The function; it is called once a query.
    weight
        See `CandidateReranker`.
    """

    def __init__(
        self, score: Callable[[str, Sequence[str]], "Sequence[float] | NDArray[np.float32]"], *, weight: float = 0.0
    ) -> None:
        if not callable(score):
            raise InputError("score must be a function from a query and texts to scores")
        super().__init__(weight=weight)
        self._score = score

    def _scores(
        self, queries: Sequence[str], rows: NDArray[np.int64], texts: Sequence[str], places: NDArray[np.int64]
    ) -> NDArray:
        scores = np.zeros(len(rows), np.float32)
        for row in np.unique(rows):
            pairs = np.flatnonzero(rows == row)
            found = np.asarray(self._score(queries[row], [texts[place] for place in places[pairs]]), np.float32)
            if found.shape != pairs.shape or not np.isfinite(found).all():
                raise ModelError(f"{self} must return {len(pairs)} finite scores, not an array of shape {found.shape}")
            scores[pairs] = found
        return scores

    def __repr__(self) -> str:
        return f"{type(self).__name__}({getattr(self._score, '__qualname__', self._score)!s})"


class RemoteReranker(FunctionReranker):
    """Reranker behind a URL: of TEI (``http://HOST:8080/rerank``), or as Cohere, Jina and vLLM (``…/v1/rerank``).

    Parameters
    ----------
    url, model, protocol, key_variable
        As for `retrieve.remote.RemoteEncoder`.
    weight
        See `CandidateReranker`.
    concurrency, batch
        Maximum numbers of requests at a time, and of texts in a request.
    seconds
        Time limit of a request with all its retries.
    """

    def __init__(
        self,
        url: str,
        model: str | None = None,
        *,
        protocol: Protocol | None = None,
        weight: float = 0.0,
        key_variable: str | None = None,
        concurrency: int = 4,
        batch: int = 32,
        seconds: float = 10.0,
    ) -> None:
        super().__init__(self._ask_all, weight=weight)
        self.endpoint = Endpoint.of(url, "rerank", model=model, protocol=protocol)
        self._client = Client(self.endpoint, key_variable=key_variable, concurrency=concurrency, batch=batch)
        self._seconds = seconds

    @property
    def usage(self) -> Usage:
        """Requests, retries and tokens so far."""
        return self._client.usage

    def _ask_all(self, query: str, texts: Sequence[str]) -> NDArray[np.float32]:
        size = self._client.batch
        batches = [texts[start : start + size] for start in range(0, len(texts), size)]
        return self._client.map(lambda batch: self._ask(query, batch), batches, np.concatenate)

    def _ask(self, query: str, texts: Sequence[str]) -> NDArray[np.float32]:
        body: dict[str, Any]
        if self.endpoint.protocol == "tei":
            body = {"query": query, "texts": list(texts), "raw_scores": True, "truncate": True}
        else:
            body = {"model": self.endpoint.model, "query": query, "documents": list(texts), "top_n": len(texts)}
        answer = self._client.post(body, patience=self._seconds)
        rows, name = answer, "score"
        if isinstance(answer, Mapping):
            rows, name = answer.get("results"), "relevance_score"
            self._client.count_tokens(answer)
        try:
            found = {int(row["index"]): float(row[name]) for row in rows}
        except (TypeError, KeyError, ValueError, OverflowError):
            raise self.endpoint.wrong(f"no list of 'index' and {name!r}") from None
        if found.keys() != set(range(len(texts))):
            raise self.endpoint.wrong(f"{counted(len(found), 'score')} for {counted(len(texts), 'text')}")
        scores = np.array([found[place] for place in range(len(texts))], np.float32)
        if not np.isfinite(scores).all():
            raise self.endpoint.wrong("scores with NaN or infinity")
        return scores
