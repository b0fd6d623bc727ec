"""Rerankers without a local model: behind a URL, or a function of one's own."""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from indexing.collection.identity import are_alike
from indexing.errors import InputError, ModelError
from indexing.inputs import number
from indexing.plurals import counted
from retrieve.remote.client import Client, TimeLimitError, Usage
from retrieve.remote.endpoint import Endpoint, Protocol
from retrieve.remote.fingerprint import PAIRS, sketch_of_scores
from retrieve.reranking.base import CandidateReranker
from retrieve.reranking.budget import OutOfTime


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
        As for `retrieve.remote.RemoteEncoder`.
    seconds
        Time limit of a request with all its retries; `Budget.max_ms` shortens it.
    fingerprint
        That of the expected model (`identity`): the scores of a few fixed pairs, which are asked for at once. A model
        whose scores correlate less than 0.999 with it is refused.

    Raises
    ------
    ModelError
        With `fingerprint`, when the server cannot be asked, or the model behind it is another one.
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
        batch: int | None = None,
        seconds: float = 10.0,
        fingerprint: Sequence[float] | None = None,
    ) -> None:
        super().__init__(lambda query, texts: self._ask_all(query, texts, None), weight=weight)
        self.endpoint = Endpoint.of(url, "rerank", model=model, protocol=protocol)
        self._client = Client(self.endpoint, key_variable=key_variable, concurrency=concurrency, batch=batch)
        self._seconds = number(seconds, "seconds", above=0)
        self._fingerprint: list[float] | None = None
        if fingerprint is not None and not are_alike([fingerprint], [self.identity["fingerprint"]]):
            raise ModelError(
                f"the reranker {self.endpoint} is another model than the one recorded: its scores of fixed pairs "
                "differ. Use the same model, or leave out the fingerprint to accept this one"
            )

    @property
    def identity(self) -> dict[str, Any]:
        """Identity of the model, with a fingerprint: the scores of fixed pairs, asked for on first use."""
        if self._fingerprint is None:
            scores = [
                self._ask_all(query, [text for asked, text in PAIRS if asked == query], None)
                for query in dict.fromkeys(query for query, _ in PAIRS)
            ]
            self._fingerprint = sketch_of_scores(np.concatenate(scores))
        model, url = self.endpoint.model, self.endpoint.url
        stated = {"name": model or url, "kind": "remote-reranker", "url": url, "model": model}
        return {**stated, "fingerprint": self._fingerprint}

    @property
    def usage(self) -> Usage:
        """Requests, retries and tokens so far."""
        return self._client.usage

    def _scores_by(
        self,
        deadline: float | None,
        queries: Sequence[str],
        rows: NDArray[np.int64],
        texts: Sequence[str],
        places: NDArray[np.int64],
    ) -> NDArray:
        scores = np.zeros(len(rows), np.float32)
        for row in np.unique(rows):
            pairs = np.flatnonzero(rows == row)
            scores[pairs] = self._ask_all(queries[row], [texts[place] for place in places[pairs]], deadline)
        return scores

    def _ask_all(self, query: str, texts: Sequence[str], deadline: float | None) -> NDArray[np.float32]:
        size = self._client.batch
        batches = [texts[start : start + size] for start in range(0, len(texts), size)]
        return self._client.map(lambda batch: self._ask(query, batch, deadline), batches, np.concatenate)

    def _ask(self, query: str, texts: Sequence[str], deadline: float | None) -> NDArray[np.float32]:
        left = float("inf") if deadline is None else deadline - time.perf_counter()
        if left <= 0:
            raise OutOfTime(f"the reranker {self.endpoint} was not asked for all candidates within max_ms")
        body: dict[str, Any]
        if self.endpoint.protocol == "tei":
            body = {"query": query, "texts": list(texts), "raw_scores": True, "truncate": True}
        else:
            body = {"model": self.endpoint.model, "query": query, "documents": list(texts), "top_n": len(texts)}
        try:
            answer = self._client.post(body, patience=min(self._seconds, left))
        except TimeLimitError as error:
            if left < self._seconds:
                raise OutOfTime(f"the reranker did not answer within max_ms: {error}") from None
            raise
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
