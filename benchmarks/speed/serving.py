"""Throughput of `retrieve serve` under concurrent clients and overload, beside its own pipeline and other servers."""

import asyncio
import json
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from benchmarks.speed.http_load import KEPT, Load, ServerProcess, closed_loop, leave, open_loop, server
from benchmarks.speed.measure import Row, timed_row

TURNS = 3
RECOVERY_SECONDS = 2.0
OVERLOAD = 10
CANCELLED = 500

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

INFINITY_SERVER = """
import sys
import uvicorn
from infinity_emb import create_server
from infinity_emb.args import EngineArgs

arguments = EngineArgs(
    model_name_or_path=sys.argv[1], served_model_name="model", engine="torch", device="cpu", dtype="float32",
    bettertransformer=False, compile=False,
)
uvicorn.run(create_server(engine_args_list=[arguments]), port=int(sys.argv[2]), log_level="warning")
"""


def compare_searches(collection: str, queries: Sequence[str], *, clients: int, seconds: float) -> list[Row]:
    """Time searches by concurrent clients beside the same pipeline, called for one query at a time, by turns.

    Then divide the clients between two processes, send ten times as many requests as were answered, and requests whose
    clients leave.
    """
    from pipelines import SearchPipeline

    bodies = [json.dumps({"query": query, "k": 10}).encode() for query in queries]
    route = f"/v1/collections/{Path(collection).resolve().name}/search"
    alone, served, spent = 0, Load(), 0.0
    with (
        SearchPipeline.open(collection) as pipeline,
        server(["-m", "pipelines.cli", "serve", collection, "--port"]) as process,
    ):
        expected = [[hit.doc_id for hit in pipeline.search(query, 10)] for query in queries[:KEPT]]
        asyncio.run(closed_loop(process.port, route, bodies, clients, 2.0))
        for _ in range(TURNS):
            start = time.perf_counter()
            while time.perf_counter() - start < seconds / TURNS:
                pipeline.search(queries[alone % len(queries)], 10)
                alone += 1
            spent += time.perf_counter() - start
            served.add(asyncio.run(closed_loop(process.port, route, bodies, clients, seconds / TURNS)))
        rows = [_two_processes(collection, process, route, bodies, clients, seconds / 3)]
        rows.append(_overload(process, route, bodies, clients, served.rate, seconds * 2 / 3))
        rows.append(_cancelled(process, route, bodies, clients, served.rate))
    same = [[hit["doc_id"] for hit in answer["hits"]] == expected[at] for at, answer in served.answers.items()]
    row = timed_row(
        "serve",
        "pipeline, one at a time",
        f"{clients} clients",
        1 / served.rate,
        spent / alone,
        float(np.mean(same)),
        f"{served}; alone {alone / spent:.0f}/s",
    )
    return [row, *rows]


def compare_encoding(
    model: str, texts: Sequence[str], *, clients: int, seconds: float, infinity: str | None = None
) -> list[Row]:
    """Time embeddings over HTTP beside other servers, by turns, all in float32.

    The others are a plain server of FastAPI and sentence-transformers, and infinity if the interpreter of an
    environment with infinity-emb is given.
    """
    bodies = {
        "/embed": [json.dumps({"inputs": [text]}).encode() for text in texts],
        "/embeddings": [json.dumps({"input": [text], "model": "model"}).encode() for text in texts],
    }
    peers = {"FastAPI + sentence-transformers": "/embed"} | ({"infinity": "/embeddings"} if infinity else {})
    with tempfile.TemporaryDirectory() as folder, ExitStack() as running:
        config = Path(folder) / "serve.json"
        config.write_text(json.dumps({"models": {"model": {"path": model, "kind": "dense", "dtype": "float32"}}}))
        ours = running.enter_context(server(["-m", "pipelines.cli", "serve", "--config", str(config), "--port"]))
        processes = {"ours": (ours, "/embed")}
        for peer, route in peers.items():
            started = (
                server(["-c", INFINITY_SERVER, model], ready="/health", python=infinity)
                if peer == "infinity" and infinity
                else server(["-c", PLAIN_SERVER, model])
            )
            processes[peer] = running.enter_context(started), route
        loads = {side: Load() for side in processes}
        for process, route in processes.values():
            asyncio.run(closed_loop(process.port, route, bodies[route], clients, 2.0))
        for _ in range(TURNS):
            for side, (process, route) in processes.items():
                loads[side].add(asyncio.run(closed_loop(process.port, route, bodies[route], clients, seconds / TURNS)))
    rows = []
    for peer in peers:
        both = sorted(loads["ours"].answers.keys() & loads[peer].answers.keys())
        cosines = [float(np.dot(_vector(loads["ours"].answers[at]), _vector(loads[peer].answers[at]))) for at in both]
        detail = f"ours {loads['ours']}; theirs {loads[peer]}"
        agreement = min(cosines, default=0.0)
        rows.append(
            timed_row(
                "serve", peer, f"{clients} clients", 1 / loads["ours"].rate, 1 / loads[peer].rate, agreement, detail
            )
        )
    return rows


