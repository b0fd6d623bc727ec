"""Run a service on uvicorn, with a graceful stop."""

import logging
import os
import sys
from types import FrameType

import uvicorn

from pipelines.service.app import make_app
from pipelines.service.config import ServeConfig
from pipelines.service.envelope import access_log
from pipelines.service.service import Service


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


def serve(config: ServeConfig) -> int:
    """Serve until a signal to stop; return the exit status.

    Raises
    ------
    RetrieveError
        When a collection or model cannot be opened.
    """
    lines = logging.StreamHandler(sys.stdout)
    lines.setFormatter(logging.Formatter("%(message)s"))
    access_log.addHandler(lines)
    access_log.setLevel(logging.INFO)
    access_log.propagate = False
    try:
        server = make_server(config)
        server.run()
    finally:
        access_log.removeHandler(lines)
    if server.service.failure is not None:
        raise server.service.failure
    return 0 if server.started else 1
