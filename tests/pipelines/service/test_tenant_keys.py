"""API keys that are bound to tenants: each route refuses them, or keeps to the documents of their tenants."""

import asyncio
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from indexing.collection.reader import Collection
from indexing.collection.writer import CollectionWriter
from indexing.documents import Document
from indexing.errors import InputError
from pipelines import SearchPipeline
from pipelines.build.job import build_collection
from pipelines.cli import main
from pipelines.deploy.job import deploy
from pipelines.models import Models
from pipelines.search import Facets
from pipelines.service.app import endpoints, make_app
from pipelines.service.batcher import Batch
from pipelines.service.callers import EVERYONE, NOBODY, Caller
from pipelines.service.config import CollectionEntry, Limits, ServeConfig
from pipelines.service.endpoint import Endpoint
from pipelines.service.errors import ServiceError
from pipelines.service.keys import add_key, load_keys
from pipelines.service.search_body import SearchBody
from pipelines.service.service import Service
from pipelines.service.writing import CollectionWrites, Write
from service_tests import serving

mcp = pytest.importorskip("mcp")

FIELDS = {"team": "keyword", "year": "number"}
SECRET = "scarlet"
"""A word of every document that a key of the tenant blue may not see."""
NOTES = "/v1/collections/notes"
BLUE = {"blue-1", "blue-2", "blue-3", "shared"}


def note(doc_id, team, text, year):
    remark = {"remark": SECRET} if SECRET in text else {}
    teams = {} if team is None else {"team": team}
    return Document(doc_id, text, f"Note {remark.get('remark', '')}", {"year": year, **teams, **remark})


DOCUMENTS = [
    note("blue-1", "blue", "Rye bread needs sourdough.", 2001),
    note("blue-2", "blue", "Bread rises with yeast and time.", 2002),
    note("blue-3", "blue", "A baguette is a long bread.", 2003),
    note("red-1", "red", "A scarlet bread is baked with beetroot and yeast.", 3001),
    note("red-2", "red", "The scarlet rye bread, a secret recipe.", 3002),
    note("shared", ["blue", "red"], "Bread for everyone, with salt.", 2004),
    note("nobody", None, "A scarlet bread of no team.", 3003),
]


def chunk(doc_id, team, parent, number, text):
    place = {"number": number, "of": 3, "start": 20 * number, "end": 20 * number + 20, "title": "Book"}
    return Document(doc_id, text.ljust(20), "Book", {"team": team, "parent_id": parent, "chunk": place})


CHUNKS = [
    *(chunk(f"red-book#{number}", "red", "red-book", number, f"scarlet bread {number}") for number in range(3)),
    *(chunk(f"blue-book#{number}", "blue", "blue-book", number, f"the bread, part {number}") for number in range(3)),
]
CLAIMED = chunk("claimed", "blue", "red-book", 1, "zeppelin")
"""A chunk of the tenant blue that names another tenant's document as its parent."""


@pytest.fixture(scope="module")
def built(tmp_path_factory, tiny_dense):
    """Collections of notes and of chunks with tenants, and one without."""
    folder = tmp_path_factory.mktemp("tenants")
    build_collection(DOCUMENTS, folder / "notes", dense=tiny_dense, fields=FIELDS, show_progress=False)
    with CollectionWriter.open(folder / "notes", encoders={"dense": tiny_dense}) as writer:
        writer.reindex("bm25", positions=True)
    (folder / "notes" / "search.yaml").write_text("tenants: team\ncache: 100\n")
    build_collection(DOCUMENTS, folder / "open", fields=FIELDS, show_progress=False)
    build_collection([*CHUNKS, CLAIMED], folder / "chunks", fields={"team": "keyword"}, show_progress=False)
    (folder / "chunks" / "search.yaml").write_text("tenants: team\n")
    return folder


