"""Systems that requests choose are those that the pipeline opens with the same options."""

import time

import httpx
import pytest

from indexing.documents import Document
from pipelines import SearchPipeline
from pipelines.build.job import build_collection
from pipelines.models import Models
from pipelines.service.config import ModelEntry, ServeConfig
from retrieve.reranking.stored_tokens import StoredTokenReranker
from service_tests import serving

SEARCH = "/v1/collections/notes/search"


def hits(answer):
    return [(hit["doc_id"], pytest.approx(hit["score"], abs=1e-6)) for hit in answer.json()["hits"]]


def expected(results):
    return [(result.doc_id, result.score) for result in results]


def test_legs_keep_their_configured_depths_in_another_fusion(collection):
    (collection / "search.yaml").write_text("legs: {bm25: {depth: 1}, dense: {depth: 2}}\n")
    with (
        serving(ServeConfig().with_collections([str(collection)])) as (url, _),
        SearchPipeline.open(collection, fusion="rrf") as shallow,
        SearchPipeline.open(collection, fusion="rrf", depth=9) as deep,
    ):
        own = httpx.post(f"{url}{SEARCH}", json={"query": "bread", "fusion": "rrf"}, timeout=60)
        stated = httpx.post(f"{url}{SEARCH}", json={"query": "bread", "fusion": "rrf", "depth": 9}, timeout=60)

        assert hits(own) == expected(shallow.search("bread"))
        assert hits(stated) == expected(deep.search("bread"))


def test_late_interaction_reads_the_stored_token_vectors(tmp_path, documents, minilm):
    build_collection(
        documents, tmp_path / "notes", dense=minilm, multi_vector=Models().dense_tokens(minilm), show_progress=False
    )
    with (
        serving(ServeConfig().with_collections([str(tmp_path / "notes")])) as (url, _),
        SearchPipeline.open(tmp_path / "notes", reranker="late-interaction") as pipeline,
    ):
        body = {"query": "loaf of bread", "k": 5, "reranker": "late-interaction"}
        answer = httpx.post(f"{url}{SEARCH}", json=body, timeout=60)

        assert isinstance(pipeline.reranker, StoredTokenReranker)
        assert hits(answer) == expected(pipeline.search("loaf of bread", 5))


def test_a_chosen_cross_encoder_is_the_served_one(shared_collection, tiny_cross_encoder):
    path = str(tiny_cross_encoder.checkpoint.folder)
    config = ServeConfig(models={"cross": ModelEntry(path, "cross-encoder", "float32")})
    with serving(config.with_collections([str(shared_collection)])) as (url, service):
        loaded = len(service.models._loaded)
        answer = httpx.post(f"{url}{SEARCH}", json={"query": "bread", "k": 3, "reranker": "cross"}, timeout=60)

        assert answer.json()["reranked"] > 0 and len(service.models._loaded) == loaded


def test_a_configured_reranker_is_named_without_its_folder(collection, tiny_cross_encoder):
    folder = tiny_cross_encoder.checkpoint.folder
    (collection / "search.yaml").write_text(f"reranker: {folder}\n")
    with (
        serving(ServeConfig().with_collections([str(collection)])) as (url, _),
        httpx.Client(base_url=url, timeout=60) as client,
    ):
        info = client.get("/v1/collections/notes").json()
        configured, named = (
            client.post(SEARCH, json={"query": "bread", "k": 3, **chosen}) for chosen in ({}, {"reranker": folder.name})
        )

        assert info["reranker"] == folder.name and info["rerankers"] == [folder.name, "late-interaction"]
        assert named.json()["hits"] == configured.json()["hits"]


def test_a_configuration_that_is_written_later_is_followed(words):
    config = ServeConfig(refresh_seconds=0.05).with_collections([str(words)])
    with serving(config) as (url, _), httpx.Client(base_url=url, timeout=60) as client:
        before = client.get("/v1/collections/notes").json()["reranker"], client.post(SEARCH, json={"query": "bread"})
        (words / "search.yaml").write_text("cache: 10\n")

        deadline = time.monotonic() + 30
        while not client.post(SEARCH, json={"query": "bread"}).json()["cached"]:
            assert time.monotonic() < deadline
        assert before[0] is None and not before[1].json()["cached"]


def test_a_cached_answer_to_a_filter_is_found_again(words):
    (words / "search.yaml").write_text("cache: 10\n")
    with serving(ServeConfig().with_collections([str(words)])) as (url, _), httpx.Client(base_url=url) as client:
        filters = [{"topic": "bread", "year": 2001}, {"year": 2001, "topic": "bread"}, {"year": 2001}]
        answers = [client.post(SEARCH, json={"query": "bread", "filter": each}).json()["cached"] for each in filters]
        phrasings = [client.post(SEARCH, json={"query": ["bread", "loaf"]}).json()["cached"] for _ in range(2)]

    assert (answers, phrasings) == ([False, True, False], [False, True])


def test_a_document_is_explained_far_down_the_ranking(tmp_path):
    mcp = pytest.importorskip("mcp")
    import asyncio

    from pipelines.service.agent_tools import make_agent_server
    from pipelines.service.callers import EVERYONE
    from pipelines.service.service import Service

    many = [Document(f"d{at}", "bread " * (400 - at) + "filler " * at, f"d{at}") for at in range(300)]
    build_collection(many, tmp_path / "notes", show_progress=False)

    async def ask():
        service = Service(ServeConfig().with_collections([str(tmp_path / "notes")]))
        async with service.running(), mcp.Client(make_agent_server(service, lambda _: EVERYONE)) as client:
            return (await client.call_tool("explain", {"query": "bread", "doc_id": "d250"})).structured_content

    why = asyncio.run(ask())

    assert why["rank"] == why["leg_ranks"]["bm25"] == 251
    assert why["explanation"]["legs"]["bm25"]["terms"][0]["term"] == "bread"
