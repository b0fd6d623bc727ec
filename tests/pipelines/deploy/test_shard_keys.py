"""Shards of their own for tenants: the requests that a cluster gets, answered by a stand-in for one."""

import os
import shutil
import uuid

import numpy as np
import pytest
from qdrant_client import models
from qdrant_stand_in import memory_name, stand_in

from indexing.collection.manifest import Leg
from indexing.collection.reader import Collection
from indexing.collection.writer import CollectionWriter
from indexing.deployment.checking import compare_points
from indexing.deployment.places import ServerPlace
from indexing.deployment.reader import DeployedCollection
from indexing.documents import Document
from indexing.errors import InputError, StorageError
from indexing.indexes.qdrant.engine import point_id
from indexing.indexes.qdrant.shard_keys import SHARED
from pipelines.cli import main
from pipelines.deploy.job import deploy

TEAMS = {"team": "keyword"}


def document(number: int, team) -> Document:
    return Document(f"d{number}", f"word{number} text", metadata={} if team is None else {"team": team})


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    path = tmp_path_factory.mktemp("built") / "teams"
    legs = {"dense": Leg("faiss", parameters={"dimension": 4, "metric": "cosine", "kind": "flat"})}
    documents = [document(n, f"t{n % 3}") for n in range(12)] + [document(12, None), document(13, ["t0", "t1"])]
    vectors = np.random.default_rng(0).standard_normal((14, 4)).astype(np.float32)
    with CollectionWriter.create(path, legs, fields=TEAMS) as writer:
        writer.upsert(documents, {"dense": vectors})
    return path


@pytest.fixture
def collection(built, tmp_path):
    """A copy to change."""
    return shutil.copytree(built, tmp_path / "teams")


@pytest.fixture
def server():
    with stand_in(cluster=True) as made:
        yield made


def deploy_to(server, collection, **options):
    options = {"tenants": "team", "shard_by_tenant": True, **options}
    return deploy(collection, server.url, name="teams", show_progress=False, **options)


def shards_of(server):
    """Return the ids of the documents in each shard of what searches see."""
    (name,) = server.shards
    found = {}
    for key in server.shards[name]:
        points, _ = server.memory.scroll(memory_name(name, key), limit=100, with_payload=["doc_id"])
        found[key] = sorted(point.payload["doc_id"] for point in points)
    return found


def written(server, path="/points"):
    return [(request, body) for request, body in server.requests if request.endswith((path, "/points/delete"))]


def change(collection, number, team):
    with CollectionWriter.open(collection) as writer:
        vectors = {"dense": np.full((1, 4), number + 1.0, np.float32)}
        writer.upsert([document(number, team)], vectors)


def test_each_tenant_has_a_shard_and_several_share_one(server, collection):
    assert deploy_to(server, collection).documents == 14
    assert shards_of(server) == {
        SHARED: ["d12", "d13"],
        "t0": ["d0", "d3", "d6", "d9"],
        "t1": ["d1", "d10", "d4", "d7"],
        "t2": ["d11", "d2", "d5", "d8"],
    }
    requests = [request.replace(next(iter(server.shards)), "NAME") for request, _ in server.requests]
    assert requests.index("PUT /collections/NAME/shards") < requests.index("PUT /collections/NAME/index")
    assert requests.index("PUT /collections/NAME/index") < requests.index("PUT /collections/NAME/points")
    creation = f"PUT /collections/{next(iter(server.shards))}"
    created = next(body for request, body in server.requests if request == creation)
    assert created["sharding_method"] == "custom"
    with Collection.open(collection) as source, DeployedCollection.open(f"{server.url}/teams") as there:
        assert there.layout.sharded and compare_points(source.snapshot, there.engine, there.layout) == []


def test_a_search_of_a_tenant_asks_its_shard_and_any_other_all(server, collection):
    deploy_to(server, collection)
    with DeployedCollection.open(f"{server.url}/teams") as there:
        dense = there.index("dense")

        def asked(filter):
            server.requests.clear()
            query = np.ones((1, 4), np.float32)
            (found,) = there.snapshot.legs.search({"dense": query}, {"dense": 20}, filter)["dense"]
            (batch,) = [body for request, body in server.requests if request.endswith("/query/batch")]
            return sorted(found.doc_ids), [one.get("shard_key") for one in batch["searches"]]

        assert asked({"team": "t1"}) == (["d1", "d10", "d13", "d4", "d7"], [["t1", SHARED]])
        assert asked({"team": "nobody"}) == ([], [[SHARED]])
        ids, keys = asked(None)
        assert len(ids) == 14 and keys == [None]
        assert asked({"team": ["t1", "t2"]})[1] == [None]
        assert len(dense) == 14 and there.documents.get(["d5"])[0].doc_id == "d5"


def test_a_document_that_moves_leaves_its_old_shard_before_it_is_written(server, collection):
    deploy_to(server, collection)
    change(collection, 4, "t9")
    change(collection, 5, "t2")
    server.requests.clear()
    assert deploy_to(server, collection, follow=True).documents == 14
    found = shards_of(server)
    assert found["t9"] == ["d4"] and "d4" not in found["t1"] and "d5" in found["t2"]
    moves = [
        (request.rsplit("/", 1)[1], body["shard_key"])
        for request, body in server.requests
        if "d4" in str(body) or point_id("d4") in str(body)
        if request.startswith("PUT") or request.endswith("/delete")
    ]
    assert moves == [("delete", "t1"), ("points", "t9")]
    deletions = [body for request, body in server.requests if request.endswith("/delete")]
    assert [body["points"] for body in deletions] == [[point_id("d4")]]  # d5 stays where it was
    with Collection.open(collection) as source, DeployedCollection.open(f"{server.url}/teams") as there:
        assert compare_points(source.snapshot, there.engine, there.layout) == []