KEYS = {
    "all": ("write", None),
    "read": ("read", ["blue"]),
    "blue": ("write", ["blue"]),
    "red": ("write", ["red"]),
    "both": ("write", ["red", "blue"]),
    "pale": ("write", ["pale"]),
}


@pytest.fixture(scope="module")
def alone(built, tmp_path_factory, tiny_dense):
    """A pipeline over the documents alone that a key of the tenant blue sees."""
    path = tmp_path_factory.mktemp("alone") / "notes"
    build_collection([one for one in DOCUMENTS if one.doc_id in BLUE], path, fields=FIELDS, show_progress=False)
    with CollectionWriter.open(path) as writer:
        writer.reindex("bm25", positions=True)
    with SearchPipeline.open(path) as pipeline:
        yield pipeline


@pytest.fixture(scope="module")
def clients(built):
    """A client for each key of one service, which joins requests that wait."""
    yield from _clients(built, limits=Limits(running=1))


@pytest.fixture
def fresh(built, tmp_path):
    """The same over copies without vectors, for tests that write."""
    shutil.copytree(built / "chunks", tmp_path / "chunks")
    for name in ("notes", "open"):
        shutil.copytree(built / "open", tmp_path / name)
    (tmp_path / "notes" / "search.yaml").write_text("tenants: team\ncache: 100\n")
    yield from _clients(tmp_path)


def _clients(folder, **options):
    keys = {name: add_key(folder / "keys.yaml", scope, tenants=tenants) for name, (scope, tenants) in KEYS.items()}
    served = {name: CollectionEntry(str(folder / name), description=name) for name in ("notes", "open", "chunks")}
    options = {"writable": True, "judge": str(folder / "qrels.tsv"), **options}
    config = ServeConfig(served, keys=str(folder / "keys.yaml"), **options)
    with serving(config) as (url, _):
        opened = {
            name: httpx.Client(base_url=url, timeout=60, headers={"Authorization": f"Bearer {key}"})
            for name, key in keys.items()
        }
        try:
            yield opened
        finally:
            for client in opened.values():
                client.close()


def search(client, collection="notes", status=200, **body):
    answer = client.post(f"/v1/collections/{collection}/search", json={"query": "bread", "k": 20, **body})
    assert answer.status_code == status, answer.text
    return answer.json()


def ids(answer):
    return {hit["doc_id"] for hit in answer["hits"]}


# Which routes there are.

PUBLIC = {"/livez", "/readyz", "/health", "/openapi.json", "/page.css", "/page.js"}
TEXTS = {"/v1/models", "/v1/embeddings", "/v2/rerank", "/v1/rerank", "/rerank", "/embed", "/embed_sparse"}
TEXTS |= {"/similarity", "/info"}
NAMED = "/v1/collections/{name}"
FILTERED = {
    ("GET", "/v1/collections"),
    ("GET", NAMED),
    ("GET", f"{NAMED}/info"),
    ("POST", f"{NAMED}/search"),
    ("GET", f"{NAMED}/documents/{{id:path}}"),
    ("POST", "/v1/judgements"),
}
OWNED = {
    ("PUT", f"{NAMED}/documents"),
    ("PUT", f"{NAMED}/documents/{{id:path}}"),
    ("DELETE", f"{NAMED}/documents/{{id:path}}"),
    ("POST", f"{NAMED}/delete"),
}
REFUSED = {("GET", "/metrics"), ("POST", f"{NAMED}/refresh")}


