"""Encoders behind a URL: vectors of OpenAI-compatible servers and of TEI, term weights of TEI."""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from indexing.errors import InputError
from indexing.inputs import number, text, whole_number
from indexing.inputs import texts as checked_texts
from indexing.plurals import counted
from retrieve.encoders.compared import ComparesVectors
from retrieve.remote.client import Client, Usage
from retrieve.remote.endpoint import Endpoint, Protocol
from retrieve.remote.fingerprint import PROBES, sketch

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

BATCH_CHARACTERS = 100_000
"""A batch ends here, or at the number of texts that a request may have."""
FIRST_SECONDS = 30.0
"""An encoder is refused when its server has not answered the probes for so long, or for `document_seconds`."""


class _Remote:
    """The common part of both: batches in order of length, and an identity with a fingerprint."""

    _fingerprint: list[list[float]]

    def __init__(
        self,
        endpoint: Endpoint,
        key_variable: str | None,
        concurrency: int,
        batch: int | None,
        patience: tuple[float, float],
    ) -> None:
        self.endpoint = endpoint
        self._client = Client(endpoint, key_variable=key_variable, concurrency=concurrency, batch=batch)
        self._query_seconds, self._document_seconds = (
            number(seconds, name, above=0)
            for seconds, name in zip(patience, ("query_seconds", "document_seconds"), strict=True)
        )

    @property
    def usage(self) -> Usage:
        """Requests, retries and tokens so far."""
        return self._client.usage

    def _encode(
        self, texts: Sequence[str], ask: Callable[[Sequence[str]], Any], stack: Callable[[list[Any]], Any]
    ) -> Any:
        order = sorted(range(len(texts)), key=lambda place: len(texts[place]))
        batches: list[list[str]] = []
        size = 0
        for place in order:
            # Some servers refuse an empty text.
            text = texts[place] if texts[place].strip() else " "
            size += len(text)
            if not batches or len(batches[-1]) >= self._client.batch or size > BATCH_CHARACTERS:
                batches.append([])
                size = len(text)
            batches[-1].append(text)
        found = self._client.map(ask, batches, stack)
        back = np.empty(len(texts), np.int64)
        back[order] = np.arange(len(texts))
        return found[back]

    def _identity(self, kind: str, **more: Any) -> dict[str, Any]:
        model, url = self.endpoint.model, self.endpoint.url
        return {
            "name": model or url,
            "kind": kind,
            "url": url,
            "model": model,
            **more,
            "fingerprint": self._fingerprint,
        }


