"""Load on a server over loopback: clients that wait for answers, clients that do not, and clients that leave."""

import asyncio
import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from indexing.errors import RetrieveError

ROOT = Path(__file__).resolve().parents[2]
KEPT = 50
"""Answers to the first bodies are kept, to be compared."""
MAX_CONNECTIONS = 3000
NO_ANSWER = "no answer"


@dataclass
class Load:
    """Measurements of a load.

    Attributes
    ----------
    statuses
        Number of answers by their status; `NO_ANSWER` counts connections that were closed without one.
    latencies
        Seconds of each answer with status 200.
    answers
        JSON of the answers to the first `KEPT` bodies, by the body's place.
    """

    seconds: float = 0.0
    statuses: Counter[str] = field(default_factory=Counter)
    latencies: list[float] = field(default_factory=list)
    answers: dict[int, Any] = field(default_factory=dict)

    @property
    def rate(self) -> float:
        """Answers with status 200 in a second."""
        return len(self.latencies) / self.seconds if self.seconds else 0.0

    def __str__(self) -> str:
        others = "".join(f", {number} x {status}" for status, number in self.statuses.items() if status != "200")
        middle, most = np.percentile(np.array(self.latencies or [0]) * 1000, [50, 99])
        return f"{self.rate:.0f} requests/s, p50 {middle:.0f} ms, p99 {most:.0f} ms{others}"

    def add(self, other: "Load") -> None:
        """Add another load of the same requests."""
        self.seconds += other.seconds
        self.statuses += other.statuses
        self.latencies += other.latencies
        self.answers |= other.answers


class _Connection:
    """A kept-alive connection that posts bodies to one route."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    @classmethod
    async def open(cls, port: int) -> "_Connection":
        return cls(*await asyncio.open_connection("127.0.0.1", port, limit=2**24))

    def send(self, route: str, body: bytes) -> None:
        head = (
            f"POST {route} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\n\r\n"
        )
        self.writer.write(head.encode() + body)

    async def receive(self) -> tuple[str, bytes]:
        head = (await self.reader.readuntil(b"\r\n\r\n")).lower()
        length = int(head.split(b"content-length: ")[1].split(b"\r\n")[0])
        return head[9:12].decode(), await self.reader.readexactly(length)


async def closed_loop(port: int, route: str, bodies: Sequence[bytes], clients: int, seconds: float) -> Load:
    """Send requests from clients that each wait for their answer before the next request."""
    load, start = Load(), time.perf_counter()

    async def client(number: int) -> None:
        connection, at = await _Connection.open(port), number
        while (begun := time.perf_counter()) < start + seconds:
            connection.send(route, bodies[at % len(bodies)])
            status, content = await connection.receive()
            load.statuses[status] += 1
            if status == "200":
                load.latencies.append(time.perf_counter() - begun)
            if at < KEPT:
                load.answers[at] = json.loads(content)
            at += clients
        connection.writer.close()

    await asyncio.gather(*map(client, range(clients)))
    load.seconds = time.perf_counter() - start
    return load


async def open_loop(port: int, route: str, bodies: Sequence[bytes], rate: float, seconds: float) -> Load:
    """Send so many requests in each second, whether or not earlier ones were answered."""
    load, start = Load(), time.perf_counter()
    idle: list[_Connection] = []
    opened, sent = 0, 0

    async def request(body: bytes) -> None:
        nonlocal opened
        begun = time.perf_counter()
        try:
            if idle:
                connection = idle.pop()
            elif opened < MAX_CONNECTIONS:
                opened += 1
                connection = await _Connection.open(port)
            else:
                load.statuses["not sent"] += 1
                return
            connection.send(route, body)
            status, _ = await connection.receive()
        except (OSError, asyncio.IncompleteReadError):
            load.statuses[NO_ANSWER] += 1
            return
        idle.append(connection)
        load.statuses[status] += 1
        if status == "200":
            load.latencies.append(time.perf_counter() - begun)

    tasks: set[asyncio.Task[None]] = set()
    while (now := time.perf_counter() - start) < seconds:
        while sent < now * rate:
            task = asyncio.create_task(request(bodies[sent % len(bodies)]))
            tasks.add(task)
            task.add_done_callback(tasks.discard)
            sent += 1
        await asyncio.sleep(0.002)
    load.seconds = time.perf_counter() - start
    if tasks:
        await asyncio.wait(set(tasks), timeout=60)
    load.statuses[NO_ANSWER] += len(tasks)
    for connection in idle:
        connection.writer.close()
    return load


async def leave(port: int, route: str, bodies: Sequence[bytes], number: int) -> None:
    """Send requests from clients that close their connections before the answer, up to 50 at once."""

    async def client(at: int) -> None:
        connection = await _Connection.open(port)
        connection.send(route, bodies[at % len(bodies)])
        await connection.writer.drain()
        await asyncio.sleep(0.001 * (at % 20))
        connection.writer.transport.abort()

    for first in range(0, number, 50):
        await asyncio.gather(*map(client, range(first, min(first + 50, number))))


@dataclass(frozen=True)
class ServerProcess:
    """A server in a process of its own."""

    port: int
    pid: int

    def held(self) -> dict[str, int]:
        """Return the memory in MB, the threads and the open files of the process."""
        folder = Path("/proc", str(self.pid))
        status = dict(line.split(":", 1) for line in (folder / "status").read_text().splitlines())
        return {
            "MB": int(status["VmRSS"].split()[0]) // 1024,
            "threads": int(status["Threads"]),
            "handles": len(list((folder / "fd").iterdir())),
        }

    def waiting(self) -> float:
        """Return the number of entries in the queues, and of requests being answered, of `retrieve serve`."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/metrics", timeout=10) as answer:
            lines = answer.read().decode().splitlines()
        names = ("retrieve_queue_size{", "retrieve_requests_in_flight ")
        # This request is one of those being answered.
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(names)) - 1


@contextmanager
def server(command: Sequence[str], *, ready: str = "/readyz", python: str = sys.executable) -> Iterator[ServerProcess]:
    """Run a server until the block ends; its port is appended to the command.

    Raises
    ------
    RetrieveError
        When it does not start.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1"}
    if python != sys.executable:
        del environment["PYTHONPATH"]
    process = subprocess.Popen(
        [python, *command, str(port)], env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    try:
        limit = time.monotonic() + 180
        while not _answers(f"http://127.0.0.1:{port}{ready}"):
            if process.poll() is not None or time.monotonic() > limit:
                process.kill()
                raise RetrieveError(f"the server did not start: {process.communicate()[1].decode()[-500:]}")
            time.sleep(0.2)
        yield ServerProcess(port, process.pid)
    finally:
        process.terminate()
        try:
            process.communicate(timeout=60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5):
            return True
    except OSError:
        return False
