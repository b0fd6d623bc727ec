"""A real server on loopback, in a thread of the tests' process."""

import threading
import time
from contextlib import contextmanager


@contextmanager
def serving(config):
    """Run a service and provide its address."""
    from pipelines.service.server import make_server

    server = make_server(config.changed(port=0))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    limit = time.monotonic() + 120
    while not server.started or server.service.state != "ready":
        assert thread.is_alive() and time.monotonic() < limit, "the server did not start"
        time.sleep(0.01)
    try:
        port = server.servers[0].sockets[0].getsockname()[1]
        yield f"http://127.0.0.1:{port}", server.service
    finally:
        server.should_exit = True
        thread.join(30)
        assert not thread.is_alive()
