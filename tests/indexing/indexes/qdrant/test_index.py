import json
import shutil
import subprocess
import sys
import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from uuid import UUID

import numpy as np
import pytest
from qdrant_client.http.exceptions import ResponseHandlingException
from scipy import sparse

from indexing.errors import InputError, StorageError
from indexing.indexes.qdrant.back_off import BackOff, with_back_off
from indexing.indexes.qdrant.engine import point_id
from indexing.indexes.qdrant.index import BothRows, QdrantIndex
from indexing.indexes.qdrant.settings import QdrantServer

RNG = np.random.default_rng(0)


def ids(n: int) -> list[str]:
    return [f"d{number}" for number in range(n)]


def dense(n: int) -> np.ndarray:
    return RNG.standard_normal((n, 8)).astype(np.float32)


def weights(n: int) -> sparse.csr_matrix:
    return sparse.random(n, 20, 0.4, "csr", np.float32, RNG)


@pytest.fixture(params=["edge", "local"])
def engine(request: pytest.FixtureRequest) -> str:
    return request.param


def test_one_call_searches_both_vectors_and_fuses_them(tmp_path, engine):
    fields = {"year": "number"}
    with QdrantIndex.create(tmp_path / "index", 8, vocabulary=20, fields=fields, engine=engine) as index:
        vectors, terms, asked, asked_terms = dense(60), weights(60), dense(4), weights(4)
        metadata = [{"year": 2000 + number % 3} for number in range(60)]
        index.upsert(ids(60), BothRows(vectors, terms), metadata)

        for written in (None, {"year": 2001}):
            legs = [index.search(asked, 100, written), index.search(asked_terms, 100, written)]
            found = index.fused_search(asked, asked_terms, 10, written)
            for query, ranking in enumerate(found):
                sums: Counter[str] = Counter()
                for leg in legs:
                    sums.update({hit.doc_id: 1 / (60 + hit.rank) for hit in leg[query]})
                # At the cutoff Qdrant returns equal sums in any order.
                expected = [score for _, score in sums.most_common(10)]
                np.testing.assert_allclose(ranking.scores, expected, rtol=1e-5)
                assert [sums[doc_id] for doc_id in ranking.doc_ids] == pytest.approx(expected)
            assert written is None or {int(doc_id[1:]) % 3 for doc_id in found.doc_ids} == {1}

        by_score = index.fused_search(asked, asked_terms, 10, fusion="dbsf")
        assert by_score.counts.tolist() == [10] * 4
        assert by_score.doc_ids != found.doc_ids
        with pytest.raises(InputError, match="unknown fusion 'max'"):
            index.fused_search(asked, asked_terms, 10, fusion="max")
        with pytest.raises(InputError, match="as many rows"):
            index.fused_search(asked, asked_terms[:2], 10)


def test_points_must_have_all_their_vectors(tmp_path):
    says = "dense vectors of dimension 8 and weights over 20 terms"
    with QdrantIndex.create(tmp_path / "both", 8, vocabulary=20) as index, pytest.raises(InputError, match=says):
        index.upsert(ids(2), dense(2))
    with QdrantIndex.create(tmp_path / "dense", 8) as index:
        with pytest.raises(InputError, match="no sparse vectors"):
            index.search(weights(1), 3)
        with pytest.raises(InputError, match="2 ids for 3 rows"):
            index.upsert(ids(2), dense(3))
        with pytest.raises(InputError, match="2 ids, but metadata of 1 document"):
            index.upsert(ids(2), dense(2), metadata=[{}])


@pytest.mark.parametrize(
    "options", [{"quantization": name} for name in ("scalar", "product", "binary")] + [{"on_disk": True}]
)
def test_quantised_and_on_disk_indexes_give_whole_scores(tmp_path, options):
    rows = RNG.standard_normal((300, 64)).astype(np.float32)
    with QdrantIndex.create(tmp_path / "index", 64, **options) as index:
        index.upsert(ids(300), rows)
        index.optimize()
        found = index.search(rows[:5], 3)
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    for query, ranking in enumerate(found):
        assert ranking.doc_ids[0] == f"d{query}"
        chosen = [int(doc_id[1:]) for doc_id in ranking.doc_ids]
        np.testing.assert_allclose(ranking.scores, unit[chosen] @ unit[query], rtol=1e-5, atol=1e-6)


def test_ids_are_mapped_the_same_way_for_ever():
    assert point_id("d1") == "f87e6756-7f58-5fd1-b198-0cc793797f58"
    assert UUID(point_id("日本")).version == 5


def test_a_write_to_a_disk_that_is_nearly_full_is_refused(tmp_path, monkeypatch):
    """Edge's mapped files would end the process with a bus error."""
    index = QdrantIndex.create(tmp_path / "index", 8)
    index.upsert(ids(3), dense(3))
    free = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: free._replace(free=5 << 20))
    for write in (lambda: index.upsert(ids(5), dense(5)), lambda: index.delete(ids(1)), index.optimize, index.commit):
        with pytest.raises(StorageError, match=r"5 MB are free on its disk.*free some space"):
            write()
    with pytest.raises(StorageError, match="5 MB are free"):
        QdrantIndex.create(tmp_path / "other", 8)
    assert len(index) == 3 and index.search(dense(1), 2).counts.tolist() == [2]
    index.close()