def test_each_route_refuses_keys_of_tenants_or_declares_how_it_keeps_them_apart(clients, built):
    """A route that is added must refuse such keys, or get its tests in this file and its place in these sets."""
    config = ServeConfig(keys=str(built / "keys.yaml")).with_collections([str(built / "notes")])
    app = make_app(Service(config), lambda: None)
    agents = app._app
    assert type(agents).__name__ == "AgentRoute"
    routes = {(method, route.path) for route in agents._app.routes for method in route.methods - {"HEAD"}}
    assert routes == {(one.method, one.path) for one in endpoints()}, "a route without an Endpoint has no check"

    for one in endpoints():
        place, path = (one.method, one.path), one.path.replace("{name}", "notes").replace("{id:path}", "red-1")
        if one.scope is None:
            assert one.path in PUBLIC or place == ("GET", "/")
            assert SECRET not in clients["blue"].get(path).text
        elif one.apart is None:
            assert place in REFUSED
            answer = clients["blue"].request(one.method, path)
            assert answer.status_code == 403 and "bound to tenants" in answer.text
            assert clients["all"].request(one.method, path).status_code == 200
        else:
            expected = {"filtered": FILTERED, "owned": OWNED}.get(one.apart)
            assert one.path in TEXTS or place == ("POST", "/") if expected is None else place in expected


def test_a_new_route_refuses_keys_of_tenants(built, monkeypatch):
    async def everything(call):
        return [served.count(EVERYONE) for served in call.service.collections.values()]

    careless = Endpoint("GET", "/careless", everything, "Forgets that there are tenants.")
    every = endpoints()
    monkeypatch.setattr("pipelines.service.app.endpoints", lambda: (*every, careless))
    keys = {name: add_key(built / "new.yaml", scope, tenants=tenants) for name, (scope, tenants) in KEYS.items()}
    config = ServeConfig({"open": CollectionEntry(str(built / "open"))}, keys=str(built / "new.yaml"))
    with serving(config) as (url, _):
        statuses = {
            name: httpx.get(f"{url}/careless", headers={"X-API-Key": key}).status_code for name, key in keys.items()
        }

    assert statuses == {name: 200 if name == "all" else 403 for name in KEYS}


def test_a_route_without_a_key_sees_no_document():
    shared = next(one for one in DOCUMENTS if one.doc_id == "shared")

    assert not NOBODY.sees(shared, "team") and not NOBODY.owns(shared, "team")
    with pytest.raises(ServiceError, match="not for the tenant"):
        NOBODY.held(SearchBody("bread"))


def test_the_description_says_which_routes_take_keys_of_tenants(clients):
    paths = clients["read"].get("/openapi.json").json()["paths"]

    assert paths[f"{NAMED}/search"]["post"]["x-tenants"] == "filtered"
    assert paths["/metrics"]["get"]["x-tenants"] == "refused"


# Searches.

BODIES = [
    {},
    {"filter": {"team": "red"}},
    {"filter": {"or": [{"team": "red"}, {"year": {"gte": 2002}}]}},
    {"filter": {"not": {"team": "blue"}}},
    {"filter": {"team": {"exists": False}}},
    {"k": 2, "offset": 2},
    {"k": 20, "offset": 900},
    {"query": ["bread", "scarlet bread", "beetroot"], "explain": True},
    {"query": "scarlet secret beetroot", "explain": True, "highlight": True, "snippet": 40},
    {"query": "+bread -salt", "query_syntax": "simple", "explain": True},
    {"query": "scarl* OR beet~", "query_syntax": "simple", "explain": True},
    {
        "query": '+"secret recipe"',
        "query_syntax": "simple",
        "explain": True,
        "facets": ["team"],
        "facets_over": "match",
    },
    {"facets": ["team", "year"]},
    {"facets": ["team", "year"], "facets_over": "match"},
    {"threshold": 0.1, "collapse": 0.9, "group_by": "team", "mmr": 0.5},
    {"boosts": [{"field": "team", "values": ["red"], "weight": 5}]},
    {"reranker": "late-interaction", "candidates": 3, "explain": True},
    {"legs": ["bm25"], "explain": True},
    {"legs": ["dense"], "text": False},
    {"fusion": "rrf", "depth": 1},
    {"parents": True},
]