def test_a_deletion_names_every_shard(server, collection):
    deploy_to(server, collection)
    with CollectionWriter.open(collection) as writer:
        writer.delete(["d1", "d12"])
    server.requests.clear()
    assert deploy_to(server, collection, follow=True).documents == 12
    (body,) = [body for request, body in server.requests if request.endswith("/delete")]
    assert set(body["shard_key"]) == {SHARED, "t0", "t1", "t2"}
    assert shards_of(server)[SHARED] == ["d13"]


@pytest.mark.parametrize("writes", [3, 5, *(pytest.param(n, marks=pytest.mark.slow) for n in (0, 1, 2, 4, 6, 7, 8))])
def test_a_job_that_ends_after_any_write_goes_on_to_the_same_points(server, collection, writes):
    server.fail_after = writes
    with pytest.raises(StorageError, match="killed"):
        deploy_to(server, collection)
    change(collection, 4, "t9")  # meanwhile a document moves
    server.fail_after = None
    assert deploy_to(server, collection).documents == 14
    found = shards_of(server)
    assert sorted(doc_id for ids in found.values() for doc_id in ids) == sorted(f"d{n}" for n in range(14))
    assert found["t9"] == ["d4"]


@pytest.mark.parametrize("writes", [1, *(pytest.param(n, marks=pytest.mark.slow) for n in (0, 2, 3))])
def test_a_move_that_ends_half_way_is_repeated(server, collection, writes):
    deploy_to(server, collection)
    change(collection, 4, "t0")
    server.fail_after = writes
    if writes < 2:
        with pytest.raises(StorageError, match="killed"):
            deploy_to(server, collection, follow=True)
    server.fail_after = None
    assert deploy_to(server, collection, follow=True).documents == 14
    found = shards_of(server)
    assert "d4" in found["t0"] and sum(ids.count("d4") for ids in found.values()) == 1


def test_a_point_in_two_shards_is_found(server, collection):
    deploy_to(server, collection)
    (name,) = server.shards
    (point,) = server.memory.retrieve(memory_name(name, "t1"), [point_id("d4")], with_vectors=True)
    copy = models.PointStruct(id=point.id, vector=point.vector, payload=point.payload)
    server.memory.upsert(memory_name(name, "t0"), [copy])
    with Collection.open(collection) as source, DeployedCollection.open(f"{server.url}/teams") as there:
        (found,) = compare_points(source.snapshot, there.engine, there.layout)
    assert str(found) == "15 documents are deployed, the collection has 14"


def test_an_open_reader_follows_an_alias_to_other_shards(server, collection):
    deploy_to(server, collection)
    with DeployedCollection.open(f"{server.url}/teams") as there:

        def ids(team):
            query = np.ones((1, 4), np.float32)
            return there.snapshot.legs.search({"dense": query}, {"dense": 20}, {"team": team})["dense"].doc_ids

        assert len(ids("t2")) == 4
        with CollectionWriter.open(collection) as writer:
            writer.delete(["d2", "d5", "d8", "d11"])
        deploy_to(server, collection)
        assert ids("t2") == [] and len(ids("t1")) == 5


def test_what_cannot_have_shard_keys_is_refused_in_one_line(server, collection, tmp_path, capsys):
    with pytest.raises(InputError, match=r"is for a cluster, and .* is a folder: leave it out"):
        deploy(collection, tmp_path / "there", tenants="team", shard_by_tenant=True, show_progress=False)
    with pytest.raises(InputError, match="needs a field of tenants"):
        deploy(collection, server.url, shard_by_tenant=True, show_progress=False)
    with stand_in(cluster=False) as alone:
        with pytest.raises(StorageError, match=r"is not in cluster mode, .* or leave shard_by_tenant"):
            deploy_to(alone, collection)
        assert not [request for request, _ in alone.requests if request.startswith("PUT")]
        arguments = ["deploy", str(collection), "--to", alone.url, "--tenants", "team", "--shard-by-tenant", "--quiet"]
        assert main(arguments) != 0
        assert "not in cluster mode" in capsys.readouterr().err


@pytest.mark.qdrant_server
@pytest.mark.skipif("QDRANT_URL" not in os.environ, reason="QDRANT_URL names no server")
def test_a_server_in_cluster_mode_moves_documents_between_shards(collection):
    url, name = os.environ["QDRANT_URL"], f"deploy-{uuid.uuid4().hex}"
    place = ServerPlace(url, name)
    if place._client.cluster_status().status != "enabled":
        pytest.skip("the server is not in cluster mode")
    deploy(collection, url, name=name, tenants="team", shard_by_tenant=True, show_progress=False)
    change(collection, 4, "t9")
    deploy(collection, url, name=name, follow=True, show_progress=False)
    with Collection.open(collection) as source, DeployedCollection.open(f"{url}/{name}") as there:
        assert compare_points(source.snapshot, there.engine, there.layout) == []
        query = np.ones((1, 4), np.float32)
        found = there.snapshot.legs.search({"dense": query}, {"dense": 20}, {"team": "t9"})["dense"]
        assert found.doc_ids == ["d4"] and len(there) == 14
    place._client.delete_collection(place._target())
