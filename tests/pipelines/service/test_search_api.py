"""Searches over HTTP: the pipeline's hits, every option, and one-line errors for requests that cannot be answered."""

import json

import pytest

from pipelines import SearchPipeline
from pipelines.search import Boost, Facets, Refine
from pipelines.search.highlight import highlight

SEARCH = "/v1/collections/notes/search"
BREAD = {"topic": "bread", "year": {"gte": 2005}}
WEIGHTED = {"method": "weighted-sum", "weights": [0.2, 0.8]}
JSON = {"Content-Type": "application/json"}


@pytest.fixture(scope="module")
def pipeline(shared_collection):
    with SearchPipeline.open(shared_collection) as pipeline:
        yield pipeline


def near(number):
    return pytest.approx(float(number))


def hits(answer):
    assert answer.status_code == 200, answer.text
    return [(hit["doc_id"], pytest.approx(hit["score"], abs=1e-6), hit["rank"]) for hit in answer.json()["hits"]]


def expected(results):
    return [(result.doc_id, result.score, result.rank) for result in results]


@pytest.mark.parametrize(
    ("body", "options"),
    [
        ({"k": 3}, {"k": 3}),
        (
            {"k": 5, "filter": {"topic": "bread", "year": {"gte": 2005}}},
            {"k": 5, "filter": {"topic": "bread", "year": {"gte": 2005}}},
        ),
        ({"mmr": 0.5, "k": 4}, {"refine": Refine(mmr=0.5), "k": 4}),
        ({"group_by": "topic", "k": 4}, {"refine": Refine(group_by="topic"), "k": 4}),
        ({"threshold": 0.3}, {"refine": Refine(threshold=0.3)}),
        ({"collapse": 0.5}, {"refine": Refine(collapse=0.5)}),
        ({"boosts": [{"field": "topic", "values": ["bread"]}]}, {"boosts": [Boost("topic", values=["bread"])]}),
        ({"query_syntax": "simple", "k": 3}, {"query_syntax": "simple", "k": 3}),
        ({"tenant": "bread"}, {"filter": {"topic": "bread"}}),
        ({"tenant": "bread", "filter": {"year": 2003}}, {"filter": {"topic": "bread", "year": 2003}}),
    ],
)
def test_hits_are_those_of_the_pipeline(client, pipeline, body, options):
    answer = client.post(SEARCH, json={"query": "how to bake bread", **body})

    assert hits(answer) == expected(pipeline.search("how to bake bread", **options))


def test_a_list_of_queries_is_searched_as_phrasings_of_one(client, pipeline):
    phrasings = ["bake bread", "make dough with yeast"]

    answer = client.post(SEARCH, json={"query": phrasings, "k": 4})

    assert hits(answer) == expected(pipeline.multi_search(phrasings, 4))


def test_a_page_continues_the_one_before(client):
    whole = client.post(SEARCH, json={"query": "notes about bread", "k": 8}).json()["hits"]

    second = client.post(SEARCH, json={"query": "notes about bread", "k": 4, "offset": 4}).json()["hits"]

    assert second == whole[4:]


def test_operators_and_facets_are_those_of_the_pipeline(client, pipeline):
    """A wrong query among others that wait with it fails alone."""
    query, counted = "+bread -dough yeast^2", Facets(("topic",), over="match")
    body = {"query_syntax": "simple", "facets": ["topic"], "facets_over": "match", "highlight": True, "offset": 0}

    answer = client.post(SEARCH, json={"query": query, **body})

    right = pipeline.search(query, query_syntax="simple", facets=counted, offset=0)
    assert hits(answer) == expected(right)
    assert answer.json()["facets"] == right.facets
    assert all("dough" not in hit["text"] for hit in answer.json()["hits"])
    refused = client.post(SEARCH, json={"query": "-bread", **body})
    assert refused.status_code == 422
    assert "has only exclusions" in refused.text


@pytest.mark.parametrize(
    ("body", "options"),
    [
        ({"legs": ["bm25"]}, {"legs": ["bm25"]}),
        ({"legs": ["dense"]}, {"legs": ["dense"]}),
        ({"fusion": "rrf"}, {"fusion": {"method": "rrf"}}),
        (
            {"fusion": {"method": "weighted-sum", "weights": [0.2, 0.8]}},
            {"fusion": {"method": "weighted-sum", "weights": [0.2, 0.8]}},
        ),
        ({"reranker": "late-interaction", "candidates": 5}, {"reranker": "late-interaction", "candidates": 5}),
        ({"depth": 2}, {"depth": 2}),
    ],
)
def test_a_request_chooses_legs_fusion_and_reranker(client, shared_collection, body, options):
    answer = client.post(SEARCH, json={"query": "loaf of bread", "k": 5, **body})

    with SearchPipeline.open(shared_collection, **options) as pipeline:
        assert hits(answer) == expected(pipeline.search("loaf of bread", 5))


def test_an_explanation_and_highlights_come_with_each_hit(client, pipeline):
    body = {"query": "singular matrix", "k": 2, "explain": True, "highlight": True, "snippet": 30}

    hit = client.post(SEARCH, json=body).json()["hits"][0]

    result = pipeline.search("singular matrix", 2, explain=True)[0]
    assert hit["explanation"] == json.loads(
        json.dumps(result.explanation.as_dict()), parse_float=lambda x: pytest.approx(float(x))
    )
    (marked,) = highlight(pipeline, "singular matrix", [result.text])
    assert hit["highlights"] == [list(span) for span in marked.spans]
    snippet = hit["snippet"]
    assert len(snippet["text"]) <= 30 and snippet["text"] in hit["text"]
    assert {snippet["text"][start:end].lower() for start, end in snippet["spans"]} <= {"matrix", "singular"}
    assert snippet["spans"]