@pytest.mark.parametrize("body", BODIES, ids=str)
def test_a_search_is_that_of_the_tenant(clients, body):
    """Whatever the body asks for, the answer is that of a search which names the tenant."""
    own, named = search(clients["read"], **body), search(clients["all"], **{**body, "tenant": "blue"})

    assert ids(own) <= BLUE and SECRET not in str(own["hits"]) + str(own.get("facets")) + str(own.get("notes"))
    differs = ("timings", "request_id", "cached", "sequence")
    assert {key: value for key, value in own.items() if key not in differs} == {
        key: value for key, value in named.items() if key not in differs
    }
    assert "sequence" not in own


@pytest.mark.parametrize("over", ["hits", "match"])
@pytest.mark.parametrize(
    ("query", "filter"),
    [
        ("bread", None),
        ("+bread -salt", None),
        ("+bread", {"not": {"team": "blue"}}),
        ("-scarlet bread", None),
        ('+"secret recipe"', None),
        ('bread "rye bread"', {"or": [{"team": "red"}, {"year": {"gte": 2002}}]}),
        ("+bre* ro*", None),
    ],
)
def test_nothing_of_an_answer_counts_documents_of_others(clients, alone, query, filter, over):
    """Hits, facets and notes of legs of words are those of a collection without the other tenants' documents."""
    body = {"query": query, "query_syntax": "simple", "filter": filter, "facets": ["team", "year"], "facets_over": over}
    answer = search(clients["read"], **body, explain=True, legs=["bm25"])
    expected = alone.search(
        query, 20, query_syntax="simple", filter=filter, facets=Facets(("team", "year"), over=over), explain=True
    )

    assert ids(answer) == {hit.doc_id for hit in expected}
    assert answer["facets"] == expected.facets and answer.get("notes", []) == list(expected.notes)


def test_a_search_names_tenants_of_the_key_only(clients):
    shared = {"shared"}
    red = {"red-1", "red-2", "shared"}

    assert ids(search(clients["read"])) == ids(search(clients["read"], tenant="blue")) == BLUE
    assert ids(search(clients["both"])) == BLUE | red == ids(search(clients["all"], tenant=["blue", "red"]))
    assert ids(search(clients["both"], tenant="red")) == ids(search(clients["red"])) == red
    assert ids(search(clients["both"], filter={"not": {"team": "blue"}})) == red - shared
    assert ids(search(clients["pale"])) == set()
    for tenant in ("red", ["blue", "red"], "nobody", "Blue"):
        refused = search(clients["read"], status=403, tenant=tenant)["error"]
        assert refused["message"].startswith("the API key is not for the tenant") and refused["hint"].endswith("blue")
    search(clients["read"], status=422, tenant=[])


def test_searches_of_several_tenants_that_wait_together_are_answered_apart(clients):
    names = ["blue", "red", "both", "pale", "all"] * 8
    expected = {name: ids(search(clients[name], query="yeast and rye bread")) for name in set(names)}
    with ThreadPoolExecutor(16) as pool:
        found = list(pool.map(lambda name: ids(search(clients[name], query="yeast and rye bread")), names))

    assert found == [expected[name] for name in names]
    assert expected["blue"] == BLUE and "blue-1" not in expected["red"] and len(expected["all"]) == len(DOCUMENTS)
    keys = {Caller("k", tenants=tenants).held(SearchBody("bread")).key() for tenants in (None, ("blue",), ("red",))}
    assert len(keys) == 3, "requests of one batch have equal keys"


def test_an_answer_is_cached_for_its_tenants_only(clients):
    query = "a long bread with yeast"
    first, again = search(clients["blue"], query=query), search(clients["read"], query=query)
    other, whole = search(clients["red"], query=query), search(clients["all"], query=query)

    assert (first["cached"], again["cached"], other["cached"], whole["cached"]) == (False, True, False, False)
    assert ids(again) == BLUE and not ids(other) & (BLUE - {"shared"})


