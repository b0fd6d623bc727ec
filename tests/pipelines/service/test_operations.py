"""Keys, logs, health, writes and the graceful stop of a service."""

import json
import logging
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from opentelemetry import trace

from indexing.errors import InputError
from pipelines.cli import main
from pipelines.service.config import ServeConfig
from pipelines.service.keys import add_key, load_keys
from service_tests import serving

ROOT = Path(__file__).parents[3]
SEARCH = "/v1/collections/notes/search"


@pytest.fixture
def log():
    lines = []

    def keep(record):
        line = json.loads(record.getMessage())
        if line["event"] == "request":
            lines.append(line)

    handler = logging.Handler()
    handler.emit = keep
    logger = logging.getLogger("pipelines.service.access")
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    yield lines
    logger.removeHandler(handler)


@pytest.fixture
def keys(tmp_path):
    path = tmp_path / "keys.yaml"
    return path, add_key(path, "read", note="shop"), add_key(path, "write", expires="2090-01-01")


def wait_until(condition, seconds=30):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def bearer(key):
    return {"Authorization": f"Bearer {key}"}


def test_a_key_is_stored_as_its_digest_only(keys, capsys):
    path, read, write = keys

    assert main(["key", str(path), "--scope", "write"]) == 0

    third = capsys.readouterr().out.strip()
    stored = path.read_text()
    assert path.stat().st_mode & 0o777 == 0o600
    assert not any(key in stored for key in (read, write, third))
    assert [key.scope for key in load_keys(path)] == ["read", "write", "write"]


def test_keys_decide_what_a_request_may_do(shared_words, keys, log):
    path, read, write = keys
    config = ServeConfig(keys=str(path)).with_collections([str(shared_words)])
    with serving(config) as (url, _), httpx.Client(base_url=url, timeout=60) as client:
        body = {"query": "secret words", "k": 1}

        statuses = [
            client.post(SEARCH, json=body, headers=headers).status_code
            for headers in ({}, bearer("rtr_wrong"), bearer(read), {"X-API-Key": read}, bearer(write))
        ]
        denied = client.put("/v1/collections/notes/documents/x", json={"text": "t"}, headers=bearer(read))
        missing = client.post(SEARCH, json=body)
        open_routes = [client.get(path).status_code for path in ("/livez", "/readyz", "/metrics")]

    assert statuses == [401, 401, 200, 200, 200]
    assert denied.status_code == 403 and denied.json()["error"]["hint"] == "use a key with the scope write"
    assert missing.headers["www-authenticate"] == "Bearer"
    assert open_routes == [200, 200, 401]
    written = json.dumps(log)
    assert read not in written and write not in written and "secret words" not in written
    assert {line.get("key_id") for line in log if line["status"] == 200} >= {
        load_keys(path)[0].id,
        load_keys(path)[1].id,
    }


def test_an_expired_key_is_refused(shared_words, tmp_path):
    key = add_key(tmp_path / "keys.yaml", "read", expires="2020-01-01")
    config = ServeConfig(keys=str(tmp_path / "keys.yaml")).with_collections([str(shared_words)])
    with serving(config) as (url, _):
        assert httpx.get(f"{url}/v1/collections", headers=bearer(key)).status_code == 401


def test_an_address_that_others_reach_needs_keys(shared_words):
    config = ServeConfig(host="0.0.0.0").with_collections([str(shared_words)])

    with pytest.raises(InputError, match="no API keys are set"):
        config.check()

    config.changed(allow_anonymous=True).check()


def test_each_request_has_an_id_and_a_line_in_the_log(client, log):
    given = client.post(SEARCH, json={"query": "bread", "k": 2}, headers={"X-Request-ID": "a.b-1"})
    made = client.post(SEARCH, json={"query": "bread", "k": 2}, headers={"X-Request-ID": "two words"})

    assert given.headers["x-request-id"] == given.json()["request_id"] == "a.b-1"
    assert re.fullmatch("[0-9a-f]{32}", made.headers["x-request-id"])
    wait_until(lambda: any(line["request_id"] == "a.b-1" for line in log))  # written after the answer was sent
    line = next(line for line in log if line["request_id"] == "a.b-1")
    assert line["route"] == "/v1/collections/{name}/search" and line["status"] == 200 and line["hits"] == 2
    assert line["collection"] == "notes" and "bm25.search" in line["stages"] and line["duration_ms"] > 0
    assert "query" not in line


class Recorder(trace.NoOpTracer):
    """Keeps the spans that were started, with the attributes and the context of each."""

    def __init__(self):
        self.spans = []

    @contextmanager
    def start_as_current_span(self, name, context=None, attributes=None, **options):
        span = trace.NonRecordingSpan(trace.get_current_span(context).get_span_context())
        entry = {"name": name, "trace": span.get_span_context().trace_id, **(attributes or {})}
        span.set_attribute = entry.__setitem__
        span.update_name = lambda name: entry.update(name=name)
        self.spans.append(entry)
        with trace.use_span(span):
            yield span


