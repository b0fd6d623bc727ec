"""Deployments to a server: through the client's memory mode always, and to a real one where QDRANT_URL names it."""

import os
import threading
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
from qdrant_client import QdrantClient

from indexing.collection.manifest import Leg
from indexing.collection.reader import Collection
from indexing.collection.writer import CollectionWriter
from indexing.deployment import reader
from indexing.deployment.checking import compare_points
from indexing.deployment.places import ServerPlace, place_of
from indexing.deployment.reader import DeployedCollection
from indexing.documents import Document
from indexing.errors import InputError, StorageError
from pipelines.cli import main
from pipelines.deploy import job
from pipelines.search.pipeline import SearchPipeline


@pytest.fixture
def collection(tmp_path):
    legs = {"dense": Leg("faiss", parameters={"dimension": 4, "metric": "cosine", "kind": "flat"}), "bm25": Leg("bm25")}
    vectors = np.random.default_rng(0).standard_normal((20, 4)).astype(np.float32)
    with CollectionWriter.create(tmp_path / "books", legs) as writer:
        writer.upsert([Document(f"d{n}", f"word{n} text", "Title") for n in range(20)], {"dense": vectors})
    return tmp_path / "books"


def deploy(collection, place, monkeypatch, **options):
    monkeypatch.setattr(job, "_place", lambda *_: place)
    return job.deploy(collection, "http://made", show_progress=False, **options)


def test_an_alias_moves_to_each_new_deployment(collection, monkeypatch):
    client = QdrantClient(":memory:")
    monkeypatch.setattr(client, "close", lambda: None)  # a server outlives its clients
    place = ServerPlace("http://made", "books", client=client)
    assert deploy(collection, place, monkeypatch).documents == 20
    first = place._target()
    assert first.startswith("books-") and place.published().state == "ready"

    with CollectionWriter.open(collection) as writer:
        writer.delete(["d3"])
    assert deploy(collection, place, monkeypatch, follow=True).documents == 19
    assert place._target() == first and place.published().sequence == 2
    with Collection.open(collection) as source, DeployedCollection.open("http://made/books", place=place) as there:
        assert compare_points(source.snapshot, there.engine, there.layout) == []

    monkeypatch.setattr(job, "_check", lambda *_: (_ for _ in ()).throw(StorageError("differs")))
    with pytest.raises(StorageError, match="differs"):
        deploy(collection, place, monkeypatch)
    assert place._target() == first and len(client.get_collections().collections) == 2
    monkeypatch.undo()
    monkeypatch.setattr(client, "close", lambda: None)
    assert deploy(collection, place, monkeypatch).resumed is False
    assert place._target() != first
    assert [one.name for one in client.get_collections().collections] == [place._target()]


def test_a_stored_answer_is_not_given_after_another_deployment(collection, monkeypatch):
    client = QdrantClient(":memory:")
    monkeypatch.setattr(client, "close", lambda: None)  # a server outlives its clients
    place = ServerPlace("http://made", "books", client=client)
    monkeypatch.setattr(reader, "place_of", lambda *_: place)
    deploy(collection, place, monkeypatch)
    with SearchPipeline.open("http://made/books", legs=["bm25"], cache=9) as pipeline:
        assert [pipeline.search("word7", 1).cached for _ in range(2)] == [False, True]
        with CollectionWriter.open(collection) as writer:
            writer.delete(["d7"])
        deploy(collection, place, monkeypatch, follow=True)
        assert pipeline.search("word7", 1) == [] and pipeline.search("word8", 1)[0].doc_id == "d8"
        with CollectionWriter.open(collection) as writer:
            writer.delete(["d8"])
        deploy(collection, place, monkeypatch)
        assert [pipeline.search("word8", 1).cached for _ in range(2)] == [False, True]


def test_a_url_names_the_collection():
    with pytest.raises(InputError, match="names no collection"):
        place_of("http://localhost:6333")


@pytest.fixture
def refusing():
    """The URL of a server that answers every request with 403."""

    class Refusing(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_error(403)

        do_POST = do_PUT = do_GET  # noqa: N815 the names of the base class

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Refusing) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/books"
        server.shutdown()


@pytest.mark.parametrize("command", ["deploy", "search"])
def test_a_server_that_refuses_is_named_in_one_line(collection, refusing, capsys, command):
    arguments = {
        "deploy": ["deploy", str(collection), "--to", refusing.removesuffix("/books")],
        "search": ["search", refusing, "word1"],
    }
    assert main(arguments[command]) == 1
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith(f"error: Qdrant, {refusing}: UnexpectedResponse: ") and "QDRANT_API_KEY" in error


@pytest.fixture
def teams(tmp_path):
    with CollectionWriter.create(tmp_path / "teams", {"bm25": Leg("bm25")}, fields={"team": "keyword"}) as writer:
        writer.upsert([Document(f"d{n}", f"word{n} text", metadata={"team": f"t{n % 3}"}) for n in range(12)])
    return tmp_path / "teams"


def check_a_tenant(collection, there):
    assert there.snapshot.tenants == there.layout.schema.tenant == "team"
    found = there.index("bm25").search(["text word4"], 20, {"team": "t1"})[0]
    assert found.doc_ids[0] == "d4" and sorted(found.doc_ids) == ["d1", "d10", "d4", "d7"]
    with Collection.open(collection) as source:
        expected = source.index("bm25").search(["text word4"], 20, {"team": "t1"})[0]
    np.testing.assert_allclose([hit.score for hit in found], [hit.score for hit in expected], rtol=1e-3)


def test_a_tenant_is_searched_through_the_client(teams, monkeypatch):
    client = QdrantClient(":memory:")
    monkeypatch.setattr(client, "close", lambda: None)  # a server outlives its clients
    place = ServerPlace("http://made", "teams", client=client)
    deploy(teams, place, monkeypatch, tenants="team")
    with DeployedCollection.open("http://made/teams", place=place) as there:
        check_a_tenant(teams, there)


@pytest.mark.qdrant_server
@pytest.mark.skipif("QDRANT_URL" not in os.environ, reason="QDRANT_URL names no server")
def test_a_tenant_is_searched_on_a_server(teams):
    url, name = os.environ["QDRANT_URL"], f"deploy-{uuid.uuid4().hex}"
    job.deploy(teams, url, name=name, tenants="team", shards=1, show_progress=False)
    with DeployedCollection.open(f"{url}/{name}") as there:
        check_a_tenant(teams, there)
        place = ServerPlace(url, name)
        described = place._client.get_collection(place._target())
        assert described.payload_schema["metadata.team"].params.is_tenant
    place._client.delete_collection(place._target())


@pytest.mark.qdrant_server
@pytest.mark.skipif("QDRANT_URL" not in os.environ, reason="QDRANT_URL names no server")
def test_a_server_holds_the_same_points(collection):
    name = f"deploy-{uuid.uuid4().hex}"
    url = os.environ["QDRANT_URL"]
    job.deploy(collection, url, name=name, show_progress=False)
    done = job.deploy(collection, url, name=name, show_progress=False)
    with Collection.open(collection) as source, DeployedCollection.open(f"{url}/{name}") as there:
        assert compare_points(source.snapshot, there.engine, there.layout) == []
        assert done.documents == len(there) == 20
    place = ServerPlace(url, name)
    place._client.delete_collection(place._target())
