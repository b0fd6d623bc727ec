"""A served collection that another process changes: no failed request, no text of another state, no stale answer."""

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import httpx
import pytest

from pipelines.service.config import ServeConfig
from service_tests import serving

ROOT = Path(__file__).parents[3]
SEARCH = "/v1/collections/notes/search"
QUERIES = ["falcon dives", "bread", "notes about networks"]

WRITER = """
import json, sys, time
from indexing.collection.writer import CollectionWriter
from indexing.documents import Document
from pipelines.models import collection_encoders

path, updates, seconds = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
each = 20

def log(changed):
    print(json.dumps([writer.documents.sequence, time.time(), changed]), flush=True)

with CollectionWriter.open(path, encoders=collection_encoders(path)) as writer:
    print("ready", flush=True)
    sys.stdin.readline()
    turns, start = updates // each, time.time()
    for turn in range(turns):
        names = [f"falcon{(turn * each + at) % 150}" for at in range(each)]
        texts = {name: f"A falcon dives, version {turn}." for name in names}
        writer.upsert([Document(name, text) for name, text in texts.items()])
        log(texts)
        gone = [f"falcon{(turn * 7) % 150}", names[0]]
        writer.delete(gone)
        writer.commit()
        log(dict.fromkeys(gone))
        if turn in (turns // 3, 2 * turns // 3):
            writer.compact()
        time.sleep(max(0, start + seconds * (turn + 1) / turns - time.time()))
"""


def changed_meanwhile(url, path, *, updates, seconds, clients=4):
    """Search while another process writes; return the answers, with when each was asked for, and the writes."""
    answers, stop = [], threading.Event()

    def ask(number):
        with httpx.Client(base_url=url, timeout=120) as client:
            while not stop.is_set():
                asked = time.time()
                body = {"query": QUERIES[number % len(QUERIES)], "k": 100}
                answers.append((asked, client.post(SEARCH, json=body)))
                number += 1

    process = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path), str(updates), str(seconds)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "ready\n"
    asking = [threading.Thread(target=ask, args=(number,)) for number in range(clients)]
    for thread in asking:
        thread.start()
    out, _ = process.communicate("go\n", timeout=240)
    writes = [json.loads(line) for line in out.splitlines()]
    deadline = time.monotonic() + 60
    with httpx.Client(base_url=url, timeout=60) as client:
        while client.get("/v1/collections/notes/info").json()["sequence"] < writes[-1][0]:
            assert time.monotonic() < deadline, "the last write never appears"
            time.sleep(0.05)
    stop.set()
    for thread in asking:
        thread.join()
    assert process.returncode == 0
    return answers, writes


def check(answers, writes):
    """Check the text of every hit; return the longest time for which a document was shown after its delete."""
    history, longest = {}, 0.0
    for sequence, when, changed in writes:
        for doc_id, text in changed.items():
            history.setdefault(doc_id, []).append((sequence, when, text))
    for asked, answer in answers:
        assert answer.status_code == 200, answer.text
        content = answer.json()
        assert not content["degraded"] and not content["failures"]
        for hit in content["hits"]:
            events = history.get(hit["doc_id"], [])
            texts = [text for sequence, _, text in events if text is not None and sequence <= content["sequence"]]
            assert texts[-1:] in ([], [hit["text"]]), (hit, content["sequence"], events)
            assert texts or not events, (hit, content["sequence"], events)
            before = [(when, text) for _, when, text in events if when <= asked]
            if before and before[-1][1] is None:
                longest = max(longest, asked - before[-1][0])
    return longest


def run(collection, *, updates, seconds, refresh):
    (collection / "search.yaml").write_text("cache: 1000\n")
    with serving(ServeConfig(refresh_seconds=refresh).with_collections([str(collection)])) as (url, service):
        answers, writes = changed_meanwhile(url, collection, updates=updates, seconds=seconds)
        failed = service.metrics.refresh_failures.labels("notes")._value.get()
    shown = check(answers, writes)
    contents = [answer.json() for _, answer in answers]
    states, cached = {content["sequence"] for content in contents}, sum(content["cached"] for content in contents)
    assert failed == 0 and cached and len(states) > 2
    return {"answers": len(answers), "cached": cached, "states": len(states), "seconds a deleted one was shown": shown}


def test_answers_belong_to_the_state_that_they_name(words):
    run(words, updates=120, seconds=2, refresh=0.05)


@pytest.mark.slow
def test_a_minute_of_writes_and_compactions_fails_no_request(collection):
    measured = run(collection, updates=1000, seconds=60, refresh=1.0)

    # Far beyond `refresh_seconds` and the time to open the new state.
    assert measured["seconds a deleted one was shown"] < 10, measured
