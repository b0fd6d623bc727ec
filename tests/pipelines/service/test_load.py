"""A service under load: bounded queues, cancelled requests, fuzzed requests, and a collection that others change."""

import asyncio
import random
import threading
import time

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from indexing.collection.writer import CollectionWriter
from indexing.documents import Document
from pipelines.service.config import Limits, ServeConfig
from service_tests import serving

SEARCH = "/v1/collections/notes/search"


def ask_all(url, bodies, **options):
    async def run():
        limits = httpx.Limits(max_connections=len(bodies))
        async with httpx.AsyncClient(base_url=url, timeout=120, limits=limits) as client:
            return await asyncio.gather(*(client.post(SEARCH, json=body, **options) for body in bodies))

    return asyncio.run(run())


def test_concurrent_searches_are_answered_together_and_as_alone(server, client):
    queries = [f"{topic} number {number}" for number in range(20) for topic in ("bread", "networks")]
    alone = [client.post(SEARCH, json={"query": query, "k": 3}).json()["hits"] for query in queries]

    answers = ask_all(server, [{"query": query, "k": 3} for query in queries])

    for answer, expected in zip(answers, alone, strict=True):
        hits = answer.json()["hits"]
        assert [hit["doc_id"] for hit in hits] == [hit["doc_id"] for hit in expected]
        assert [hit["score"] for hit in hits] == pytest.approx([hit["score"] for hit in expected], abs=1e-5)


def test_a_full_queue_refuses_and_recovers(shared_collection):
    limits = Limits(waiting=4, running=1, batch_requests=1)
    with serving(ServeConfig(limits=limits).with_collections([str(shared_collection)])) as (url, service):
        answers = ask_all(url, [{"query": f"bread {number}", "k": 3} for number in range(80)])
        statuses = {answer.status_code for answer in answers}
        refused = next(answer for answer in answers if answer.status_code == 503)
        after = httpx.post(f"{url}{SEARCH}", json={"query": "bread", "k": 3}, timeout=60)
        metrics = httpx.get(f"{url}/metrics").text

        assert statuses == {200, 503}
        assert 1 <= int(refused.headers["retry-after"]) <= 30 and "waiting" in refused.json()["error"]["message"]
        assert after.status_code == 200 and len(service.searches["notes"]) == 0
        assert (
            f'retrieve_rejected_total{{reason="queue full"}} {sum(a.status_code == 503 for a in answers)}.0' in metrics
        )
        assert 'retrieve_queue_size{work="search notes"} 0.0' in metrics


def test_a_deadline_is_kept(client):
    late = client.post(SEARCH, json={"query": "bread"}, headers={"X-Timeout-Ms": "1"})
    rerank = {"query": "bread", "reranker": "late-interaction"}
    in_time = client.post(SEARCH, json=rerank, headers={"X-Timeout-Ms": "20000"})
    wrong = client.post(SEARCH, json={"query": "bread"}, headers={"X-Timeout-Ms": "soon"})

    assert (late.status_code, in_time.status_code, wrong.status_code) == (504, 200, 400)


def test_cancelled_requests_leave_nothing_behind(shared_collection):
    with serving(ServeConfig(limits=Limits(running=1)).with_collections([str(shared_collection)])) as (url, service):
        ask_all(url, [{"query": f"bread {number}"} for number in range(20)])
        threads = threading.active_count()

        async def give_up():
            async with httpx.AsyncClient(base_url=url, limits=httpx.Limits(max_connections=100)) as client:
                for _ in range(5):
                    tasks = [
                        asyncio.create_task(client.post(SEARCH, json={"query": f"yeast {number}", "explain": True}))
                        for number in range(100)
                    ]
                    await asyncio.sleep(0.05)
                    for task in tasks:
                        task.cancel()
                    await asyncio.gather(*tasks, return_exceptions=True)

        asyncio.run(give_up())
        limit = time.monotonic() + 60
        batcher = service.searches["notes"]
        while (len(batcher) or batcher.running) and time.monotonic() < limit:
            time.sleep(0.05)
        answer = httpx.post(f"{url}{SEARCH}", json={"query": "bread", "k": 2}, timeout=60)

        assert (len(batcher), batcher.running, answer.status_code) == (0, 0, 200)
        assert threading.active_count() <= threads


def test_many_configurations_leave_few_threads(shared_collection):
    with (
        serving(ServeConfig().with_collections([str(shared_collection)])) as (url, _),
        httpx.Client(timeout=60) as client,
    ):
        before = threading.active_count()
        for depth in range(1, 41):
            answer = client.post(f"{url}{SEARCH}", json={"query": "bread", "depth": depth})
            assert answer.status_code == 200
        assert threading.active_count() < before + 50


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