def test_parents_are_put_together_from_chunks_of_the_tenant(clients):
    book = search(clients["read"], "chunks", query="part", k=1)["hits"][0]
    assert book["doc_id"] == "blue-book" and "part 0" in book["text"] and "part 2" in book["text"]

    refused = clients["read"].post("/v1/collections/chunks/search", json={"query": "zeppelin", "k": 1})
    assert refused.status_code == 422 and SECRET not in refused.text and "red-book" not in refused.text
    alone = search(clients["read"], "chunks", query="zeppelin", k=1, parents=False)
    assert ids(alone) == {"claimed"}


def test_a_leg_that_is_behind_does_not_show_what_another_tenant_has_written_since(built, tmp_path, tiny_dense):
    """After a kill a leg may find a document by its former tenant."""
    folder = shutil.copytree(built, tmp_path / "served")
    with CollectionWriter.open(folder / "notes", encoders={"dense": tiny_dense}) as writer:
        writer.upsert([note("blue-1", "red", "A scarlet rye bread now.", 2001)])
        shutil.copytree(folder / "notes", tmp_path / "killed")  # before any leg is committed
    shutil.rmtree(folder / "notes")
    shutil.move(tmp_path / "killed", folder / "notes")

    for clients in _clients(folder):
        for legs in (["bm25"], ["dense"], None):
            answer = search(clients["read"], query="rye bread", facets=["year"], **({"legs": legs} if legs else {}))
            assert ids(answer) == BLUE - {"blue-1"} and SECRET not in str(answer)
        assert clients["read"].get(f"{NOTES}/documents/blue-1").status_code == 404


@pytest.mark.slow
def test_a_deployed_collection_keeps_to_the_tenants_of_a_key(built, tmp_path):
    """Where the collection is deployed, its layout names the field of tenants."""
    folder = shutil.copytree(built, tmp_path / "served")
    deploy(folder / "notes", folder / "deployed", tenants="team")
    for name in ("notes", "chunks"):
        shutil.rmtree(folder / name)
    shutil.move(folder / "deployed", folder / "notes")
    shutil.copytree(folder / "open", folder / "chunks")
    for clients in _clients(folder, writable=False):
        assert ids(search(clients["read"])) == BLUE and ids(search(clients["pale"])) == set()
        assert ids(search(clients["read"], filter={"not": {"team": "blue"}}, explain=True)) == set()
        search(clients["read"], status=403, tenant="red")
        statuses = [clients["read"].get(f"{NOTES}/documents/{doc_id}").status_code for doc_id in ("blue-1", "red-1")]
        info = clients["read"].get(f"{NOTES}/info").json()
        listed = clients["both"].get("/v1/collections").json()["collections"]
        assert statuses == [200, 404] and (info["documents"], info["tenants"]) == (4, "team")
        assert [(one["name"], one["documents"]) for one in listed] == [("notes", 6)]


# Documents and descriptions.


def test_a_document_of_others_is_as_unknown_as_one_that_is_not_there(clients):
    def get(name, doc_id):
        answer = clients[name].get(f"{NOTES}/documents/{doc_id}")
        return answer.status_code, str(answer.json().get("error", {}).get("message")).replace(doc_id, "ID")

    assert [get("read", doc_id)[0] for doc_id in ("blue-1", "shared")] == [200, 200]
    assert {get("read", doc_id) for doc_id in ("red-1", "nobody", "never")} == {(404, get("read", "never")[1])}
    assert get("both", "red-1")[0] == get("all", "nobody")[0] == 200


