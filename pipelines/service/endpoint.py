"""Endpoint: one route, declared once for the router, the checks of a request and the OpenAPI document."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from pipelines.service.answers import ExactJson, error_answer
from pipelines.service.bodies import read_body, read_json
from pipelines.service.callers import NOBODY, Apart, Caller, Scope
from pipelines.service.errors import CLIENT_GONE, ClientGone, Dialect, ServiceError, as_service_error, unavailable
from pipelines.service.service import Service

logger = logging.getLogger(__name__)

TIMEOUT_HEADER = "x-timeout-ms"


@dataclass(slots=True)
class Call:
    """One request, checked.

    Parameters
    ----------
    service
        The service.
    request
        The request.
    caller
        Who sends it.
    body
        Its body, in the endpoint's dataclass; None for an endpoint without.
    deadline
        When the answer must be ready, in `time.monotonic`'s seconds.
    timed
        Whether the client named the deadline.
    """

    service: Service
    request: Request
    caller: Caller
    body: Any
    deadline: float
    timed: bool

    @property
    def record(self) -> dict[str, Any]:
        """The request's line of the access log."""
        record: dict[str, Any] = self.request.scope["record"]
        return record

    @property
    def owner(self) -> str:
        """Who asks: the id of the API key, or the client's address."""
        client = self.request.client
        return str(self.caller.id or (client.host if client is not None else ""))

    def parameter(self, name: str) -> str:
        """Return a part of the path."""
        return str(self.request.path_params[name])


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One route.

    Parameters
    ----------
    method, path
        The route, in Starlette's form.
    handler
        Returns JSON values, or a response.
    summary
        What it does, for the OpenAPI document.
    body
        Dataclass of the request's body.
    scope
        What an API key must permit; None for a route that needs no key.
    dialect
        Form of its errors.
    reads
        Reads the request's JSON into the value of `Call.body`, in place of the dataclass.
    always
        Answered also while the service loads or drains.
    apart
        How it keeps tenants apart. None refuses an API key that is bound to tenants.
    """

    method: str
    path: str
    handler: Callable[[Call], Awaitable[Any]]
    summary: str
    body: type | None = None
    scope: Scope | None = "read"
    dialect: Dialect = "retrieve"
    reads: Callable[[Any], Any] | None = None
    always: bool = False
    apart: Apart | None = None

    def route(self, service: Service) -> Route:
        """Return the route that answers for a service."""

        async def answer(request: Request) -> Response:
            request.scope["record"]["route"] = self.path
            try:
                return await self._answer(service, request)
            except ClientGone:
                return Response(status_code=CLIENT_GONE)
            except Exception as error:
                known = as_service_error(service.without_folders(error), self.dialect)
                if known is None:
                    logger.exception("request %s failed", request.scope["request_id"])
                    known = ServiceError(500, "the server failed", "report the request id")
                elif known.status >= 500 and not isinstance(error, ServiceError):
                    logger.error("request %s failed: %s", request.scope["request_id"], error)
                return error_answer(known, self.dialect, request.scope["request_id"])

        return Route(self.path, answer, methods=[self.method], name=f"{self.method} {self.path}")

    async def _answer(self, service: Service, request: Request) -> Response:
        caller = NOBODY
        if self.scope is not None:
            caller = service.keys.check(request.headers, self.scope)
            request.scope["record"]["key_id"] = caller.id
            if caller.bound and self.apart is None:
                raise ServiceError(
                    403, "this route is not for API keys that are bound to tenants", "use a key of all documents"
                )
        if not self.always and not service.ready:
            raise unavailable(f"the server is {service.state}", "wait until GET /readyz answers 200", 1)
        deadline, timed = _deadline(request, service.config.limits.request_seconds)
        body = None
        if self.body is not None:
            content = await read_json(request, service.config.limits)
            body = self.reads(content) if self.reads is not None else read_body(self.body, content)
        call = Call(service, request, caller, body, deadline, timed)
        answer = await _unless_gone(request, self.handler(call)) if self.body is not None else await self.handler(call)
        return answer if isinstance(answer, Response) else ExactJson(answer)


def _deadline(request: Request, most: float) -> tuple[float, bool]:
    given = request.headers.get(TIMEOUT_HEADER)
    if given is None:
        return time.monotonic() + most, False
    if not given.isdecimal() or not 0 < int(given) <= 3_600_000:
        raise ServiceError(400, f"{TIMEOUT_HEADER} must be milliseconds above 0, not {given[:40]!r}")
    return time.monotonic() + min(int(given) / 1000, most), True


async def _unless_gone(request: Request, handling: Awaitable[Any]) -> Any:
    """Await the handler; cancel it when the client closes the connection first."""

    async def disconnected() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass

    task, watch = asyncio.ensure_future(handling), asyncio.ensure_future(disconnected())
    try:
        await asyncio.wait({task, watch}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise ClientGone
        return task.result()
    finally:
        for pending in (task, watch):
            if not pending.done():
                pending.cancel()
        await asyncio.gather(task, watch, return_exceptions=True)
