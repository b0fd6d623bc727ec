"""A server of models on loopback that answers, fails or lies as it is told."""

import json
import threading
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np

DIMENSION = 16


class Stub(ThreadingHTTPServer):
    """The server; `behaviour` names what it does, and `requests` is what it got."""

    daemon_threads = True
    behaviour = ""
    info: Any = None
    failures = 0
    model = "one"
    noise = 0.0
    most_texts = 1000
    retry_after = ""
    stall_seconds = 5.0
    stall_path = ""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.requests: list[tuple[str, dict[str, Any], dict[str, str]]] = []
        self.url = f"http://127.0.0.1:{self.server_address[1]}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Stay silent about clients that hang up."""

    def vector(self, text: str) -> list[float]:
        chance = np.random.default_rng(zlib.crc32(f"{self.model} {text}".encode()))
        vector = chance.normal(size=DIMENSION) + self.noise * np.random.default_rng().normal(size=DIMENSION)
        return [float(value) for value in vector]


class _Handler(BaseHTTPRequestHandler):
    server: Stub

    def log_message(self, *arguments: Any) -> None:
        """Stay silent."""

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        server = self.server
        server.requests.append((self.path, body, dict(self.headers)))
        if server.failures:
            status, server.failures = int(server.behaviour), server.failures - 1
            server.behaviour = server.behaviour if server.failures else ""
            return self._answer(status, {"error": {"message": "not now"}})
        if server.behaviour == "stall" and self.path.endswith(server.stall_path):
            time.sleep(server.stall_seconds)
        if server.behaviour == "drip":
            self.send_response(200)
            self.end_headers()
            for _ in range(100):
                self.wfile.write(b" ")
                self.wfile.flush()
                time.sleep(0.05)
            return None
        if server.behaviour.isdigit():
            return self._answer(int(server.behaviour), {"error": "refused"})
        if server.behaviour == "garbage":
            return self._answer(200, "<html>")
        texts = body.get("input") or body.get("inputs") or body.get("texts") or body.get("documents")
        if len(texts) > server.most_texts:
            return self._answer(422, {"error": "batch size exceeds the limit", "error_type": "Validation"})
        if self.path.endswith("rerank"):
            return self._answer(200, self._scores(texts))
        if self.path == "/embed_sparse":
            rows = [[{"index": zlib.crc32(w.encode()) % 5003, "value": 1.5} for w in set(t.split())] for t in texts]
            return self._answer(200, rows)
        return self._answer(200, self._vectors(texts))

    def do_GET(self) -> None:
        self.server.requests.append((self.path, {}, dict(self.headers)))
        if self.path == "/info" and self.server.info is not None:
            return self._answer(200, self.server.info)
        return self._answer(404, {"error": "not found"})

    def _vectors(self, texts: list[str]) -> Any:
        server = self.server
        vectors = [server.vector(text) for text in texts]
        if server.behaviour == "nan":
            vectors[-1][0] = float("nan")
        if server.behaviour == "short":
            vectors = [vector[:-1] for vector in vectors]
        if server.behaviour == "fewer":
            vectors = vectors[:-1]
        if self.path == "/embed":
            return vectors
        data = [{"index": place, "embedding": vector} for place, vector in enumerate(vectors)]
        if server.behaviour == "repeated":
            data[-1]["index"] = 0
        return {"data": data[::-1], "usage": {"total_tokens": 3 * len(texts)}}

    def _scores(self, texts: list[str]) -> Any:
        ranked = sorted(range(len(texts)), key=lambda place: -self._score(texts[place]))
        if self.path == "/rerank":
            return [{"index": place, "score": self._score(texts[place])} for place in ranked]
        results = [{"index": place, "relevance_score": self._score(texts[place])} for place in ranked]
        return {"results": results, "usage": {"total_tokens": 7}}

    def _score(self, text: str) -> float:
        """Return the length of the text; of the second model the number of its words."""
        noise = self.server.noise * float(np.random.default_rng().normal())
        return (float(len(text)) if self.server.model == "one" else float(len(text.split()))) + noise

    def _answer(self, status: int, content: Any) -> None:
        data = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        if self.server.retry_after:
            self.send_header("Retry-After", self.server.retry_after)
        self.end_headers()
        self.wfile.write(data)


@contextmanager
def stub() -> Iterator[Stub]:
    """Run a stub."""
    server = Stub()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