def _vector(answer: object) -> "np.ndarray":
    vector = np.array(answer["data"][0]["embedding"] if isinstance(answer, dict) else answer[0])  # type: ignore[index]
    return vector / np.linalg.norm(vector)


def _two_processes(
    collection: str, one: ServerProcess, route: str, bodies: Sequence[bytes], clients: int, seconds: float
) -> Row:
    """Divide the clients between two processes, by turns with one process for all; with their memory."""
    alone, together = Load(), Load()
    with server(["-m", "pipelines.cli", "serve", collection, "--port"]) as two:

        async def both(seconds: float) -> None:
            halves = (closed_loop(each.port, route, bodies, clients // 2, seconds) for each in (one, two))
            first, second = await asyncio.gather(*halves)
            first.add(second)
            first.seconds /= 2
            together.add(first)

        asyncio.run(closed_loop(two.port, route, bodies, clients, 2.0))
        for _ in range(TURNS):
            alone.add(asyncio.run(closed_loop(one.port, route, bodies, clients, seconds / TURNS)))
            asyncio.run(both(seconds / TURNS))
        memory = one.held()["MB"], two.held()["MB"]
    detail = f"one {alone}; two {together}; {memory[0]} and {memory[1]} MB"
    return timed_row(
        "serve",
        "two processes",
        f"{clients} clients, two processes",
        1 / alone.rate,
        1 / together.rate,
        1.0,
        detail,
        (memory[0], sum(memory)),
    )


def _overload(
    process: ServerProcess, route: str, bodies: Sequence[bytes], clients: int, rate: float, seconds: float
) -> Row:
    """Send ten times the sustained rate; the ratio is the speed `RECOVERY_SECONDS` later to the speed before."""
    flood, memory = Load(), [process.held()["MB"]]
    for _ in range(TURNS):
        flood.add(asyncio.run(open_loop(process.port, route, bodies, OVERLOAD * rate, seconds / TURNS)))
        memory.append(process.held()["MB"])
    time.sleep(RECOVERY_SECONDS)
    after = asyncio.run(closed_loop(process.port, route, bodies, clients, 5.0))
    sent = sum(number for status, number in flood.statuses.items() if status != "not sent")
    good = sum(flood.statuses[status] for status in ("200", "429", "503"))
    detail = (
        f"{sent / flood.seconds:.0f} sent/s, {flood}; memory over time {', '.join(map(str, memory))} MB; "
        f"afterwards {after}"
    )
    return timed_row("serve", "itself before", f"{OVERLOAD}x overload", 1 / after.rate, 1 / rate, good / sent, detail)


def _cancelled(process: ServerProcess, route: str, bodies: Sequence[bytes], clients: int, rate: float) -> Row:
    """Leave before the answers; the agreement is 1 when no thread, handle or queue entry remains."""
    before = process.held()
    asyncio.run(leave(process.port, route, bodies, CANCELLED))
    limit = time.monotonic() + 30
    while (waiting := process.waiting()) and time.monotonic() < limit:
        time.sleep(0.1)
    time.sleep(1)
    held = process.held()
    clean = not waiting and all(held[name] <= before[name] for name in ("threads", "handles"))
    after = asyncio.run(closed_loop(process.port, route, bodies, clients, 3.0))
    detail = "; ".join([f"{name} {before[name]} before, {held[name]} after" for name in before])
    detail += f"; {waiting:.0f} waiting; afterwards {after}"
    return timed_row("serve", "itself before", f"{CANCELLED} cancelled", 1 / after.rate, 1 / rate, float(clean), detail)
