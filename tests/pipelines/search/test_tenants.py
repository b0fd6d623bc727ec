"""Searches of one tenant find what the same searches with a filter on the field of tenants find."""

import json
import shutil

import numpy as np
import pytest

from indexing.collection.manifest import Leg
from indexing.collection.reader import Collection
from indexing.collection.writer import CollectionWriter
from indexing.corpora.chunked import chunk_document
from indexing.corpora.chunking import Chunking
from indexing.deployment.reader import DeployedCollection
from indexing.documents import Document
from indexing.errors import InputError
from indexing.indexes.qdrant.edge import EdgeEngine
from pipelines.build.job import build_collection
from pipelines.cli import main
from pipelines.deploy.certificate import certify
from pipelines.deploy.job import deploy
from pipelines.search import Facets, Refine
from pipelines.search.parents import search_parents
from pipelines.search.pipeline import SearchPipeline

FIELDS = {"team": "keyword", "year": "number"}
CONFIG = {"tenants": "team"}
QUERY = "word3 about topic2"


def document(number: int) -> Document:
    more = " ".join([f"word{n}" for n in range(number % 7)] + ["filler"] * min(number, 29))
    teams = ["red", "blue"] if number == 8 else "red" if number % 3 else "blue"
    return Document(
        f"d{number}", f"about topic{number % 5} {more}", f"Title {number}", {"team": teams, "year": 2000 + number % 4}
    )


@pytest.fixture(scope="module")
def collection(tmp_path_factory, tiny_dense, tiny_splade):
    path = tmp_path_factory.mktemp("tenants") / "collection"
    documents = [document(number) for number in range(40)]
    build_collection(documents, path, dense=tiny_dense, sparse=tiny_splade, fields=FIELDS, show_progress=False)
    (path / "search.yaml").write_text("tenants: team\n")
    return path


@pytest.fixture(scope="module")
def encoders(tiny_dense, tiny_splade):
    return {"dense": tiny_dense, "sparse": tiny_splade}


@pytest.fixture(scope="module")
def pipeline(collection, encoders):
    with SearchPipeline.open(collection, **encoders, cache=100) as pipeline:
        yield pipeline


def scored(results):
    return [(hit.doc_id, hit.score) for hit in results]


OPTIONS = [
    {},
    {"explain": True},
    {"filter": {"year": {"gte": 2002}}},
    {"filter": {"or": [{"year": 2001}, {"team": "blue"}]}},
    {"filter": {"team": "blue"}},
    {"offset": 3},
    {"refine": Refine(group_by="year")},
    {"facets": Facets(("team", "year"), over="match")},
    {"query_syntax": "simple"},
]


@pytest.mark.parametrize("options", OPTIONS, ids=lambda options: str(list(options.items()))[:40])
def test_a_tenant_is_a_filter_on_its_field(pipeline, options):
    query = "+word3 about topic2" if "query_syntax" in options else QUERY
    found = pipeline.search(query, 12, tenant="red", **options)
    both = {"and": [{"team": "red"}, options.get("filter") or {}]}
    expected = pipeline.search(query, 12, **{**options, "filter": both})
    assert scored(found) == scored(expected) and len(found)
    assert found.facets == expected.facets
    assert [hit.explanation for hit in found] == [hit.explanation for hit in expected]
    assert all("red" in hit.metadata["team"] for hit in found)


def test_every_way_to_search_takes_a_tenant(pipeline):
    alone = scored(pipeline.search(QUERY, 5, tenant="blue"))
    assert scored(pipeline.batch_search({"q": QUERY}, 5, tenant="blue")["q"]) == alone
    assert pipeline.retrieve([QUERY], 5, tenant="blue")[0].doc_ids == [doc_id for doc_id, _ in alone]
    variants = [QUERY, "topic2"]
    filtered = pipeline.multi_search(variants, 5, filter={"team": "blue"})
    assert scored(pipeline.multi_search(variants, 5, tenant="blue")) == scored(filtered)
    for wrong in ("", [], ["blue", ""], {"blue"}, 3):
        with pytest.raises(InputError, match="tenant must be the value"):
            pipeline.search(QUERY, tenant=wrong)


