"""Envelope: request ids, the access log, the check of Host, and the answer to errors, around every request."""

import logging
import re
import secrets
import time
from collections.abc import Sequence
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pipelines.service.access_log import log_event
from pipelines.service.answers import error_answer
from pipelines.service.errors import CLIENT_GONE, ServiceError
from pipelines.service.metrics import Metrics
from pipelines.service.tracing import request_span

logger = logging.getLogger(__name__)

REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")
METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS")
LOOPBACK_NAMES = ("localhost", "127.0.0.1", "[::1]")
SECURITY = {"x-content-type-options": "nosniff", "referrer-policy": "no-referrer"}


class Envelope:
    """ASGI middleware around the whole service.

    Each request has a record in ``scope["record"]``, a dict that handlers add to and that becomes its line of the log.

    Parameters
    ----------
    hosts
        Accepted values of the header Host, without port; empty for any.
    """

    def __init__(self, app: ASGIApp, *, metrics: Metrics, hosts: Sequence[str]) -> None:
        self._app, self._metrics, self._hosts = app, metrics, frozenset(hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        record: dict[str, Any] = {"route": "unmatched", "status": CLIENT_GONE}
        given = headers.get("x-request-id", "")
        request_id = given if REQUEST_ID.fullmatch(given) else secrets.token_hex(16)
        scope["record"], scope["request_id"] = record, request_id
        started, begun = time.perf_counter(), False

        async def sending(message: Message) -> None:
            nonlocal begun
            if message["type"] == "http.response.start":
                begun, record["status"] = True, message["status"]
                answer = MutableHeaders(scope=message)
                answer["x-request-id"] = request_id
                for name, value in SECURITY.items():
                    answer[name] = value
                if "cache-control" not in answer:
                    answer["cache-control"] = "no-store"
            await send(message)

        self._metrics.in_flight.inc()
        try:
            with request_span(_method(scope), headers, record):
                self._check_host(headers)
                await self._app(scope, receive, sending)
        except Exception as error:
            if not isinstance(error, ServiceError):
                logger.exception("request %s failed", request_id)
                error = ServiceError(500, "the server failed", "report the request id")
            if not begun:
                await error_answer(error, "retrieve", request_id)(scope, receive, sending)
        finally:
            self._metrics.in_flight.dec()
            self._log(scope, record, request_id, time.perf_counter() - started)

    def _check_host(self, headers: Headers) -> None:
        """Refuse other names on a loopback address: a page could have its own name resolve to it (DNS rebinding)."""
        host = re.sub(r":\d*$", "", headers.get("host", "")).lower()
        if self._hosts and host not in self._hosts:
            raise ServiceError(421, f"this server does not answer for the host {host!r}", "set allowed_hosts")

    def _log(self, scope: Scope, record: dict[str, Any], request_id: str, seconds: float) -> None:
        route, status = record.pop("route"), record.pop("status")
        method = _method(scope)
        self._metrics.requests.labels(method, route, status).inc()
        self._metrics.request_seconds.labels(method, route).observe(seconds)
        line = {
            "request_id": request_id,
            "method": scope["method"],
            "route": route,
            "status": status,
            "duration_ms": round(1000 * seconds, 2),
            "client": (scope.get("client") or ("",))[0],
            **record,
        }
        log_event("request", level="error" if status >= 500 else "info", **line)


def _method(scope: Scope) -> str:
    """Return the request's method, one of a few words."""
    return scope["method"] if scope["method"] in METHODS else "other"