class RemoteEncoder(ComparesVectors, _Remote):
    """Encoder of vectors behind a URL; it has the interface `retrieve.protocols.VectorEncoder`.

    Creating one sends eight fixed texts to the server, to learn the dimension and to recognise the model later
    (`identity`).

    Parameters
    ----------
    url
        As in ``https://HOST/v1/embeddings`` (OpenAI, vLLM, infinity, ``retrieve serve``) or ``http://HOST:8080/embed``
        (TEI), and ``#NAME`` for the model's name.
    model
        Name of the model, instead of ``#NAME``.
    similarity
        ``"cosine"`` or ``"dot"``, as the model was trained for.
    dimensions
        Ask for so many dimensions, of a model that can shorten its vectors.
    query_prompt, document_prompt
        Text before each query and document, as the model's card says.
    key_variable
        Environment variable with the key (``RETRIEVE_API_KEY``).
    concurrency, batch
        Maximum numbers of requests at a time, and of texts in a request (32, or what a server of TEI says).
    query_seconds, document_seconds
        Time limits of a request with all its retries: of queries, and of documents while indexing. The eight texts
        that are sent first have 30 s at most.

    Raises
    ------
    ModelError
        When the server cannot be reached, refuses, or answers with anything but one vector a text.
    """

    def __init__(
        self,
        url: str,
        model: str | None = None,
        *,
        protocol: Protocol | None = None,
        similarity: str = "cosine",
        dimensions: int | None = None,
        query_prompt: str = "",
        document_prompt: str = "",
        key_variable: str | None = None,
        concurrency: int = 4,
        batch: int | None = None,
        query_seconds: float = 10.0,
        document_seconds: float = 300.0,
    ) -> None:
        if similarity not in ("cosine", "dot"):
            raise InputError(f"similarity must be 'cosine' or 'dot', not {similarity!r}")
        if dimensions is not None:
            dimensions = whole_number(dimensions, "dimensions")
        query_prompt, document_prompt = text(query_prompt, "query_prompt"), text(document_prompt, "document_prompt")
        endpoint = Endpoint.of(url, "dense", model=model, protocol=protocol)
        super().__init__(endpoint, key_variable, concurrency, batch, (query_seconds, document_seconds))
        self.similarity_fn_name, self._asked = similarity, dimensions
        self._prompts = {"query": query_prompt, "document": document_prompt}
        self.dimension = 0
        probed = self._vectors(list(PROBES), "document", min(self._document_seconds, FIRST_SECONDS))
        self.dimension = int(probed.shape[1])
        self._fingerprint = sketch(probed)

    @property
    def identity(self) -> dict[str, Any]:
        """Identity of the model; a collection compares fingerprints by their cosines, and all else exactly."""
        stated = {"dimension": self.dimension, "similarity": self.similarity_fn_name, "prompts": dict(self._prompts)}
        return self._identity("remote-dense", **stated)

    def encode_query(self, texts: str | Sequence[str], /) -> NDArray[np.float32]:
        """Return the queries' vectors, float32 [texts, dimension]; of a single text one vector."""
        return self._vectors(texts, "query", self._query_seconds)

    def encode_document(self, texts: str | Sequence[str], /) -> NDArray[np.float32]:
        """Return the documents' vectors, float32 [texts, dimension]; of a single text one vector."""
        return self._vectors(texts, "document", self._document_seconds)

    def _vectors(self, given: str | Sequence[str], role: str, seconds: float) -> NDArray[np.float32]:
        texts = [given] if isinstance(given, str) else checked_texts(given, "texts")
        if not texts:
            return np.zeros((0, self.dimension), np.float32)
        prompted = [self._prompts[role] + text for text in texts]
        found = self._encode(prompted, lambda batch: self._ask(batch, seconds), np.concatenate)
        return found[0] if isinstance(given, str) else found

    def _ask(self, batch: Sequence[str], seconds: float) -> NDArray[np.float32]:
        body: dict[str, Any]
        if self.endpoint.protocol == "tei":
            body = {"inputs": list(batch), "truncate": True}
        else:
            body = {"model": self.endpoint.model, "input": list(batch), "encoding_format": "float"}
        if self._asked is not None:
            body["dimensions"] = self._asked
        answer = self._client.post(body, patience=seconds)
        rows = answer if self.endpoint.protocol == "tei" else self._rows(answer, len(batch))
        try:
            vectors = np.array(rows, np.float32)
        except (ValueError, TypeError):
            raise self.endpoint.wrong("vectors of different lengths, or values that are no numbers") from None
        if vectors.ndim != 2 or len(vectors) != len(batch) or not vectors.shape[1]:
            raise self.endpoint.wrong(f"an array of shape {vectors.shape} for {counted(len(batch), 'text')}")
        if self.dimension and vectors.shape[1] != self.dimension:
            raise self.endpoint.wrong(f"vectors of {vectors.shape[1]} dimensions, and before they had {self.dimension}")
        if not np.isfinite(vectors).all():
            raise self.endpoint.wrong("vectors with NaN or infinity")
        return vectors

    def _rows(self, answer: Any, count: int) -> list[Any]:
        """Return the vectors of an OpenAI answer in the order of the texts."""
        if not isinstance(answer, Mapping) or not isinstance(answer.get("data"), list):
            raise self.endpoint.wrong("no list 'data'")
        self._client.count_tokens(answer)
        rows = {row.get("index"): row.get("embedding") for row in answer["data"] if isinstance(row, Mapping)}
        if rows.keys() != set(range(count)) or len(answer["data"]) != count:
            raise self.endpoint.wrong(
                f"{counted(len(answer['data']), 'vector')} for {counted(count, 'text')}, or an index that is missing "
                "or repeated"
            )
        return [rows[place] for place in range(count)]


