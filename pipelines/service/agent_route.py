"""AgentRoute: the tools for agents over HTTP."""

from contextlib import asynccontextmanager
from typing import Any

from mcp.server.mcpserver import Context
from mcp.server.transport_security import TransportSecuritySettings
from starlette.types import ASGIApp, Receive, Scope, Send

from pipelines.service.agent_tools import make_agent_server
from pipelines.service.answers import error_answer
from pipelines.service.callers import Caller
from pipelines.service.errors import ServiceError
from pipelines.service.service import Service

CALLER = "caller"
"""Key of the caller in the scope of a request."""


class AgentRoute:
    """ASGI application that sends ``/mcp`` to the MCP server, if the API key permits it, and the rest to another."""

    def __init__(self, app: ASGIApp, service: Service) -> None:
        self._app, self._service = app, service
        self._server = make_agent_server(service, _caller_of)
        # The envelope around this application has checked the header Host.
        security = TransportSecuritySettings(enable_dns_rebinding_protection=False)
        self._agents = self._server.streamable_http_app(
            streamable_http_path="/mcp",
            stateless_http=True,
            json_response=True,
            max_request_body_size=service.config.limits.body_bytes,
            transport_security=security,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http" or scope["path"].rstrip("/") != "/mcp":
            await self._app(scope, receive, send)
            return
        record, request_id = scope["record"], scope["request_id"]
        record["route"] = "/mcp"
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        try:
            caller = self._service.keys.check(headers, "read")
            record["key_id"] = caller.id
            origin = headers.get("origin")
            if origin is not None and origin not in self._service.config.cors_origins:
                raise ServiceError(403, "pages of other origins may not call this server", "set cors_origins")
        except ServiceError as error:
            await error_answer(error, "retrieve", request_id)(scope, receive, send)
            return
        agents = {**scope, "path": "/mcp", "raw_path": b"/mcp", CALLER: caller}
        await self._agents(agents, receive, send)

    @asynccontextmanager
    async def running(self) -> Any:
        """Answer requests while the block runs."""
        async with self._server.session_manager.run():
            yield


def _caller_of(context: Context) -> Caller:
    """Return who sent the request that calls a tool; without a request that was checked, the call fails."""
    request: Any = context.request_context.request
    caller: Caller = request.scope[CALLER]
    return caller
