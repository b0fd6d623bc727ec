"""The ASGI application of a service: its routes, and what surrounds them."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import Response

from pipelines.service.agent_route import AgentRoute
from pipelines.service.answers import ExactJson
from pipelines.service.collection_api import COLLECTION_ENDPOINTS
from pipelines.service.endpoint import Call, Endpoint
from pipelines.service.envelope import LOOPBACK_NAMES, Envelope
from pipelines.service.errors import ServiceError
from pipelines.service.model_api import MODEL_ENDPOINTS
from pipelines.service.openapi import openapi
from pipelines.service.page_api import PAGE_ENDPOINTS
from pipelines.service.service import Service


async def _live(call: Call) -> Any:
    del call
    return {"status": "live"}


async def _ready(call: Call) -> Any:
    state = call.service.state
    headers = {} if state == "ready" else {"Retry-After": "1"}
    return ExactJson({"status": state}, 200 if state == "ready" else 503, headers=headers)


async def _metrics(call: Call) -> Any:
    content, kind = await asyncio.to_thread(call.service.metrics.export)
    return Response(content, media_type=kind)


async def _openapi(call: Call) -> Any:
    del call
    return openapi(endpoints())


SYSTEM_ENDPOINTS = (
    Endpoint("GET", "/livez", _live, "Answer while the process runs.", scope=None, always=True),
    Endpoint("GET", "/readyz", _ready, "Answer 200 while requests are accepted.", scope=None, always=True),
    Endpoint("GET", "/health", _ready, "As /readyz, for text-embeddings-inference.", scope=None, always=True),
    Endpoint("GET", "/openapi.json", _openapi, "This document.", scope=None, always=True),
    Endpoint("GET", "/metrics", _metrics, "Metrics in the OpenMetrics format."),
)


def endpoints() -> Sequence[Endpoint]:
    """Return all routes of a service."""
    return (*SYSTEM_ENDPOINTS, *COLLECTION_ENDPOINTS, *MODEL_ENDPOINTS, *PAGE_ENDPOINTS)


def make_app(service: Service, on_end: Callable[[], None]) -> Envelope:
    """Return the ASGI application of a service; `on_end` is called when it is closed, or cannot be opened."""
    config = service.config

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        # Opened while the server answers already: /livez says that it lives, /readyz that it is not ready.
        stop = asyncio.Event()
        holding = asyncio.create_task(service.hold(stop))
        holding.add_done_callback(lambda _: on_end())
        async with agents.running():
            yield
        stop.set()
        await asyncio.gather(holding, return_exceptions=True)

    middleware = []
    if config.cors_origins:
        middleware.append(
            Middleware(
                CORSMiddleware,
                allow_origins=list(config.cors_origins),
                allow_methods=["GET", "POST", "PUT", "DELETE"],
                allow_headers=["Authorization", "Content-Type", "X-API-Key", "X-Request-ID", "X-Timeout-Ms"],
                expose_headers=["X-Request-ID", "Retry-After"],
            )
        )
    starlette = Starlette(
        routes=[endpoint.route(service) for endpoint in endpoints()],
        middleware=middleware,
        exception_handlers={HTTPException: _no_route},
        lifespan=lifespan,
    )
    agents = AgentRoute(starlette, service)
    hosts = config.allowed_hosts or (LOOPBACK_NAMES if config.loopback else ())
    return Envelope(agents, metrics=service.metrics, hosts=hosts)


async def _no_route(request: Request, error: Exception) -> Response:
    """Answer a path or a method that no route has."""
    status = error.status_code if isinstance(error, HTTPException) else 500
    messages = {404: f"there is no {request.url.path}", 405: f"{request.method} is not for {request.url.path}"}
    known = ServiceError(status, messages.get(status, "the request cannot be answered"), "see GET /openapi.json")
    headers = dict(getattr(error, "headers", None) or {})
    return ExactJson(known.body("retrieve", request.scope["request_id"]), status, headers=headers)