@pytest.mark.parametrize("filter", [None, {"year": 2001}, {"or": [{"year": 2001}, {"team": "blue"}]}], ids=str)
def test_several_tenants_are_searched_together(pipeline, filter):
    """A list finds the documents of any of its tenants, and its answers are cached apart from those of one."""
    several = pipeline.search(QUERY, 40, filter=filter, tenant=["blue", "red"])
    found = {hit.doc_id for hit in several}

    assert scored(several) == scored(pipeline.search(QUERY, 40, filter=filter))
    assert found == {
        hit.doc_id for tenant in ("blue", "red") for hit in pipeline.search(QUERY, 40, filter=filter, tenant=tenant)
    }
    assert scored(pipeline.search(QUERY, 40, filter=filter, tenant=["blue"])) == scored(
        pipeline.search(QUERY, 40, filter=filter, tenant="blue")
    )


def test_answers_of_tenants_are_cached_apart(pipeline):
    query, found = "filler word1", {}
    for tenant in ("red", "blue", None):
        first, again = pipeline.search(query, 5, tenant=tenant), pipeline.search(query, 5, tenant=tenant)
        assert (first.cached, again.cached) == (False, True) and scored(first) == scored(again)
        found[tenant] = scored(first)
    assert found["red"] != found["blue"]


def test_a_reranker_reads_only_documents_of_the_tenant(collection, encoders):
    with SearchPipeline.open(collection, **encoders, reranker="late-interaction", candidates=7) as pipeline:
        found = pipeline.search(QUERY, 5, tenant="blue")
        assert scored(found) == scored(pipeline.search(QUERY, 5, filter={"team": "blue"})) and found.reranked == 7


def test_the_field_of_tenants_is_a_declared_keyword(collection, encoders, tmp_path):
    with (
        SearchPipeline.open(collection, **encoders, config={}) as pipeline,
        pytest.raises(InputError, match=r"declares no field of tenants: write tenants: FIELD .*keyword fields: team"),
    ):
        pipeline.search(QUERY, tenant="red")
    with pytest.raises(InputError, match="'year' is not a declared field of type keyword"):
        SearchPipeline.open(collection, **encoders, config={"tenants": "year"})
    with SearchPipeline.open(collection, **encoders, config=CONFIG) as pipeline:
        assert pipeline.save(tmp_path / "saved.yaml").read_text().count("tenants: team") == 1


def test_chunks_belong_to_the_tenant_of_their_document(tmp_path):
    documents = [
        Document(f"d{n}", f"Topic {n}. " + "A sentence about bread. " * 9, metadata={"team": f"t{n % 2}"})
        for n in range(6)
    ]
    chunks = [chunk for document in documents for chunk in chunk_document(document, Chunking(size=16, overlap=0))]
    build_collection(chunks, tmp_path / "chunks", fields={"team": "keyword"}, show_progress=False)
    with SearchPipeline.open(tmp_path / "chunks", config=CONFIG) as pipeline:
        found = search_parents(pipeline, "bread", 6, tenant="t1")
        assert sorted(parent.document.doc_id for parent in found) == ["d1", "d3", "d5"]


def test_a_deployed_collection_knows_its_tenants(collection, encoders, tmp_path, monkeypatch):
    deploy(collection, tmp_path / "there", show_progress=False)
    with SearchPipeline.open(tmp_path / "there", **encoders) as there, there.reading() as (stages, _):
        assert stages.tenants == stages.snapshot.layout.tenant == "team"
        found = there.search(QUERY, 40, tenant="blue", filter={"year": [2000, 2001]})
        assert {hit.doc_id for hit in found} == {"d0", "d8", "d9", "d12", "d21", "d24", "d33", "d36"}
        assert scored(found) == scored(there.search(QUERY, 40, filter={"year": [2000, 2001], "team": "blue"}))

    # The graph links documents of one tenant, so that it is used for one only.
    calls, query = [], EdgeEngine.query
    monkeypatch.setattr(EdgeEngine, "query", lambda self, queries: calls.extend(queries) or query(self, queries))
    for fusion in (None, "rrf"):
        with SearchPipeline.open(tmp_path / "there", **encoders, fusion=fusion) as there:
            for options, exact in (
                ({"tenant": "blue"}, False),
                ({"tenant": "blue", "filter": {"year": 2001}}, False),
                ({"filter": {"team": ["blue", "red"]}}, True),
                ({"filter": {"or": [{"team": "blue"}, {"year": 2001}]}}, True),
                ({}, True),
            ):
                calls.clear()
                there.search(QUERY, 5, **options)
                one_team = {"team": options["tenant"]} if "tenant" in options else options.get("filter")
                there.leg("dense").search([QUERY], 5, filter=one_team)
                assert {one.exact for one in calls} == {exact}


