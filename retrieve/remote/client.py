"""Client of a model's endpoint: retries with back-off within a time limit, several requests at a time, counts."""

import json
import logging
import random
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any, TypeVar

from indexing.errors import EndpointError, ModelError, SetupError
from indexing.json_text import parse_json
from retrieve.remote.endpoint import Endpoint, key_from

logger = logging.getLogger(__name__)

Answer = TypeVar("Answer")

RETRIED = frozenset({408, 425, 429, 500, 502, 503, 504})
"""Statuses after which a request is sent again."""
LONGEST_WAIT = 30.0
MOST_BYTES = 256 * 1024 * 1024
"""Maximum size of an answer."""


@dataclass
class Usage:
    """What a client has used: requests sent, those of them sent again, and tokens as the server counts them."""

    requests: int = 0
    retries: int = 0
    tokens: int = 0


class TooLargeError(ModelError):
    """A server refuses a batch because it is too large."""


class Client:
    """HTTP client of one endpoint; it may be used by several threads.

    Parameters
    ----------
    endpoint
        The model.
    key_variable
        Environment variable with the key, sent as ``Authorization: Bearer``.
    concurrency
        Maximum number of requests at a time.
    """

    def __init__(self, endpoint: Endpoint, *, key_variable: str | None = None, concurrency: int = 4) -> None:
        try:
            import httpx
        except ModuleNotFoundError:
            raise SetupError("models behind a URL need httpx: pip install 'retrieve-rerank[remote]'") from None
        self.endpoint, self.usage, self.concurrency = endpoint, Usage(), concurrency
        key = key_from(key_variable)
        headers = {} if key is None else {"Authorization": f"Bearer {key}"}
        self._http = httpx.Client(headers=headers, follow_redirects=False)
        self._counting = threading.Lock()
        self._pause_until = 0.0

    def map(self, ask: Callable[[Sequence[str]], Answer], batches: Sequence[Sequence[str]]) -> list[Answer]:
        """Return the answer of each batch, asking for several at a time."""
        if len(batches) < 2:
            return [ask(batch) for batch in batches]
        with ThreadPoolExecutor(min(self.concurrency, len(batches)), "remote") as pool:
            futures = [pool.submit(ask, batch) for batch in batches]
            try:
                return [future.result() for future in futures]
            except BaseException:
                for future in futures:
                    future.cancel()
                raise

    def post(self, body: Mapping[str, Any], *, patience: float) -> Any:
        """Send a request until it is answered, and return the parsed answer.

        It is sent again, after a pause that grows (or that the server asks for), when the connection fails, the server
        is overloaded or fails (`RETRIED`). Other refusals are final.

        Parameters
        ----------
        body
            JSON values.
        patience
            Seconds after which it gives up, in all.

        Raises
        ------
        EndpointError
            Naming the endpoint and the reason.
        """
        deadline, attempt = time.monotonic() + patience, 0
        while True:
            if (wait := self._pause_until - time.monotonic()) > 0:
                self._sleep(wait, deadline, "the server asks to wait")
            reason, asked = self._attempt(body, deadline)
            if isinstance(reason, _Answered):
                return reason.content
            pause = asked if asked is not None else random.uniform(0.1, 0.5) * 2**attempt
            if asked is not None:
                self._pause_until = time.monotonic() + min(asked, LONGEST_WAIT)
            logger.info("%s: %s; trying again in %.1f s", self.endpoint, reason, pause)
            self._sleep(min(pause, LONGEST_WAIT), deadline, reason)
            attempt += 1
            with self._counting:
                self.usage.retries += 1

    def _attempt(self, body: Mapping[str, Any], deadline: float) -> tuple[Any, float | None]:
        """Send a request once; return the answer, or the reason for another try and the pause that is asked for."""
        import httpx

        with self._counting:
            self.usage.requests += 1
        left = max(deadline - time.monotonic(), 0.05)
        try:
            with self._http.stream("POST", self.endpoint.url, json=body, timeout=left) as response:
                data = self._read(response, deadline)
        except httpx.TimeoutException:
            return "no answer in time", None
        except httpx.TransportError as error:
            return f"cannot be reached ({error or type(error).__name__})", None
        except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
            raise EndpointError(f"{self.endpoint} cannot be asked: {error}") from error
        if response.status_code == 200:
            try:
                return _Answered(parse_json(data)), None
            except ValueError:
                raise EndpointError(f"{self.endpoint} does not answer in JSON: is it the URL of a model?") from None
        said = _message(data)
        if response.status_code in RETRIED and "insufficient_quota" not in said:
            return f"status {response.status_code} ({said})", _retry_after(response.headers.get("retry-after"))
        if response.status_code == 413 or (response.status_code == 422 and "batch" in said.lower()):
            raise TooLargeError(f"{self.endpoint} refuses the batch: {said}")
        hint = "; is the key in the environment right?" if response.status_code in (401, 403) else ""
        raise EndpointError(f"{self.endpoint} refuses the request: status {response.status_code} ({said}){hint}")

    def _read(self, response: Any, deadline: float) -> bytes:
        """Read an answer of bounded size within the time, also from a server that sends it byte by byte."""
        import httpx

        parts, size = [], 0
        for part in response.iter_bytes():
            parts.append(part)
            size += len(part)
            if size > MOST_BYTES:
                raise EndpointError(f"{self.endpoint} answers with more than {MOST_BYTES >> 20} MiB")
            if time.monotonic() > deadline:
                raise httpx.ReadTimeout("the answer takes too long")
        return b"".join(parts)

    def _sleep(self, seconds: float, deadline: float, reason: str) -> None:
        if time.monotonic() + seconds >= deadline:
            raise EndpointError(f"{self.endpoint} gave no usable answer within the time limit: {reason}")
        time.sleep(seconds)

    def count_tokens(self, tokens: object) -> None:
        """Add tokens that the server counted."""
        if isinstance(tokens, int) and not isinstance(tokens, bool):
            with self._counting:
                self.usage.tokens += tokens


@dataclass(frozen=True, slots=True)
class _Answered:
    content: Any


def _message(data: bytes) -> str:
    """Return what a server says about an error, on one line."""
    text = data[:2000].decode("utf-8", "replace")
    try:
        content = json.loads(data[:100_000])
        inner = content.get("error") or content.get("message") or content.get("detail") or content
        if isinstance(inner, dict):
            inner = f"{inner.get('message') or inner} {inner.get('code') or ''}"
        text = str(inner)
    except (ValueError, AttributeError, RecursionError):
        pass
    return " ".join(text.split())[:300] or "no message"


def _retry_after(value: str | None) -> float | None:
    """Return the seconds of a header ``Retry-After``, which has seconds or a date."""
    if value is None:
        return None
    try:
        return (
            max(float(value), 0.0)
            if value.strip()[:1].isdigit()
            else max(parsedate_to_datetime(value).timestamp() - time.time(), 0.0)
        )
    except (ValueError, TypeError, OverflowError):
        return None
