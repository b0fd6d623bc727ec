"""`BackOff`: repeat requests to a Qdrant server while their failures are transient."""

import random
import time
from collections.abc import Callable
from typing import TypeVar

TRIES = 7
"""Maximum number of attempts of a request; the waits between them double from half a second."""
FIRST_TRIES = 4
"""The same for a server that has not answered yet: some 5 s in all, enough for one that is starting."""

Result = TypeVar("Result")


class BackOff:
    """The requests to one server, repeated by `with_back_off`; fewer times while it has never answered."""

    def __init__(self) -> None:
        self._answered = False

    def __call__(self, call: Callable[[], Result]) -> Result:
        """Return what a request finds."""
        found = with_back_off(call, tries=TRIES if self._answered else FIRST_TRIES)
        self._answered = True
        return found


def with_back_off(call: Callable[[], Result], *, tries: int = TRIES, first_wait: float = 0.5) -> Result:
    """Call until it succeeds, waiting twice as long, plus up to half at random, after each transient failure.

    Transient failures are a missing or broken response, HTTP 429 and 5xx, and gRPC's UNAVAILABLE, DEADLINE_EXCEEDED
    and RESOURCE_EXHAUSTED. Any other error, and the last one, is raised unchanged.
    """
    for retry in range(tries - 1):
        try:
            return call()
        except Exception as error:
            if not _is_transient(error):
                raise
        time.sleep(first_wait * 2**retry * (1 + random.random() / 2))
    return call()


def _is_transient(error: Exception) -> bool:
    from qdrant_client.common.client_exceptions import ResourceExhaustedResponse
    from qdrant_client.http.exceptions import ResponseHandlingException, UnexpectedResponse

    if isinstance(error, UnexpectedResponse):
        return error.status_code == 429 or (error.status_code or 0) >= 500
    if isinstance(error, ResponseHandlingException | ResourceExhaustedResponse):
        return True
    code = getattr(error, "code", None)
    name = getattr(code(), "name", "") if callable(code) else ""
    return name in ("UNAVAILABLE", "DEADLINE_EXCEEDED", "RESOURCE_EXHAUSTED")
