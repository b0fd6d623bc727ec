"""Run a service on uvicorn, with a graceful stop."""

import errno
import logging
import os
import socket
import sys
from types import FrameType

import uvicorn

from indexing.errors import InputError
from pipelines.service.access_log import access_log, log_event
from pipelines.service.app import make_app
from pipelines.service.config import ServeConfig
from pipelines.service.service import Service

BACKLOG = 2048
"""Connections that may wait to be accepted."""


class Server(uvicorn.Server):
    """A uvicorn server that drains at the first signal to stop, and stops at once at the second."""

    def __init__(self, service: Service, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.service = service

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin to drain, or end the process. Stored writes are in the journal, so ending it loses nothing."""
        del frame
        if self.should_exit:
            os._exit(128 + sig)
        self.service.state = "draining"
        self.should_exit = True


def make_server(config: ServeConfig) -> Server:
    """Return a server that is not running yet.

    Raises
    ------
    InputError
        For a configuration that cannot be served; see `ServeConfig.check`.
    """
    service = Service(config)

    def end() -> None:
        server.should_exit = True

    server = Server(
        service,
        uvicorn.Config(
            make_app(service, end),
            host=config.host,
            port=config.port,
            access_log=False,
            log_config=None,
            lifespan="on",
            timeout_graceful_shutdown=int(config.limits.drain_seconds) or 1,
            server_header=False,
        ),
    )
    return server


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens on an address.

    Raises
    ------
    InputError
        When the port is in use, or the address is not of this machine.
    """
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0][0]
        return socket.create_server((host, port), family=family, backlog=BACKLOG)
    except OSError as error:
        known = error.strerror if isinstance(error, socket.gaierror) else os.strerror(error.errno or 0)
        reason = "another program uses this port" if error.errno == errno.EADDRINUSE else known
        raise InputError(f"cannot listen on {host}:{port}: {reason}; choose another --port or --host") from None


def serve(config: ServeConfig) -> int:
    """Serve until a signal to stop; return the exit status.

    Raises
    ------
    RetrieveError
        When the address is not free, or a collection or model cannot be opened.
    """
    server = make_server(config)
    listening = listen(config.host, config.port)
    lines = logging.StreamHandler(sys.stdout)
    lines.setFormatter(logging.Formatter("%(message)s"))
    access_log.addHandler(lines)
    access_log.setLevel(logging.INFO)
    access_log.propagate = False
    try:
        host = f"[{config.host}]" if ":" in config.host else config.host
        log_event("listening", url=f"http://{host}:{listening.getsockname()[1]}")
        server.run(sockets=[listening])
    finally:
        listening.close()
        access_log.removeHandler(lines)
    if server.service.failure is not None:
        raise server.service.failure
    return 0 if server.started else 1