def test_only_collections_with_tenants_are_there(clients):
    def named(name):
        return {one["name"]: one["documents"] for one in clients[name].get("/v1/collections").json()["collections"]}

    assert named("read") == {"notes": 4, "chunks": 4} and named("red") == {"notes": 3, "chunks": 3}
    assert named("both")["notes"] == 6 and named("pale") == {"notes": 0, "chunks": 0}
    assert named("all") == {"notes": 7, "open": 7, "chunks": 7}
    for path in ("", "/info", "/documents/blue-1"):
        unseen, unknown = (clients["read"].get(f"/v1/collections/{name}{path}") for name in ("open", "none"))
        assert unseen.status_code == unknown.status_code == 404
        assert unseen.json()["error"]["message"] == unknown.json()["error"]["message"].replace("none", "open")
        assert "open" not in unknown.text and "collections with tenants" in unknown.json()["error"]["hint"]
    assert search(clients["read"], "open", status=404)
    body = {"documents": [{"doc_id": "x", "text": "t", "metadata": {"team": "blue"}}]}
    assert clients["blue"].put("/v1/collections/open/documents", json=body).status_code == 404
    assert clients["blue"].post("/v1/collections/open/delete", json={"ids": ["blue-1"]}).status_code == 404


def test_a_description_has_no_numbers_of_other_tenants(clients):
    info, whole = (clients[name].get(f"{NOTES}/info").json() for name in ("read", "all"))

    assert info["documents"] == 4 and info["tenants"] == "team" and info["fields"] == FIELDS
    assert whole["documents"] == whole["legs"]["bm25"]["documents"] == 7
    assert whole.keys() - info.keys() == {"sequence", "latest_sequence", "refreshed"}
    assert all("documents" not in leg for leg in info["legs"].values())


def test_models_answer_keys_of_tenants(clients):
    name = clients["read"].get("/v1/models").json()["data"][0]["id"]
    vectors = clients["read"].post("/v1/embeddings", json={"model": name, "input": ["bread"]}).json()["data"]
    ranked = clients["read"].post("/v1/rerank", json={"query": "bread", "documents": ["rye", "bread"]})

    assert len(vectors) == 1 and ranked.status_code == 200


def test_a_judgement_is_of_a_document_that_the_key_sees(fresh):
    def judge(name, doc_id, collection="notes"):
        body = {"collection": collection, "query": "bread", "doc_id": doc_id, "grade": 1}
        return fresh[name].post("/v1/judgements", json=body).status_code

    assert [judge("blue", doc_id) for doc_id in ("blue-1", "shared", "red-1", "never")] == [200, 200, 404, 404]
    assert judge("blue", "blue-1", "open") == 404 and judge("read", "blue-1") == 403 and judge("red", "red-1") == 200


# Writes.


def put(client, doc_id, team, collection="notes", **metadata):
    fields = {} if team is None else {"team": team}
    body = {"text": "A new bread.", "metadata": {**fields, **metadata}}
    return client.put(f"/v1/collections/{collection}/documents/{doc_id}", json=body).status_code


def test_a_key_writes_documents_of_its_tenants_only(fresh):
    blue, red, every = fresh["blue"], fresh["red"], fresh["all"]

    assert (
        put(blue, "new", "blue") == put(blue, "blue-1", ["blue"]) == put(fresh["both"], "two", ["red", "blue"]) == 200
    )
    assert [put(blue, "wrong", team) for team in ("red", ["blue", "red"], None, [], "Blue")] == [403] * 5
    assert put(blue, "wrong", 7) == put(blue, "wrong", ["blue", None]) == 422
    assert put(fresh["read"], "new", "blue") == 403
    assert every.get(f"{NOTES}/documents/wrong").status_code == 404
    before = [every.get(f"{NOTES}/documents/{doc_id}").json() for doc_id in ("red-1", "shared", "nobody")]
    assert [put(blue, doc_id, "blue") for doc_id in ("red-1", "shared", "nobody")] == [403] * 3
    assert [every.get(f"{NOTES}/documents/{doc_id}").json() for doc_id in ("red-1", "shared", "nobody")] == before
    taken = blue.put(f"{NOTES}/documents/red-1", json={"text": "t", "metadata": {"team": "blue"}})
    assert taken.json()["error"]["message"] == "the id 'red-1' is not free to this API key"
    assert put(fresh["both"], "blue-2", "red") == 200, "a key of both tenants moves a document"
    assert ids(search(red)) == {"red-1", "red-2", "shared", "blue-2", "two"}
    assert put(every, "red-1", "blue") == 200 and put(red, "red-1", "red") == 403