def of_schema(schema):
    """Return a strategy of values that a schema permits, mixed with values that it does not."""
    if "anyOf" in schema:
        return st.one_of([of_schema(each) for each in schema["anyOf"]])
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    plain = {
        "string": st.text(max_size=30) | st.sampled_from(["bread", "bm25", "rrf", "late-interaction", "none"]),
        "integer": st.integers(-2, 30) | st.sampled_from([10**9, 2**70]),
        "number": st.floats(-2, 2) | st.just(1e300),
        "boolean": st.booleans(),
        "null": st.none(),
    }
    kind = schema.get("type")
    if kind == "array":
        return st.lists(of_schema(schema["items"]), max_size=4)
    if kind == "object" and schema.get("properties"):
        fields = {name: of_schema(each) for name, each in schema["properties"].items()}
        needed = {name: fields.pop(name) for name in schema["required"]}
        return st.fixed_dictionaries(needed, optional=fields)
    return plain.get(kind, VALUES)


def test_no_request_of_the_openapi_document_fails_the_server(collection, tiny_cross_encoder):
    config = ServeConfig(writable=True, judge=str(collection.parent / "q.tsv")).with_collections([str(collection)])
    with serving(config) as (url, _), httpx.Client(base_url=url, timeout=120) as client:
        document = client.get("/openapi.json").json()
        operations = [
            (method, path, operation)
            for path, methods in document["paths"].items()
            for method, operation in methods.items()
        ]
        unread = {"/metrics", "/page.js", "/page.css"}
        statuses = {}

        @settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
        @given(st.data())
        def fuzz(data):
            method, path, operation = data.draw(st.sampled_from(operations))
            if path in unread:
                return
            name = data.draw(st.sampled_from(["notes", "notes", "notes", "other", "%00", "日本"]))
            path = path.replace("{name}", name).replace("{id}", data.draw(st.sampled_from(["svd", "a/b", "%FF", "ü"])))
            options = {}
            if "requestBody" in operation:
                schema = operation["requestBody"]["content"]["application/json"]["schema"]
                options["json"] = data.draw(of_schema(schema) if random.random() < 0.9 else VALUES)
            answer = client.request(method.upper(), path, **options)
            statuses.setdefault(answer.status_code, 0)
            statuses[answer.status_code] += 1
            assert answer.status_code < 500, (method, path, options, answer.text)
            assert str(answer.status_code) in operation["responses"] or answer.status_code == 405

        fuzz()
        assert statuses.get(200, 0) > 5 and statuses.get(422, 0) > 5, statuses


def test_what_another_process_writes_appears_without_a_failed_request(collection, minilm):
    config = ServeConfig(refresh_seconds=0.1).with_collections([str(collection)])
    with serving(config) as (url, _):
        answers, stop = [], threading.Event()

        def ask():
            with httpx.Client(base_url=url, timeout=60) as client:
                while not stop.is_set():
                    answers.append(client.post(SEARCH, json={"query": "bread falcon", "k": 5}))

        asking = [threading.Thread(target=ask) for _ in range(4)]
        for thread in asking:
            thread.start()
        with CollectionWriter.open(collection, encoders={"dense": minilm}) as writer:
            for turn in range(6):
                writer.upsert([Document(f"falcon{turn}", f"A falcon dives, the {turn}th time.")])
                writer.delete([f"n{turn}"])
                writer.commit()
                if turn % 2:
                    writer.compact()
        limit, seen = time.monotonic() + 30, set()
        while time.monotonic() < limit and len(seen) < 6:
            hits = httpx.post(f"{url}{SEARCH}", json={"query": "falcon dives", "k": 40}, timeout=60).json()["hits"]
            seen = {hit["doc_id"] for hit in hits if hit["doc_id"].startswith("falcon")}
            gone = {hit["doc_id"] for hit in hits} & {f"n{turn}" for turn in range(6)}
            time.sleep(0.05)
        stop.set()
        for thread in asking:
            thread.join()

        assert {answer.status_code for answer in answers} == {200}
        assert (len(seen), gone) == (6, set())


def test_the_cache_never_answers_from_an_older_state(collection, minilm):
    (collection / "search.yaml").write_text("cache: 100\n")
    config = ServeConfig(refresh_seconds=0.1).with_collections([str(collection)])
    with serving(config) as (url, _), httpx.Client(base_url=url, timeout=60) as client:
        body = {"query": "kestrel hovering", "k": 3}
        client.post(SEARCH, json=body)
        cached = client.post(SEARCH, json=body).json()

        with CollectionWriter.open(collection, encoders={"dense": minilm}) as writer:
            writer.upsert([Document("kestrel", "A kestrel is hovering.")])
        limit, answer = time.monotonic() + 30, cached
        while answer["sequence"] == cached["sequence"] and time.monotonic() < limit:
            answer = client.post(SEARCH, json=body).json()
            found = "kestrel" in {hit["doc_id"] for hit in answer["hits"]}
            assert found == (answer["sequence"] > cached["sequence"]), "an answer and its sequence belong together"

        assert cached["cached"] and answer["hits"][0]["doc_id"] == "kestrel"
