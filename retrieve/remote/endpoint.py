"""Endpoints: the address of a model, and the form in which its server is asked."""

import os
from dataclasses import dataclass
from typing import Literal, get_args
from urllib.parse import unquote, urlsplit, urlunsplit

from indexing.errors import InputError, ModelError
from indexing.inputs import shown, text

Protocol = Literal["openai", "tei", "cohere"]
Task = Literal["dense", "sparse", "rerank"]

KEY_VARIABLE = "RETRIEVE_API_KEY"
"""Environment variable with the key that is sent, unless another is named."""

_PATHS: dict[Task, dict[str, Protocol]] = {
    "dense": {"/embeddings": "openai", "/embed": "tei"},
    "sparse": {"/embed_sparse": "tei"},
    "rerank": {"/v1/rerank": "cohere", "/v2/rerank": "cohere", "/rerank": "tei"},
}
_DEFAULTS: dict[Task, str] = {"dense": "/v1/embeddings", "sparse": "/embed_sparse", "rerank": "/v1/rerank"}


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Address of a model.

    Parameters
    ----------
    url
        The URL that is called, without credentials and without the model's name.
    model
        Name of the model, if the server has several; empty otherwise.
    protocol
        ``"openai"``, ``"tei"`` (text-embeddings-inference) or ``"cohere"`` (also Jina and vLLM).
    """

    url: str
    model: str
    protocol: Protocol

    @classmethod
    def of(cls, url: str, task: Task, *, model: str | None = None, protocol: Protocol | None = None) -> "Endpoint":
        """Return the endpoint of a URL, whose path says how the server is asked.

        Parameters
        ----------
        url
            As in ``https://host/v1/embeddings``, ``http://host:8080/embed``, ``https://host/v1/rerank#name``. Of a
            server alone the usual path is called: ``/v1/embeddings``, ``/embed_sparse`` or ``/v1/rerank``.
        model
            Name of the model; by default what follows ``#``.
        protocol
            By default what the path says.

        Raises
        ------
        InputError
            For a URL with credentials or of an unknown path without `protocol`.
        """
        if model is not None:
            text(model, "model")
        if protocol is not None and protocol not in get_args(Protocol):
            raise InputError(f"protocol must be {', '.join(get_args(Protocol))} or None, not {shown(protocol)}")
        parts = urlsplit(text(url, "the URL of a model"))
        if not is_url(url) or not parts.hostname:
            raise InputError(f"{url!r} is not the URL of a model: write https://HOST/v1/embeddings, for example")
        if parts.username or parts.password or parts.query:
            raise InputError(
                f"the URL of {parts.hostname} must not contain a key or a query: put the key into the environment "
                f"variable {KEY_VARIABLE}"
            )
        path = parts.path.rstrip("/") or _DEFAULTS[task]
        if path in ("/v1", "/v2"):
            path += {"dense": "/embeddings", "sparse": "/embed_sparse", "rerank": "/rerank"}[task]
        known = next((spoken for end, spoken in _PATHS[task].items() if path.endswith(end)), None)
        if (spoken := protocol or known) is None:
            ends = ", ".join(_PATHS[task])
            raise InputError(f"{url} does not say how its server is asked: end it with {ends}, or name the protocol")
        clean = urlunsplit((parts.scheme, parts.netloc, path, "", ""))
        return cls(clean, unquote(parts.fragment) if model is None else model, spoken)

    def wrong(self, found: str) -> ModelError:
        """Return the error for an answer that is not what was asked for."""
        return ModelError(f"{self} answers wrongly: {found}")

    def __str__(self) -> str:
        return f"{self.model} at {self.url}" if self.model else self.url


def is_url(model: object) -> bool:
    """Return whether the name of a model is the URL of one."""
    return isinstance(model, str) and model.startswith(("http://", "https://"))


def with_model(url: str, model: str | None) -> str:
    """Return a URL that names this model after ``#``."""
    return url if model is None else f"{url.partition('#')[0]}#{model}"


def key_from(variable: str | None) -> str | None:
    """Return the key in an environment variable, by default `KEY_VARIABLE`; None if it is not set.

    Raises
    ------
    InputError
        When a variable is named and not set.
    """
    if variable is not None:
        text(variable, "key_variable")
    key = os.environ.get(variable or KEY_VARIABLE, "").strip()
    if not key and variable is not None:
        raise InputError(f"the environment variable {variable} is not set: it must contain the key of the endpoint")
    return key or None