def test_one_foreign_document_refuses_a_write_as_a_whole(fresh):
    documents = [
        {"doc_id": "first", "text": "bread", "metadata": {"team": "blue"}},
        {"doc_id": "red-1", "text": "bread", "metadata": {"team": "blue"}},
    ]

    assert fresh["blue"].put(f"{NOTES}/documents", json={"documents": documents}).status_code == 403
    assert fresh["blue"].get(f"{NOTES}/documents/first").status_code == 404


def test_a_chunk_cannot_claim_a_document_of_another_tenant(fresh):
    def write(document, **place):
        metadata = {**document.metadata, "chunk": {**document.metadata["chunk"], **place}}
        body = {"text": document.text, "metadata": metadata}
        return fresh["blue"].put(f"/v1/collections/chunks/documents/{document.doc_id}", json=body).status_code

    assert write(CLAIMED) == 403 and write(CLAIMED, of=10**12) == 422 and write(CLAIMED, of="many") == 422
    assert write(chunk("blue-book#1", "blue", "blue-book", 1, "the bread, anew")) == 200


def test_a_key_deletes_documents_of_its_tenants_only(fresh):
    def delete(name="blue", **body):
        answer = fresh[name].post(f"{NOTES}/delete", json=body)
        return answer.status_code, answer.json().get("deleted")

    assert delete(ids=["red-1", "nobody", "never"]) == (200, 0)
    assert fresh["blue"].delete(f"{NOTES}/documents/red-1").json()["deleted"] == 0
    assert delete(ids=["blue-1", "shared"]) == (403, None), "the key sees it, and cannot delete it"
    assert delete("red", filter={"year": {"gte": 0}}) == (200, 2)
    assert delete("pale", filter={"team": {"exists": True}}) == (200, 0)
    assert delete(filter={"or": [{"team": "red"}, {"year": 2001}]}) == (200, 1)
    assert delete(ids=["blue-2", "red-2"]) == (200, 1)
    assert delete("both", ids=["shared"]) == (200, 1)
    assert ids(search(fresh["all"])) == {"blue-3", "nobody"}
    assert fresh["all"].get(f"{NOTES}/info").json()["documents"] == 2


def test_writes_of_several_keys_that_wait_together_are_refused_one_by_one(fresh):
    def write(number):
        name, team = (("blue", "blue"), ("red", "red"), ("blue", "red"), ("red", "blue"))[number % 4]
        return put(fresh[name], f"w{number}", team)

    with ThreadPoolExecutor(16) as pool:
        statuses = list(pool.map(write, range(16)))

    assert statuses == [200, 200, 403, 403] * 4
    assert {doc_id for doc_id in ids(search(fresh["all"], query="new")) if doc_id.startswith("w")} == {
        f"w{number}" for number in range(16) if number % 4 < 2
    }


def test_a_wrong_write_changes_no_answer_of_others_that_wait_with_it(built, tmp_path):
    """Each write of a batch is made once, also beside one that cannot be made."""
    path = str(shutil.copytree(built / "open", tmp_path / "notes"))
    writes = CollectionWrites(path, Models(), lambda: None, lambda: "team")
    blue = Caller("b", "write", ("blue",))
    items = [
        Write(["red-1"], EVERYONE),
        Write({"colour": 1}, EVERYONE),
        Write(["red-2"], blue),
        Write(["blue-1"], blue),
    ]

    counts = writes.apply("delete", Batch(items, float("inf"), threading.Event()))

    assert counts[0::2] == [1, 0] and isinstance(counts[1], InputError) and counts[3] == 1
    with Collection.open(path) as collection:
        assert (
            {"red-2", "blue-2"}
            <= set(collection.documents.ids())
            == {one.doc_id for one in DOCUMENTS if one.doc_id not in ("red-1", "blue-1")}
        )