def test_requests_and_searches_have_spans(client, log, monkeypatch):
    recorder = Recorder()
    monkeypatch.setattr("pipelines.service.tracing.tracer", recorder)
    parent = "4bf92f3577b34da6a3ce929d0e0e4736"

    client.post(SEARCH, json={"query": "bread", "k": 2}, headers={"traceparent": f"00-{parent}-00f067aa0ba902b7-01"})

    wait_until(lambda: any(line.get("trace_id") == parent for line in log))  # written after the answer was sent
    request, search = (span for span in recorder.spans if span["trace"] == int(parent, 16))
    assert request["name"] == "POST /v1/collections/{name}/search" and request["http.response.status_code"] == 200
    assert search["name"] == "retrieval notes" and search["gen_ai.retrieval.top_k"] == 2
    assert search["retrieve.stage.bm25.search_ms"] > 0


def test_another_host_name_is_refused_on_loopback(client):
    answer = client.get("/v1/collections", headers={"Host": "evil.example"})

    assert answer.status_code == 421 and "access-control-allow-origin" not in answer.headers


def test_pages_of_listed_origins_only_may_call(shared_words):
    config = ServeConfig(cors_origins=("https://app.example",)).with_collections([str(shared_words)])
    with serving(config) as (url, _):
        allowed, other = (
            httpx.get(f"{url}/v1/collections", headers={"Origin": origin})
            for origin in ("https://app.example", "https://evil.example")
        )

    assert allowed.headers["access-control-allow-origin"] == "https://app.example"
    assert "access-control-allow-origin" not in other.headers


def test_writes_are_visible_idempotent_and_in_order(collection):
    config = ServeConfig(writable=True).with_collections([str(collection)])
    with serving(config) as (url, _), httpx.Client(base_url=url, timeout=60) as client:
        documents = "/v1/collections/notes/documents"
        body = {"text": "A zeppelin floats over the lake.", "metadata": {"topic": "air", "year": 1930}}
        before = client.get("/v1/collections/notes").json()["documents"]

        added = [client.put(f"{documents}/zep/1", json=body).json()["upserted"] for _ in range(2)]
        found = client.post(SEARCH, json={"query": "zeppelin", "k": 1, "filter": {"topic": "air"}}).json()["hits"]
        many = client.put(documents, json={"documents": [{"doc_id": "y", "text": "A submarine dives."}]})
        listed = client.get("/v1/collections/notes").json()["documents"]
        deleted = [client.delete(f"{documents}/zep/1").json()["deleted"] for _ in range(2)]
        gone = client.post(SEARCH, json={"query": "zeppelin", "k": 30}).json()["hits"]
        by_ids = client.post("/v1/collections/notes/delete", json={"ids": ["y", "unknown"]}).json()["deleted"]
        by_filter = client.post("/v1/collections/notes/delete", json={"filter": {"topic": "bread"}}).json()["deleted"]
        refused = [
            client.post("/v1/collections/notes/delete", json=wrong).status_code
            for wrong in ({}, {"filter": {}}, {"ids": [], "filter": {"year": 1}})
        ]
        wrong_type = client.put(f"{documents}/w", json={"text": "t", "metadata": {"year": "soon"}})

        assert added == [1, 1] and many.json()["upserted"] == 1 and listed == before + 2
        assert found[0]["doc_id"] == "zep/1" and deleted == [1, 0]
        assert "zep/1" not in {hit["doc_id"] for hit in gone}
        assert (by_ids, by_filter, refused, wrong_type.status_code) == (1, 8, [422] * 3, 422)
        assert client.get(f"{documents}/w").status_code == 404
        assert client.get("/v1/collections/notes").json()["documents"] == before - 8


