"""Throughput of `retrieve serve` under concurrent clients, beside its own pipeline and a plain server."""

import asyncio
import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from benchmarks.speed.measure import Row, timed_row

ROOT = Path(__file__).resolve().parents[2]

PLAIN_SERVER = """
import sys
import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel
from sentence_transformers import SentenceTransformer

app = FastAPI()
model = SentenceTransformer(sys.argv[1])


class Texts(BaseModel):
    inputs: list[str]


@app.post("/embed")
def embed(body: Texts):
    return model.encode(body.inputs, normalize_embeddings=True).tolist()


@app.get("/readyz")
def ready():
    return {}


uvicorn.run(app, port=int(sys.argv[2]), log_level="warning")
"""
"""The server that a team writes first: FastAPI runs `embed` in its threads, one request at a time each."""


def compare_searches(collection: str, queries: Sequence[str], *, clients: int, seconds: float) -> list[Row]:
    """Time searches by concurrent clients beside the same pipeline, called for one query at a time."""
    from pipelines import SearchPipeline

    bodies = [json.dumps({"query": query, "k": 10}).encode() for query in queries]
    with SearchPipeline.open(collection) as pipeline:
        expected = {query: [hit.doc_id for hit in pipeline.search(query, 10)] for query in queries[:50]}
        start, alone = time.perf_counter(), 0
        while time.perf_counter() - start < seconds:
            pipeline.search(queries[alone % len(queries)], 10)
            alone += 1
        theirs = (time.perf_counter() - start) / alone
    with _server(["-m", "pipelines.cli", "serve", collection, "--port"]) as port:
        route = f"/v1/collections/{Path(collection).resolve().name}/search"
        asyncio.run(_load(port, route, bodies, clients, 2.0))
        latencies, failed, answers = asyncio.run(_load(port, route, bodies, clients, seconds))
    same = [
        [hit["doc_id"] for hit in answers[at]["hits"]] == expected[queries[at]]
        for at in answers
        if queries[at] in expected
    ]
    ours = seconds / len(latencies)
    detail = f"{1 / ours:.0f} requests/s, {_percentiles(latencies)}, {failed} failed"
    return [
        timed_row("serve", "pipeline, one at a time", f"{clients} clients", ours, theirs, float(np.mean(same)), detail)
    ]


def compare_encoding(model: str, texts: Sequence[str], *, clients: int, seconds: float) -> list[Row]:
    """Time embeddings over HTTP beside a plain server of FastAPI and sentence-transformers, both in float32."""
    bodies = [json.dumps({"inputs": [text]}).encode() for text in texts]
    config = ROOT / "results" / "serve-bench.json"
    config.parent.mkdir(exist_ok=True)
    config.write_text(json.dumps({"models": {"model": {"path": model, "kind": "dense", "dtype": "float32"}}}))
    commands = {
        "ours": ["-m", "pipelines.cli", "serve", "--config", str(config), "--port"],
        "theirs": ["-c", PLAIN_SERVER, model],
    }
    spent, vectors, details = {}, {}, []
    for side, command in commands.items():
        with _server(command) as port:
            asyncio.run(_load(port, "/embed", bodies, clients, 2.0))
            latencies, failed, answers = asyncio.run(_load(port, "/embed", bodies, clients, seconds))
        spent[side], vectors[side] = seconds / len(latencies), answers
        details.append(f"{side} {len(latencies) / seconds:.0f}/s, {_percentiles(latencies)}, {failed} failed")
    config.unlink()
    both = sorted(vectors["ours"].keys() & vectors["theirs"].keys())
    cosines = [float(np.dot(vectors["ours"][at][0], vectors["theirs"][at][0])) for at in both]
    peer = "FastAPI + sentence-transformers"
    return [
        timed_row("serve", peer, f"{clients} clients", spent["ours"], spent["theirs"], min(cosines), "; ".join(details))
    ]


async def _load(
    port: int, route: str, bodies: Sequence[bytes], clients: int, seconds: float
) -> tuple[list[float], int, dict[int, object]]:
    """Send requests from connections that each wait for their answer; return latencies, failures and answers."""
    latencies: list[float] = []
    answers: dict[int, object] = {}
    failed, end = 0, time.perf_counter() + seconds

    async def client(number: int) -> None:
        nonlocal failed
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=2**24)
        at = number
        while time.perf_counter() < end:
            body, start = bodies[at % len(bodies)], time.perf_counter()
            head = (
                f"POST {route} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
                f"Content-Length: {len(body)}\r\n\r\n"
            )
            writer.write(head.encode() + body)
            answer = (await reader.readuntil(b"\r\n\r\n")).lower()
            length = int(answer.split(b"content-length: ")[1].split(b"\r\n")[0])
            content = await reader.readexactly(length)
            latencies.append(time.perf_counter() - start)
            failed += not answer.startswith(b"http/1.1 200")
            if at < 50:
                answers[at] = json.loads(content)
            at += clients
        writer.close()

    await asyncio.gather(*map(client, range(clients)))
    return latencies, failed, answers


def _percentiles(latencies: Sequence[float]) -> str:
    middle, most = np.percentile(np.array(latencies) * 1000, [50, 99])
    return f"p50 {middle:.0f} ms, p99 {most:.0f} ms"


@contextmanager
def _server(command: Sequence[str]) -> Iterator[int]:
    """Run a server in a process of its own; the port is the last argument."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1"}
    process = subprocess.Popen(
        [sys.executable, *command, str(port)], env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    try:
        limit = time.monotonic() + 180
        while True:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=5):
                    break
            except OSError:
                if process.poll() is not None or time.monotonic() > limit:
                    process.kill()
                    raise RuntimeError(process.communicate()[1].decode()) from None
                time.sleep(0.2)
        yield port
    finally:
        process.terminate()
        process.communicate(timeout=60)