# Agents.

CALLS = [
    ("search", {"query": "scarlet secret bread", "k": 20, "collection": "notes"}),
    ("search", {"query": "bread", "k": 20, "filter": {"team": "red"}, "collection": "notes"}),
    ("search", {"query": "bread", "k": 2, "cursor": "2", "collection": "notes"}),
    ("get_document", {"doc_id": "blue-1", "collection": "notes"}),
    ("get_document", {"doc_id": "red-1", "collection": "notes"}),
    ("explain", {"query": "bread", "doc_id": "blue-1", "collection": "notes"}),
    ("explain", {"query": "bread", "doc_id": "red-1", "collection": "notes"}),
    ("list_collections", {}),
    ("search", {"query": "bread", "collection": "open"}),
    ("search", {"query": "bread"}),
]


@pytest.mark.parametrize("mode", ["auto", "legacy"])
def test_every_tool_keeps_to_the_documents_of_the_key(clients, mode):
    async def call():
        from mcp.client.streamable_http import streamable_http_client

        http = clients["read"]
        import httpx2

        async with (
            httpx2.AsyncClient(headers={"Authorization": http.headers["Authorization"]}) as own,
            mcp.Client(streamable_http_client(f"{http.base_url}/mcp", http_client=own), mode=mode) as client,
        ):
            tools = {tool.name: tool.input_schema for tool in (await client.list_tools()).tools}
            return tools, client.instructions, [await client.call_tool(name, given) for name, given in CALLS]

    tools, instructions, results = asyncio.run(call())

    assert set(tools) == {name for name, _ in CALLS}, "a tool that is added gets its calls in this test"
    assert not any("context" in schema.get("properties", {}) for schema in tools.values())
    everything = " ".join(str(result.content) + str(result.structured_content) for result in results[1:])
    assert SECRET not in everything and "open" not in str(instructions)
    first, filtered, page, own, foreign, why, unexplained, listed, unseen, unnamed = results
    assert {hit["doc_id"] for hit in first.structured_content["hits"]} == BLUE
    assert {hit["doc_id"] for hit in filtered.structured_content["hits"]} == {"shared"}
    assert {hit["doc_id"] for hit in page.structured_content["hits"]} < BLUE
    assert not own.is_error and foreign.is_error and "there is no document" in foreign.content[0].text
    assert not why.is_error and unexplained.is_error
    assert {one["name"]: one["documents"] for one in listed.structured_content["collections"]} == {
        "notes": 4,
        "chunks": 4,
    }
    assert unseen.is_error and "'open'; there are notes, chunks" in unseen.content[0].text
    assert unnamed.is_error and "name a collection: notes, chunks" in unnamed.content[0].text


# Files of keys.


def test_the_command_binds_a_key_to_tenants(tmp_path, capsys):
    path = tmp_path / "keys.yaml"
    assert main(["key", str(path)]) == 0
    assert main(["key", str(path), "--tenant", "blue", "--tenant", "red", "--tenant", "blue"]) == 0

    assert [key.tenants for key in load_keys(path)] == [None, ("blue", "red")]
    assert path.read_text().count("tenants:") == 1, "a key of all documents is stored as before"
    assert main(["key", str(path), "--tenant", ""]) == 1
    assert "tenant must be" in capsys.readouterr().err and len(load_keys(path)) == 2


@pytest.mark.parametrize("written", ["tenants:", "tenants: []", "tenants: ['']", "tenants: blue", "tenants: [1]"])
def test_a_file_that_names_no_tenants_where_it_should_is_refused(tmp_path, written):
    """A key whose tenants were left empty must not become a key of all documents."""
    path = tmp_path / "keys.yaml"
    path.write_text(f"keys:\n  abc:\n    sha256: {'a' * 64}\n    {written}\n")

    with pytest.raises(InputError, match="tenants"):
        load_keys(path)