def launch(collection, *options):
    """Start `retrieve serve` in a process of its own; return it and its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = subprocess.Popen(
        [sys.executable, "-m", "pipelines.cli", "serve", str(collection), "--port", str(port), *options],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    return process, f"http://127.0.0.1:{port}"


@contextmanager
def started(collection, *options):
    """Run `retrieve serve`; provide its process and its address once it is ready."""
    process, url = launch(collection, *options)
    try:
        limit = time.monotonic() + 120
        while not is_ready(url):
            assert process.poll() is None and time.monotonic() < limit, process.stderr.read()
            time.sleep(0.02)
        yield process, url
    finally:
        process.kill()
        process.communicate()


def is_ready(url):
    try:
        return httpx.get(f"{url}/readyz").status_code == 200
    except httpx.TransportError:
        return False


def test_a_server_that_loads_lives_and_is_not_ready(shared_collection):
    process, url = launch(shared_collection)
    statuses, limit = [], time.monotonic() + 240
    try:
        with httpx.Client(base_url=url, timeout=240) as client:
            while not (statuses and statuses[-1] == (200, 200)) and time.monotonic() < limit:
                try:
                    answers = [client.get("/livez"), client.get("/readyz")]
                except httpx.ConnectError:
                    time.sleep(0.02)
                    continue
                if not statuses:
                    early = client.post(SEARCH, json={"query": "bread"})
                statuses.append(tuple(answer.status_code for answer in answers))
    finally:
        process.kill()
        process.communicate()

    assert set(statuses) == {(200, 503), (200, 200)}
    assert early.status_code == 503 and early.json()["error"]["message"] == "the server is loading"
    assert early.headers["retry-after"] == "1"


def test_what_cannot_be_opened_is_one_line(tmp_path, capsys):
    assert main(["serve", str(tmp_path / "nothing"), "--port", "0"]) == 1

    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ") and "is not a collection" in line


def test_an_address_that_cannot_be_listened_on_is_one_line(shared_words, capsys):
    with socket.create_server(("127.0.0.1", 0)) as used:
        port = used.getsockname()[1]
        statuses = [
            main(["serve", str(shared_words), "--port", str(port)]),
            main(["serve", str(shared_words), "--port", "99999"]),
            main(["serve", str(shared_words), "--host", "192.0.2.1", "--allow-anonymous", "--port", "0"]),
        ]

    in_use, too_high, foreign = capsys.readouterr().err.splitlines()
    assert statuses == [1, 1, 1]
    assert in_use.startswith(f"error: cannot listen on 127.0.0.1:{port}: another program uses this port")
    assert too_high == "error: port must be from 0 to 65535, not 99999"
    assert foreign.startswith("error: cannot listen on 192.0.2.1:0: ")


def test_a_stopped_server_answers_every_request_that_it_accepted(shared_words, documents):
    answered, refused, stop = [], [], threading.Event()

    def ask(number):
        while not stop.is_set():
            try:
                answer = httpx.post(f"{url}{SEARCH}", json={"query": f"bread {number}", "k": 3}, timeout=60)
                answered.append((answer.status_code, len(answer.json().get("hits", ()))))
            except (httpx.ConnectError, httpx.RemoteProtocolError, httpx.ReadError) as error:
                refused.append(error)
                return

    with started(shared_words) as (process, url), ThreadPoolExecutor(8) as pool:
        asking = [pool.submit(ask, number) for number in range(8)]
        wait_until(lambda: len(answered) > 50)
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=60)
        stop.set()
        for each in asking:
            each.result()

    assert process.returncode == 0, err
    assert set(answered) == {(200, 3)}
    logged = [json.loads(line) for line in out.splitlines()]
    listening, ready = (next(line for line in logged if line["event"] == event) for event in ("listening", "ready"))
    assert listening["url"] == url and ready["collections"] == {"notes": len(documents)} and ready["memory_mb"] > 50
    searched = [line for line in logged if line.get("route", "").endswith("/search")]
    assert len(searched) == len(answered), "each request of the log has its answer"


def test_a_killed_server_answers_as_before_and_a_second_signal_ends_it_at_once(words):
    kestrel = {"query": "kestrel", "k": 3}
    with started(words, "--writable") as (process, url), httpx.Client(base_url=url, timeout=60) as client:
        document = {"text": "A kestrel hovers."}
        client.put("/v1/collections/notes/documents/k", json=document).raise_for_status()
        before = client.post(SEARCH, json=kestrel).json()["hits"]
        process.kill()
        process.communicate()

    with started(words, "--writable") as (process, url):
        after = httpx.post(f"{url}{SEARCH}", json=kestrel, timeout=60).json()["hits"]
        # An open request would delay the stop until the limit of 30 seconds.
        with socket.create_connection(("127.0.0.1", int(url.rsplit(":", 1)[1]))) as open_request:
            open_request.sendall(
                b"POST /v1/collections/notes/search HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n"
            )
            wait_until(lambda: "retrieve_requests_in_flight 2.0" in httpx.get(f"{url}/metrics").text)
            process.send_signal(signal.SIGTERM)
            wait_until(lambda: not is_ready(url))
            assert process.poll() is None
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=10)

    assert after == before and before[0]["doc_id"] == "k"
    assert process.returncode == 128 + signal.SIGTERM


HELP = """
import sys, pipelines.cli
try:
    pipelines.cli.main(["--help"])
except SystemExit:
    print("LOADED", [name for name in ("starlette", "uvicorn", "mcp", "prometheus_client") if name in sys.modules])
"""


def test_the_command_line_does_not_import_the_service():
    done = subprocess.run([sys.executable, "-c", HELP], cwd=ROOT, capture_output=True, text=True, check=True)

    assert "LOADED []" in done.stdout and "serve" in done.stdout
