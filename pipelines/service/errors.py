"""Errors of the service: a status, one line that says what is wrong, and a hint; rendered as each client expects."""

from collections.abc import Mapping
from typing import Any, Literal

from indexing.errors import InputError, ModelError, RetrieveError, SetupError, StorageError

Dialect = Literal["retrieve", "openai", "cohere", "tei"]

CLIENT_GONE = 499
"""Status, in the log only, of a request whose client left before the answer."""

MAX_CHARS = 600
"""Length of a message: it may quote the request."""

_TYPES = {
    400: "invalid_request",
    401: "missing_key",
    403: "forbidden",
    404: "not_found",
    405: "method_not_allowed",
    408: "timeout",
    409: "conflict",
    413: "too_large",
    415: "unsupported_media_type",
    421: "misdirected",
    422: "invalid_request",
    424: "model_failed",
    429: "overloaded",
    500: "internal",
    503: "unavailable",
    504: "timeout",
}
_TEI_TYPES = {413: "Validation", 422: "Validation", 424: "Backend", 429: "Overloaded", 503: "Unhealthy"}


class ServiceError(Exception):
    """An answer other than success.

    Parameters
    ----------
    status
        The HTTP status.
    message
        What is wrong, in one line.
    hint
        What to do about it.
    code
        Word for programs, in place of the status's own.
    headers
        Further headers of the answer.
    """

    def __init__(
        self,
        status: int,
        message: str,
        hint: str = "",
        *,
        code: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        line = " ".join(message.split())
        self.status, self.message = status, line if len(line) <= MAX_CHARS else f"{line[: MAX_CHARS - 1]}…"
        self.hint, self.code, self.headers = hint, code or _TYPES.get(status, "error"), dict(headers or {})
        super().__init__(self.message)

    def body(self, dialect: Dialect, request_id: str) -> dict[str, Any]:
        """Return the answer's JSON in a client's dialect."""
        text = f"{self.message} ({self.hint})" if self.hint else self.message
        if dialect == "openai":
            kind = "invalid_request_error" if self.status < 500 else "server_error"
            return {"error": {"message": text, "type": kind, "param": None, "code": self.code}}
        if dialect == "cohere":
            return {"id": request_id, "message": text}
        if dialect == "tei":
            return {"error": text, "error_type": _TEI_TYPES.get(self.status, "Validation")}
        plain = {"type": self.code, "message": self.message, "hint": self.hint, "request_id": request_id}
        return {"error": {key: value for key, value in plain.items() if value}}


class ClientGone(Exception):  # noqa: N818  # not an error of the service
    """Raised when the client has closed its connection before the answer."""


def unavailable(message: str, hint: str, retry_after: int) -> ServiceError:
    """Return a 503 that says when to try again."""
    return ServiceError(503, message, hint, headers={"Retry-After": str(retry_after)})


def as_service_error(error: BaseException, dialect: Dialect) -> ServiceError | None:
    """Return the answer to an error that the project raises on purpose; None for any other error."""
    if isinstance(error, ServiceError):
        return error
    if isinstance(error, InputError):
        status = 400 if dialect == "openai" else 422
        return ServiceError(status, str(error), "GET /openapi.json describes every field")
    if isinstance(error, StorageError):
        # The message names paths of this machine, which the log has.
        return unavailable("the collection cannot be used at the moment", "try again; the server's log says more", 5)
    if isinstance(error, ModelError):
        status = 424 if dialect == "tei" else 500
        return ServiceError(status, "the model cannot be used", "the server's log says more", code="model_failed")
    if isinstance(error, SetupError | RetrieveError):
        return ServiceError(500, "the server is not set up for this", "the server's log says more")
    return None