@pytest.mark.slow
def test_a_search_of_all_tenants_misses_nothing(tmp_path):
    rng, legs = np.random.default_rng(0), {"dense": Leg("faiss", parameters={"dimension": 128, "metric": "cosine"})}
    with CollectionWriter.create(tmp_path / "collection", legs, fields={"team": "keyword"}) as writer:
        for first in range(0, 25_000, 500):
            vectors = rng.standard_normal((500, 128), dtype=np.float32)
            documents = [Document(f"d{n}", "x", metadata={"team": f"t{n % 5}"}) for n in range(first, first + 500)]
            writer.upsert(documents, {"dense": vectors})
    deploy(tmp_path / "collection", tmp_path / "there", tenants="team", show_progress=False)
    asked = rng.standard_normal((20, 128), dtype=np.float32)
    with Collection.open(tmp_path / "collection") as one, DeployedCollection.open(tmp_path / "there") as there:
        for filter, least in ((None, 1.0), ({"team": ["t1", "t2"]}, 1.0), ({"team": "t1"}, 0.8)):
            hits = [index.index("dense").search(asked, 10, filter) for index in (one, there)]
            overlap = [len(set(a.doc_ids) & set(b.doc_ids)) / 10 for a, b in zip(*hits, strict=True)]
            assert np.mean(overlap) >= least, filter


@pytest.mark.slow
def test_a_certificate_compares_within_a_tenant(collection, encoders, tmp_path, capsys):
    deploy(collection, tmp_path / "there", show_progress=False)
    certificate = certify(collection, tmp_path / "there", tenant="blue", sampled=5, **encoders)
    assert certificate.passed, certificate.lines()
    (collection / "search.yaml").rename(tmp_path / "search.yaml")
    try:
        deploy(collection, tmp_path / "other", legs=["bm25"], tenants="team", show_progress=False)
        assert certify(collection, tmp_path / "other", tenant="red", sampled=5, **encoders).passed
    finally:
        (tmp_path / "search.yaml").rename(collection / "search.yaml")
    assert main(["search", str(tmp_path / "other"), QUERY, "--tenant", "blue", "--json", "-k", "3"]) == 0
    hits = json.loads(capsys.readouterr().out)["hits"]
    assert len(hits) == 3 and all("blue" in hit["metadata"]["team"] for hit in hits)


def test_the_command_line_searches_and_scores_one_tenant(collection, tmp_path, capsys):
    copy = shutil.copytree(collection, tmp_path / "collection")
    (copy / "search.yaml").write_text("tenants: team\nlegs: [bm25]\n")
    assert main(["search", str(copy), QUERY, "--tenant", "blue", "--json"]) == 0
    hits = json.loads(capsys.readouterr().out)["hits"]
    assert hits and all("blue" in hit["metadata"]["team"] for hit in hits)
    (tmp_path / "queries.jsonl").write_text('{"_id": "q", "text": "word3 topic3"}\n')
    # d3 is the only blue document of its words before d24, and d13 a red one.
    (tmp_path / "qrels.tsv").write_text("query-id\tcorpus-id\tscore\nq\td3\t1\n")
    measured = {}
    for tenant in ("blue", "red"):
        output = tmp_path / tenant
        command = ["evaluate", str(copy), "--queries", str(tmp_path / "queries.jsonl"), "--qrels"]
        command += [str(tmp_path / "qrels.tsv"), "--systems", "bm25", "--tenant", tenant, "--output", str(output)]
        assert main([*command, "--no-report"]) == 0
        results = json.loads((output / "results.json").read_text())["datasets"]["collection"]
        measured[tenant] = results["systems"]["bm25"]["measures"]["nDCG@10"], results["documents"]
        run = (output / "runs" / "collection" / "bm25.trec").read_text()
        assert ("d13" in run) == (tenant == "red") and ("d3" in run.split()) == (tenant == "blue")
    assert measured["blue"][0] > 0 and measured["red"][0] == 0
    assert measured["blue"][1] + measured["red"][1] == 41  # d8 belongs to both
    assert "1 judged document is not of the tenant 'red'" in capsys.readouterr().err