class RemoteSparseEncoder(_Remote):
    """Encoder of term weights behind a URL of TEI (``http://HOST:8080/embed_sparse``), as `TermEncoder`.

    Parameters
    ----------
    vocabulary
        The term of each column, or their number (by default that of BERT's vocabulary).
    url, model, …
        As for `RemoteEncoder`.
    """

    def __init__(
        self,
        url: str,
        model: str | None = None,
        *,
        vocabulary: Sequence[str] | int = 30522,
        key_variable: str | None = None,
        concurrency: int = 4,
        batch: int | None = None,
        query_seconds: float = 10.0,
        document_seconds: float = 300.0,
    ) -> None:
        endpoint = Endpoint.of(url, "sparse", model=model)
        super().__init__(endpoint, key_variable, concurrency, batch, (query_seconds, document_seconds))
        if isinstance(vocabulary, int):
            self.vocabulary: Sequence[str] = [f"term{at}" for at in range(whole_number(vocabulary, "vocabulary"))]
        else:
            self.vocabulary = checked_texts(vocabulary, "vocabulary")
        self._fingerprint = sketch(self._weights(list(PROBES), min(self._document_seconds, FIRST_SECONDS)).toarray())

    @property
    def identity(self) -> dict[str, Any]:
        """Identity of the model, as that of `RemoteEncoder`."""
        return self._identity("remote-sparse", vocabulary=len(self.vocabulary))

    def encode_query(self, texts: str | Sequence[str], /) -> "csr_matrix":
        """Return the queries' term weights, CSR float32 [texts, vocabulary]."""
        return self._weights(texts, self._query_seconds)

    def encode_document(self, texts: str | Sequence[str], /) -> "csr_matrix":
        """Return the documents' term weights, CSR float32 [texts, vocabulary]."""
        return self._weights(texts, self._document_seconds)

    def _weights(self, given: str | Sequence[str], seconds: float) -> "csr_matrix":
        from scipy.sparse import csr_matrix, vstack

        texts = [given] if isinstance(given, str) else checked_texts(given, "texts")
        if not texts:
            return csr_matrix(np.zeros((0, len(self.vocabulary)), np.float32))

        def stack(parts: list[Any]) -> "csr_matrix":
            return vstack(parts, format="csr")

        return self._encode(texts, lambda batch: self._ask(batch, seconds), stack)

    def _ask(self, batch: Sequence[str], seconds: float) -> "csr_matrix":
        from scipy.sparse import csr_matrix

        answer = self._client.post({"inputs": list(batch), "truncate": True}, patience=seconds)
        if not isinstance(answer, list) or len(answer) != len(batch):
            raise self.endpoint.wrong(f"no list of {counted(len(batch), 'row')}")
        try:
            columns = [np.array([term["index"] for term in row], np.int64) for row in answer]
            values = [np.array([term["value"] for term in row], np.float32) for row in answer]
        except (TypeError, KeyError, ValueError, OverflowError):
            raise self.endpoint.wrong("rows that are no lists of 'index' and 'value'") from None
        data, indices = np.concatenate(values), np.concatenate(columns)
        if not np.isfinite(data).all() or (data < 0).any():
            raise self.endpoint.wrong("weights with NaN, infinity or negative values")
        if len(indices) and (indices.min() < 0 or indices.max() >= len(self.vocabulary)):
            raise self.endpoint.wrong(
                f"a term beyond the {len(self.vocabulary)} of the vocabulary: state another vocabulary"
            )
        indptr = np.cumsum([0, *map(len, columns)])
        matrix = csr_matrix((data, indices, indptr), (len(batch), len(self.vocabulary)))
        matrix.sort_indices()
        return matrix