def test_a_second_process_is_refused_with_the_remedy(tmp_path):
    program = (
        "import sys; from indexing.indexes.qdrant.index import QdrantIndex; from indexing.errors import StorageError\n"
        "try: QdrantIndex.open(sys.argv[1], read_only=True)\n"
        "except StorageError as error: print(error)"
    )
    with QdrantIndex.create(tmp_path / "index", 8):
        done = subprocess.run(
            [sys.executable, "-c", program, str(tmp_path / "index")],
            capture_output=True,
            text=True,
            check=True,
            cwd=Path(__file__).parents[4],
        )
        assert "one process per directory" in done.stdout and "QdrantServer(url=" in done.stdout
        with pytest.raises(StorageError, match="one process per directory"):
            QdrantIndex.open(tmp_path / "index")
    QdrantIndex.open(tmp_path / "index").close()


def test_what_an_unclean_end_leaves_is_there_again(tmp_path):
    program = (
        "import os, signal, sys, numpy as np; from indexing.indexes.qdrant.index import QdrantIndex\n"
        "index = QdrantIndex.create(sys.argv[1], 4); index.commit(sequence=3)\n"
        "index.upsert([f'd{n}' for n in range(50)], np.ones((50, 4))); os.kill(os.getpid(), signal.SIGKILL)"
    )
    subprocess.run([sys.executable, "-c", program, str(tmp_path / "index")], check=False, cwd=Path(__file__).parents[4])
    with QdrantIndex.open(tmp_path / "index") as index:
        assert index.sequence == 3
        index.upsert([f"d{n}" for n in range(60)], np.ones((60, 4)))
        assert len(index) == 60


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({}, "needs a dimension"),
        ({"dimension": 8, "metric": "euclid"}, "'cosine' or 'dot'"),
        ({"dimension": 8, "quantization": "int4"}, "'scalar', 'product', 'binary'"),
        ({"dimension": 8, "engine": "server"}, "with a server given"),
        ({"dimension": 8, "m": 0}, "m must be at least 1"),
    ],
)
def test_invalid_settings_are_refused(tmp_path, arguments, says):
    with pytest.raises(InputError, match=says):
        QdrantIndex.create(tmp_path / "index", **arguments)
    assert not (tmp_path / "index").exists()


class Moody(BaseHTTPRequestHandler):
    """Server for the part of Qdrant's HTTP API that a small upload uses; it fails as servers do under load."""

    requests: Counter[str]
    failures: dict[str, list[int]]
    keys: set[str | None]

    def _answer(self) -> None:
        size = int(self.headers.get("Content-Length", 0))
        self.rfile.read(size)
        what = f"{self.command} {self.path.partition('?')[0]}"
        self.requests[what] += 1
        self.keys.add(self.headers.get("api-key"))
        failures = self.failures.get(what, [])
        status = failures.pop(0) if failures else 200
        results = {
            "GET /collections/docs/exists": {"exists": False},
            "PUT /collections/docs": True,
            "POST /collections/docs/points/count": {"count": 300},
        }
        result = results.get(what, {"operation_id": 1, "status": "completed"})
        text = json.dumps({"time": 0.0, "status": "ok", "result": result}).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    do_GET = do_PUT = do_POST = _answer  # noqa: N815

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def moody(monkeypatch):
    monkeypatch.setattr("time.sleep", lambda _: None)
    handler = type("Handler", (Moody,), {"requests": Counter(), "failures": {}, "keys": set()})
    server = HTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    handler.url = f"http://127.0.0.1:{server.server_port}"
    yield handler
    server.shutdown()
    server.server_close()


@pytest.mark.filterwarnings("ignore:Api key is used with an insecure connection")
def test_an_upload_outlives_a_server_that_is_busy_for_a_while(tmp_path, moody):
    upsert = "PUT /collections/docs/points"
    moody.failures[upsert] = [503, 429, 200, 500]
    server = QdrantServer(moody.url, "docs", api_key="secret", shard_number=6, replication_factor=2)
    index = QdrantIndex.create(tmp_path / "index", 4, server=server)

    index.upsert(ids(300), np.ones((300, 4)))
    index.commit(sequence=5)

    assert moody.requests[upsert] == 2 + 3
    assert moody.keys == {"secret"}
    kept = (tmp_path / "index" / "settings.json").read_text()
    assert "secret" not in kept and json.loads(kept)["server"]["shard_number"] == 6
    index.close()


def test_a_server_that_stays_away_is_an_error_that_says_what_is_stored(tmp_path, moody):
    index = QdrantIndex.create(tmp_path / "index", 4, server=QdrantServer(moody.url, "docs"))
    moody.failures["PUT /collections/docs/points"] = [200, *[503] * 20]
    with pytest.raises(StorageError, match="256 of 300 documents of this call are stored"):
        index.upsert(ids(300), np.ones((300, 4)))
    moody.failures["PUT /collections/docs/points"] = [400]
    before = moody.requests["PUT /collections/docs/points"]
    with pytest.raises(StorageError, match="400"):
        index.upsert(ids(3), np.ones((3, 4)))
    assert moody.requests["PUT /collections/docs/points"] == before + 1


def test_an_error_that_will_not_pass_is_raised_at_once():
    calls = []

    def fails() -> None:
        calls.append(1)
        raise KeyError

    with pytest.raises(KeyError):
        with_back_off(fails)
    assert len(calls) == 1


def test_a_server_that_never_answers_is_asked_a_few_times_only(monkeypatch):
    waits, calls = [], []
    monkeypatch.setattr("indexing.indexes.qdrant.back_off.time.sleep", waits.append)
    back_off = BackOff()

    def unreachable() -> None:
        calls.append(1)
        raise ResponseHandlingException(ConnectionRefusedError("refused"))

    with pytest.raises(ResponseHandlingException):
        back_off(unreachable)
    assert len(calls) == 4 and 3.5 <= sum(waits) <= 5.25
    assert back_off(lambda: "an answer") == "an answer"
    with pytest.raises(ResponseHandlingException):
        back_off(unreachable)
    assert len(calls) == 4 + 7
