"""The tools for agents, called by the client of the Model Context Protocol: HTTP in both eras, and standard input."""

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from indexing.corpora.chunked import chunk_document
from indexing.corpora.chunking import Chunking
from indexing.documents import Document
from pipelines.build.job import build_collection
from pipelines.service.config import ServeConfig
from pipelines.service.keys import add_key
from service_tests import serving

mcp = pytest.importorskip("mcp")

ROOT = Path(__file__).parents[3]


def ask(target, *calls, **options):
    """Return the client's protocol version, its tools, and the result of each call."""

    async def run():
        async with mcp.Client(target, **options) as client:
            tools = (await client.list_tools()).tools
            results = [await client.call_tool(name, arguments) for name, arguments in calls]
            return client.session.protocol_version, tools, results

    return asyncio.run(run())


CALLS = (
    ("search", {"query": "singular matrix", "k": 2}),
    ("search", {"query": "notes on bread", "k": 20, "filter": {"topic": "bread"}}),
    ("get_document", {"doc_id": "svd"}),
    ("list_collections", {}),
    ("explain", {"query": "singular matrix", "doc_id": "svd"}),
    ("search", {"query": "x", "collection": "other"}),
    ("search", {"query": "x", "filter": {"colour": 1}}),
    ("get_document", {"doc_id": "nothing"}),
)


def check(results, documents):
    found, filtered, text, listed, why, unknown, wrong, missing = results
    hits = found.structured_content["hits"]
    assert hits[0]["doc_id"] == "svd" and found.structured_content["relevant"]
    assert "doc_id: svd" in found.content[0].text and "<document>" in found.content[0].text
    assert found.structured_content["next_cursor"] == "2"
    assert {hit["metadata"]["topic"] for hit in filtered.structured_content["hits"]} == {"bread"}
    assert text.structured_content["text"] == documents[0].text and text.structured_content["next_start"] is None
    assert listed.structured_content["collections"][0]["documents"] == len(documents)
    assert why.structured_content["rank"] == 1 and why.structured_content["leg_ranks"]["bm25"] == 1
    assert why.structured_content["explanation"]["legs"]["bm25"]["terms"]
    assert unknown.is_error and "there are notes" in unknown.content[0].text
    assert wrong.is_error and "colour" in wrong.content[0].text
    assert missing.is_error and "search returned" in missing.content[0].text


@pytest.mark.parametrize("mode", ["auto", "legacy"])
def test_tools_answer_over_http_in_both_eras(server, documents, mode):
    version, tools, results = ask(f"{server}/mcp", *CALLS, mode=mode)

    assert (version >= "2026") == (mode == "auto")
    assert {tool.name for tool in tools} == {"search", "get_document", "list_collections", "explain"}
    assert all(tool.annotations.read_only_hint and tool.output_schema for tool in tools)
    check(results, documents)