def test_texts_can_be_left_out(client):
    hit = client.post(SEARCH, json={"query": "bread", "k": 1, "text": False}).json()["hits"][0]

    assert "text" not in hit and hit["title"]


def test_a_document_is_returned_by_its_id(client):
    answer = client.get("/v1/collections/notes/documents/日本")

    assert answer.json() == {"doc_id": "日本", "title": "日本", "text": "東京は日本の首都です。", "metadata": {}}
    assert client.get("/v1/collections/notes/documents/nothing").status_code == 404


def test_collections_are_described(client, documents):
    (short,) = client.get("/v1/collections").json()["collections"]
    info = client.get("/v1/collections/notes/info").json()

    assert short["documents"] == info["documents"] == len(documents)
    assert info["fields"] == {"topic": "keyword", "year": "number"}
    assert info["legs"]["dense"]["rows"] == "vectors" and info["searched"] == ["bm25", "dense"]
    assert info["rerankers"] == ["late-interaction"] and info["tenants"] == "topic"
    assert info["sequence"] == info["latest_sequence"]


REFUSED = [
    (b'{"query": "x", "size": 3}', 422, "unknown key 'size'"),
    (b'{"k": 3}', 422, "query is missing"),
    (b'{"query": ""}', 422, "query is empty"),
    (b'{"query": 5}', 422, "query must be"),
    (b'{"query": "x", "k": 1000000000}', 422, "at most 1,000 hits"),
    (b'{"query": "x", "k": 0}', 422, "k must be a whole number of at least 1"),
    (b'{"query": "x", "k": "10"}', 422, "k must be a number"),
    (b'{"query": "x", "k": true}', 422, "k must be"),
    (b'{"query": "x", "offset": 999, "k": 2}', 422, "at most 1,000"),
    (b'{"query": "x", "filter": {"colour": "red"}}', 422, "colour"),
    (b'{"query": "x", "filter": {"year": {"near": 3}}}', 422, "near"),
    (b'{"query": "x", "filter": [1]}', 422, "filter must be an object"),
    (b'{"query": "x", "tenant": ""}', 422, "tenant must be"),
    (b'{"query": "x", "tenant": 3}', 422, "tenant must be"),
    (b'{"query": "x", "legs": ["splade"]}', 422, "there are bm25, dense"),
    (b'{"query": "x", "legs": []}', 422, "legs"),
    (b'{"query": "x", "fusion": "magic"}', 422, "magic"),
    (b'{"query": "x", "reranker": "gpt"}', 422, "there are late-interaction, none"),
    (b'{"query": "x", "budget": {"max_ms": 5}}', 422, "budget limits a reranker"),
    (
        b'{"query": "x", "budget": {"max_ms": -5}, "reranker": "late-interaction"}',
        422,
        "max_ms must be a number above 0",
    ),
    (b'{"query": "x", "mmr": 7}', 422, "mmr must be between 0 and 1"),
    (b'{"query": "x", "k": NaN}', 400, "NaN"),
    (b'{"query": "x", "mmr": 1e999}', 400, "too large"),
    (b'{"query": "x", "k": 1, "k": 2}', 400, "occurs twice"),
    (b"[" * 5000, 400, "nested deeper"),
    (b'{"query": "x", "filter": ' + b'{"not": ' * 35 + b"{}" + b"}" * 36, 422, "nested"),
    (b"[1, 2]", 422, "keys with values"),
    (b"{", 400, "not JSON"),
    (b"\xff\xfe", 400, "UTF-8"),
    (b"", 400, "empty"),
    (b'{"query": "' + b"x" * 9000 + b'"}', 422, "at most 8,192"),
    (b'{"query": "' + b"x" * 10_000_000 + b'"}', 413, "larger than"),
]


@pytest.mark.parametrize(
    ("body", "status", "words"), REFUSED, ids=[f"{words[:20]}-{status}" for _, status, words in REFUSED]
)
def test_a_wrong_request_gets_its_status_and_one_line(client, body, status, words):
    answer = client.post(SEARCH, content=body, headers=JSON)

    error = answer.json()["error"]
    assert (answer.status_code, "\n" in error["message"]) == (status, False), error
    assert words in error["message"] and error["request_id"] == answer.headers["x-request-id"]
    assert len(error["message"]) <= 600


def test_an_error_names_the_collection_and_not_its_folder(client, shared_collection):
    """Clients need not know where on the server a collection is."""
    answer = client.post(SEARCH, json={"query": '+"bread dough"', "query_syntax": "simple"})

    assert answer.status_code == 422 and "which notes/legs/bm25 does not store" in answer.json()["error"]["message"]
    assert str(shared_collection.parent) not in answer.text


def test_other_wrong_requests(client):
    wrong_type = client.post(SEARCH, content=b'{"query": "x"}', headers={"Content-Type": "text/plain"})
    assert wrong_type.status_code == 415 and "Content-Type: application/json" in wrong_type.json()["error"]["hint"]
    assert client.post("/v1/collections/other/search", json={"query": "x"}).status_code == 404
    assert client.get("/nothing").json()["error"]["type"] == "not_found"
    assert client.get(SEARCH).status_code == 405
    assert client.put("/v1/collections/notes/documents/x", json={"text": "t"}).json()["error"]["type"] == "read_only"
    chunked = client.post(SEARCH, content=(b"x" * 100_000 for _ in range(60)), headers=JSON)
    assert chunked.status_code == 413
