"""Client of a model's endpoint: retries with back-off within a time limit, several requests at a time, counts."""

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
from indexing.inputs import whole_number
from indexing.json_text import parse_json
from retrieve.remote.endpoint import Endpoint, key_from

logger = logging.getLogger(__name__)

Rows = TypeVar("Rows")

RETRIED = frozenset({408, 425, 429, 500, 502, 503, 504})
"""Statuses after which a request is sent again."""
BATCH_TEXTS = 32
LONGEST_WAIT = 30.0
MOST_BYTES = 256 * 1024 * 1024
"""Maximum size of an answer."""


@dataclass
class Usage:
    """Counts of a client: requests sent, those of them sent again, and tokens as the server counts them."""

    requests: int = 0
    retries: int = 0
    tokens: int = 0


class _TooLargeError(ModelError):
    """A server refuses a batch because it is too large."""


class TimeLimitError(EndpointError):
    """A request has no usable answer within its time."""


class _PassingError(Exception):
    """A failure that may pass; `pause` has the seconds that the server asks to wait, None if it does not say."""

    def __init__(self, reason: str, pause: float | None = None) -> None:
        super().__init__(reason)
        self.pause = pause


class Client:
    """HTTP client of one endpoint; it may be used by several threads.

    Parameters
    ----------
    endpoint
        The model.
    key_variable
        Environment variable with the key, sent as ``Authorization: Bearer``.
    concurrency, batch
        Maximum numbers of requests at a time, and of texts in a request; by default what a server of TEI says that it
        takes, else `BATCH_TEXTS`.
    """

    def __init__(
        self, endpoint: Endpoint, *, key_variable: str | None, concurrency: int, batch: int | None = None
    ) -> None:
        self.endpoint, self.usage = endpoint, Usage()
        self.concurrency = whole_number(concurrency, "concurrency")
        self.batch = BATCH_TEXTS if batch is None else whole_number(batch, "batch")
        try:
            import httpx
        except ModuleNotFoundError:
            raise SetupError("models behind a URL need httpx: pip install 'retrieve-rerank[remote]'") from None
        key = key_from(key_variable)
        headers = {} if key is None else {"Authorization": f"Bearer {key}"}
        self._http = httpx.Client(headers=headers, follow_redirects=False)
        self._counting = threading.Lock()
        self._pause_until = 0.0
        if batch is None and endpoint.protocol == "tei":
            self.batch = self.batch_limit() or BATCH_TEXTS

    def map(
        self,
        ask: Callable[[Sequence[str]], Rows],
        batches: Sequence[Sequence[str]],
        stack: Callable[[list[Rows]], Rows],
    ) -> Rows:
        """Return the rows of all batches, asking for several at a time.

        A batch that the server finds too large is halved, and so is `batch` for later ones.

        Parameters
        ----------
        ask
            Returns the rows of one batch.
        stack
            Joins the rows of several batches.
        """

        def halving(batch: Sequence[str]) -> Rows:
            try:
                return ask(batch)
            except _TooLargeError:
                if len(batch) == 1:
                    raise
                half = len(batch) // 2
                self.batch = min(self.batch, half)
                return stack([halving(part) for part in (batch[:half], batch[half:])])

        if len(batches) < 2:
            return stack([halving(batch) for batch in batches])
        with ThreadPoolExecutor(min(self.concurrency, len(batches)), "remote") as pool:
            futures = [pool.submit(halving, batch) for batch in batches]
            try:
                return stack([future.result() for future in futures])
            except BaseException:
                for future in futures:
                    future.cancel()
                raise

    def batch_limit(self) -> int | None:
        """Return how many texts a server of TEI takes in a request, as its ``/info`` says; None if it does not."""
        import httpx

        try:
            answer = self._http.get(f"{self.endpoint.url.rpartition('/')[0]}/info", timeout=5.0)
            limit = parse_json(answer.content[:1_000_000]).get("max_client_batch_size")
        except (httpx.HTTPError, httpx.InvalidURL, ValueError, AttributeError):
            return None
        return limit if isinstance(limit, int) and not isinstance(limit, bool) and limit > 0 else None

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
            Naming the endpoint and the reason; `TimeLimitError` when the time ends.
        """
        deadline, attempt = time.monotonic() + patience, 0
        while True:
            if (wait := self._pause_until - time.monotonic()) > 0:
                self._sleep(wait, deadline, "the server asks to wait")
            try:
                return self._attempt(body, deadline)
            except _PassingError as error:
                reason, asked = str(error), error.pause
            pause = asked if asked is not None else random.uniform(0.1, 0.5) * 2**attempt
            if asked is not None:
                self._pause_until = time.monotonic() + min(asked, LONGEST_WAIT)
            logger.info("%s: %s; trying again in %.1f s", self.endpoint, reason, pause)
            self._sleep(min(pause, LONGEST_WAIT), deadline, reason)
            attempt += 1
            with self._counting:
                self.usage.retries += 1

    def _attempt(self, body: Mapping[str, Any], deadline: float) -> Any:
        """Send a request once, and return the parsed answer; raise `_PassingError` where another try may help."""
        import httpx

        with self._counting:
            self.usage.requests += 1
        left = max(deadline - time.monotonic(), 0.05)
        try:
            with self._http.stream("POST", self.endpoint.url, json=body, timeout=left) as response:
                data = self._read(response, deadline)
        except httpx.TimeoutException:
            raise _PassingError("no answer in time") from None
        except httpx.TransportError as error:
            raise _PassingError(f"cannot be reached ({error or type(error).__name__})") from None
        except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
            raise EndpointError(f"{self.endpoint} cannot be asked: {error}") from error
        if response.status_code == 200:
            try:
                return parse_json(data)
            except ValueError:
                raise EndpointError(f"{self.endpoint} does not answer in JSON: is it the URL of a model?") from None
        said = _message(data)
        if response.status_code in RETRIED and "insufficient_quota" not in said:
            pause = _retry_after(response.headers.get("retry-after"))
            raise _PassingError(f"status {response.status_code} ({said})", pause)
        if response.status_code == 413 or (response.status_code == 422 and "batch" in said.lower()):
            raise _TooLargeError(f"{self.endpoint} refuses the batch: {said}")
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
            raise TimeLimitError(f"{self.endpoint} gave no usable answer within the time limit: {reason}")
        time.sleep(seconds)

    def count_tokens(self, answer: Mapping[str, Any]) -> None:
        """Add the tokens that the server counted, if its answer says so."""
        usage = answer.get("usage")
        tokens = usage.get("total_tokens") if isinstance(usage, Mapping) else None
        if isinstance(tokens, int) and not isinstance(tokens, bool):
            with self._counting:
                self.usage.tokens += tokens


def _message(data: bytes) -> str:
    """Return what a server says about an error, on one line."""
    text = data[:2000].decode("utf-8", "replace")
    try:
        content = parse_json(data[:100_000])
        inner = content.get("error") or content.get("message") or content.get("detail") or content
        if isinstance(inner, dict):
            inner = f"{inner.get('message') or inner} {inner.get('code') or ''}"
        text = str(inner)
    except (ValueError, AttributeError):
        pass  # It is no JSON object: the text itself is the message.
    return " ".join(text.split())[:300] or "no message"


def _retry_after(value: str | None) -> float | None:
    """Return the seconds of a header ``Retry-After``, which has seconds or a date."""
    if value is None:
        return None
    try:
        if value.strip()[:1].isdigit():
            seconds = float(value)
        else:
            seconds = parsedate_to_datetime(value).timestamp() - time.time()
    except (ValueError, TypeError, OverflowError):
        return None
    return max(seconds, 0.0)