def test_tools_answer_on_standard_input(shared_words, documents):
    arguments = ["-m", "pipelines.cli", "mcp", str(shared_words)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = mcp.StdioServerParameters(command=sys.executable, args=arguments, env=environment, cwd=str(ROOT))

    _, tools, results = ask(process, *CALLS, read_timeout_seconds=120)

    assert len(tools) == 4
    check(results, documents)


def test_standard_output_has_only_messages(shared_words):
    search = {"name": "search", "arguments": {"query": "bread"}}
    start = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}
    messages = [
        {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": start},
        {"jsonrpc": "2.0", "method": "notifications/initialized"},
        {"jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": search},
    ]
    process = subprocess.Popen(
        [sys.executable, "-m", "pipelines.cli", "mcp", str(shared_words)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    for message in messages:
        process.stdin.write(json.dumps(message) + "\n")
    process.stdin.flush()
    lines = [process.stdout.readline(), process.stdout.readline()]
    rest = process.communicate(timeout=60)[0]

    assert [json.loads(line)["id"] for line in lines] == [1, 2] and rest == ""
    assert process.returncode == 0


def test_nothing_relevant_is_said_in_words(server):
    _, _, results = ask(
        f"{server}/mcp",
        ("search", {"query": "bread", "filter": {"year": 3000}}),
        ("search", {"query": "qwertyuiop zxcvbnm"}),
    )

    nothing, unrelated = results
    assert nothing.content[0].text.startswith("Nothing relevant found") and not nothing.is_error
    assert not unrelated.structured_content["relevant"] and "may be unrelated" in unrelated.content[0].text


def test_a_cursor_continues_and_long_texts_are_cut(server):
    _, _, results = ask(
        f"{server}/mcp",
        ("search", {"query": "notes on bread", "k": 4}),
        ("search", {"query": "notes on bread", "k": 2, "cursor": "2"}),
        ("get_document", {"doc_id": "svd", "max_chars": 100, "start": 10}),
    )

    whole, second, part = results
    assert second.structured_content["hits"] == whole.structured_content["hits"][2:4]
    assert part.structured_content["text"].startswith(("Factorises a matrix into singular")[10:])


def test_agents_need_a_key_where_keys_are_in_use(shared_collection, tmp_path):
    key = add_key(tmp_path / "keys.yaml", "read")
    config = ServeConfig(keys=str(tmp_path / "keys.yaml")).with_collections([str(shared_collection)])
    message = {"jsonrpc": "2.0", "id": 1, "method": "ping"}
    headers = {"Accept": "application/json, text/event-stream"}
    with serving(config) as (url, _):
        refused = httpx.post(f"{url}/mcp", json=message, headers=headers)
        foreign = httpx.post(
            f"{url}/mcp", json=message, headers={**headers, "Authorization": f"Bearer {key}", "Origin": "https://evil"}
        )
        answered = httpx.post(f"{url}/mcp", json=message, headers={**headers, "Authorization": f"Bearer {key}"})

    assert (refused.status_code, foreign.status_code, answered.status_code) == (401, 403, 200)


def test_a_document_in_chunks_is_read_and_explained_by_the_id_that_search_returns(tmp_path):
    long = Document("guide", " ".join(f"Chapter {number} is about ovens." for number in range(40)) + " Bread bakes.")
    short = Document("steel", "Steel melts in ovens.")
    chunks = [chunk for document in (long, short) for chunk in chunk_document(document, Chunking(size=20))]
    build_collection(chunks, tmp_path / "books", show_progress=False)
    config = ServeConfig(writable=True).with_collections([str(tmp_path / "books")])
    with serving(config) as (server, _):
        books = f"{server}/v1/collections/books"
        calls = (
            ("search", {"query": "bread", "k": 2}),
            ("get_document", {"doc_id": "guide", "max_chars": 8000}),
            ("explain", {"query": "bread ovens", "doc_id": "guide"}),
            ("explain", {"query": "melts", "doc_id": "guide"}),
            ("get_document", {"doc_id": "nothing"}),
        )
        _, _, (found, text, why, absent, missing) = ask(f"{server}/mcp", *calls)
        assert [hit["doc_id"] for hit in found.structured_content["hits"]] == ["guide"]
        assert text.structured_content["text"] == long.text
        assert httpx.get(f"{books}/documents/guide").json()["text"] == long.text
        assert httpx.get(f"{books}/documents/steel").json()["text"] == short.text
        assert why.structured_content["rank"] == why.structured_content["leg_ranks"]["bm25"] == 1
        assert why.structured_content["explanation"]["legs"]["bm25"]["terms"]
        assert not absent.structured_content["found"] and missing.is_error
        assert httpx.delete(f"{books}/documents/guide").is_success
        assert httpx.get(f"{books}/documents/guide").status_code == 404
        assert httpx.post(f"{books}/search", json={"query": "bread"}).json()["hits"] == []
        assert httpx.get(f"{books}/documents/steel").is_success
