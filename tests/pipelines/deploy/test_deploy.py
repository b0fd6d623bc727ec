"""A collection with every sort of leg, deployed to embedded engines, and searched there as before."""

import shutil
from functools import partialmethod
from pathlib import Path

import numpy as np
import pytest
from qdrant_client import QdrantClient

from indexing.collection.backup import backup, restore
from indexing.collection.writer import CollectionWriter
from indexing.deployment.reader import DeployedCollection
from indexing.documents import Document
from indexing.errors import InputError, StorageError
from indexing.indexes.qdrant.edge import EdgeEngine
from pipelines.build.job import build_collection
from pipelines.cli import main
from pipelines.deploy import job
from pipelines.deploy.job import deploy
from pipelines.search.pipeline import SearchPipeline

FIELDS = {"year": "number", "team": "keyword"}
QUERY = "word3 about topic2"


def document(number: int, words: str = "") -> Document:
    # Of different lengths, so that no two scores of BM25 are equal.
    more = " ".join([f"word{n}" for n in range(number % 7)] + ["filler"] * min(number, 29))
    text = f"{words} about topic{number % 5} {more}"
    return Document(
        f"d{number}", text, f"Title {number}", {"year": 2000 + number % 3, "team": f"t{number % 2}", "n": [1]}
    )


@pytest.fixture(scope="module")
def built(tmp_path_factory, tiny_dense, tiny_splade) -> Path:
    """The collection, which no test changes."""
    path = tmp_path_factory.mktemp("built") / "collection"
    documents = [document(number) for number in range(30)]
    build_collection(documents, path, dense=tiny_dense, sparse=tiny_splade, fields=FIELDS, show_progress=False)
    return path


@pytest.fixture
def collection(built, tmp_path) -> Path:
    """A copy to change."""
    return Path(shutil.copytree(built, tmp_path / "collection"))


@pytest.fixture(scope="module")
def deployed(built, tmp_path_factory) -> Path:
    """The collection in an embedded engine."""
    to = tmp_path_factory.mktemp("deployed") / "there"
    done = deploy(built, to, show_progress=False)
    assert (done.documents, done.sent, done.resumed) == (30, 30, False)
    return to


@pytest.fixture(scope="module")
def local(built, tmp_path_factory) -> Path:
    """The collection in the client's local mode."""
    to = tmp_path_factory.mktemp("local") / "there"
    deploy(built, to, engine="local", show_progress=False)
    return to


@pytest.fixture
def encoders(tiny_dense, tiny_splade):
    return {"dense": tiny_dense, "sparse": tiny_splade}


def answers(where, encoders, **options):
    with SearchPipeline.open(where, **encoders, **options) as pipeline:
        found = pipeline.search(QUERY, 10)
        return {hit.doc_id: hit.score for hit in found}, found


def test_every_leg_answers_as_before(built, deployed, encoders):
    for leg in ("bm25", "dense", "sparse"):
        expected, _ = answers(built, encoders, legs=[leg])
        found, results = answers(deployed, encoders, legs=[leg])
        # Lucene stores weights as whole numbers, a hundredfold, on both sides of the product.
        scale, bound = (1e4, 1e-2) if leg == "sparse" else (1, 1e-3)
        scores = [score / scale for score in expected.values()]
        assert sorted(found.values()) == pytest.approx(sorted(scores), rel=bound)
        assert len(set(found) & set(expected)) >= (7 if leg == "sparse" else 10)
    assert results[0].metadata["n"] == [1] and results[0].title.startswith("Title")


def test_filters_and_explanations_work_on_what_is_deployed(deployed, encoders):
    with SearchPipeline.open(deployed, **encoders) as pipeline:
        assert len(pipeline.collection) == 30
        found = pipeline.search(QUERY, 30, filter={"year": 2001, "team": "t1"}, explain=True)
        assert {hit.metadata["year"] for hit in found} == {2001} and len(found) == 5
        assert any("one request" in note for note in found.notes)
        assert set(found[0].legs) == {"bm25", "dense", "sparse"}
        assert len(pipeline.collection.matching({"team": "t0"})) == 15
        with pytest.raises(InputError, match="facets are not counted in a deployed collection"):
            pipeline.search(QUERY, facets=["team"])
        with pytest.raises(InputError, match="'none' is not in"):
            pipeline.collection.documents.get(["none"])


@pytest.mark.parametrize(
    "fusion", ["rrf", {"like": "qdrant", "method": "rrf", "k": 20, "weights": [1, 2, 3]}, "default"]
)
def test_a_hybrid_search_is_one_request(deployed, encoders, monkeypatch, fusion):
    calls = []
    query = EdgeEngine.query
    monkeypatch.setattr(EdgeEngine, "query", lambda self, queries: calls.append(queries) or query(self, queries))
    count = EdgeEngine.count
    monkeypatch.setattr(EdgeEngine, "count", lambda *a: calls.append("count") or count(*a))
    options = {} if fusion == "default" else {"fusion": fusion}
    with SearchPipeline.open(deployed, **encoders, **options) as pipeline:
        here = pipeline.search(QUERY, 10, explain=True)
        calls.clear()
        there = pipeline.search(QUERY, 10)
    assert len(calls) == 1
    assert len(calls[0]) == (3 if fusion == "default" else 1)
    np.testing.assert_allclose([hit.score for hit in there], [hit.score for hit in here], rtol=1e-4)


def test_the_command_line_searches_by_the_stored_configuration(collection, tmp_path, capsys, encoders):
    (collection / "search.yaml").write_text("legs: [bm25]\n")
    deploy(collection, tmp_path / "there", show_progress=False)
    assert main(["search", str(tmp_path / "there"), QUERY, "--json"]) == 0
    expected, _ = answers(collection, encoders)
    assert f'"{next(iter(expected))}"' in capsys.readouterr().out
    with SearchPipeline.open(tmp_path / "there") as pipeline:
        assert [leg.name for leg in [pipeline.retriever]] == ["bm25"]


def test_follow_sends_only_what_was_written_since(collection, tmp_path, encoders):
    to = tmp_path / "there"
    deploy(collection, to, show_progress=False)
    assert deploy(collection, to, follow=True, show_progress=False).sent == 0
    with CollectionWriter.open(collection, encoders=encoders) as writer:
        writer.upsert([document(100, "zebra"), document(3, "zebra")])
        writer.delete(["d5", "d6"])
    done = deploy(collection, to, follow=True, show_progress=False)
    assert (done.sent, done.documents) == (2, 29)
    with DeployedCollection.open(to) as there:
        assert there.documents.alive(["d3", "d5", "d100"]) == {"d3", "d100"} and len(there) == 29
    with SearchPipeline.open(to, legs=["bm25"]) as pipeline:
        assert {hit.doc_id for hit in pipeline.search("zebra")} == {"d3", "d100"}
    with CollectionWriter.open(collection, encoders=encoders) as writer:
        writer.delete(["d7"])
        writer.compact()
    with pytest.raises(StorageError, match="deploy the whole again"):
        deploy(collection, to, follow=True, show_progress=False)
    assert deploy(collection, to, show_progress=False).documents == 28


def test_follow_sends_what_replaces_a_document_before_it_deletes_it(collection, tmp_path, encoders, monkeypatch):
    """Searches see each step of it: they find the old document or the new one."""
    to, calls = tmp_path / "there", []
    deploy(collection, to, show_progress=False)
    with CollectionWriter.open(collection, encoders=encoders) as writer:
        writer.upsert([document(100, "zebra")])
        writer.delete(["d5"])
    for name in ("upsert", "delete"):
        whole = getattr(EdgeEngine, name)
        recorded = lambda self, given, name=name, whole=whole: calls.append(name) or whole(self, given)  # noqa: E731
        monkeypatch.setattr(EdgeEngine, name, recorded)
    deploy(collection, to, follow=True, show_progress=False)
    assert calls == ["upsert", "delete"]


def test_follow_refuses_a_collection_that_was_restored_or_built_again(collection, tmp_path, encoders):
    """Its journal names other writes by the same numbers: what differs before them would never be sent."""
    to = tmp_path / "there"
    backup(collection, tmp_path / "copy")
    with CollectionWriter.open(collection, encoders=encoders) as writer:
        writer.delete(["d1"])
    deploy(collection, to, show_progress=False)
    restore(tmp_path / "copy", collection, overwrite=True)
    with CollectionWriter.open(collection, encoders=encoders) as writer:
        writer.delete(["d2"])
        writer.delete(["d3"])
    with pytest.raises(StorageError, match=r"was built again or restored since it was deployed .*leave out --follow"):
        deploy(collection, to, follow=True, show_progress=False)
    deploy(collection, to, show_progress=False)
    assert deploy(collection, to, follow=True, show_progress=False).documents == 28


def test_what_was_begun_of_another_journal_is_not_resumed(collection, tmp_path, encoders, monkeypatch):
    to = tmp_path / "there"
    with monkeypatch.context() as patch:
        patch.setattr(job, "_check", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            deploy(collection, to, legs=["dense"], show_progress=False)
    documents = [document(number, "other") for number in range(40)]
    options = {"dense": encoders["dense"], "sparse": encoders["sparse"], "fields": FIELDS, "show_progress": False}
    build_collection(documents, collection, overwrite=True, **options)
    done = deploy(collection, to, legs=["dense"], show_progress=False)
    assert (done.documents, done.sent, done.resumed) == (40, 40, False)


def test_a_collection_without_documents_is_deployed_and_then_anew(collection, tmp_path, encoders):
    """Its BM25 has no mean length of documents, so that `follow` would score by a wrong one."""
    to = tmp_path / "there"
    with CollectionWriter.open(collection) as writer:
        writer.delete([f"d{number}" for number in range(30)])
        writer.compact()
    assert deploy(collection, to, show_progress=False).documents == 0
    with SearchPipeline.open(to, **encoders) as pipeline:
        assert pipeline.search(QUERY, explain=True) == []
    assert deploy(collection, to, follow=True, show_progress=False).documents == 0
    with CollectionWriter.open(collection, encoders=encoders) as writer:
        writer.upsert([document(number) for number in range(3)])
    with pytest.raises(StorageError, match="knows no mean length: deploy the whole"):
        deploy(collection, to, follow=True, show_progress=False)
    assert deploy(collection, to, show_progress=False).documents == 3


def test_a_deployment_of_another_layout_replaces_the_old_one_at_once(collection, tmp_path, encoders):
    to = tmp_path / "there"
    deploy(collection, to, show_progress=False)
    assert (
        main(["deploy", str(collection), "--to", str(to), "--quantization", "scalar", "--tenants", "team", "--quiet"])
        == 0
    )
    with DeployedCollection.open(to) as there:
        assert there.layout.tenant == "team" and there.leg("dense").parameters["quantization"] == "scalar"
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["collection", "there"]
    with SearchPipeline.open(to, **encoders) as pipeline:
        found = pipeline.search(QUERY, 5, filter={"team": "t1"})
        assert {hit.metadata["team"] for hit in found} == {"t1"}


def test_what_cannot_be_deployed_is_refused(collection, tmp_path):
    with pytest.raises(InputError, match="'year' is not a declared field of type keyword"):
        deploy(collection, tmp_path / "there", tenants="year", show_progress=False)
    with pytest.raises(InputError, match="shards is for a server"):
        deploy(collection, tmp_path / "there", shards=2, show_progress=False)
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "file").write_text("mine")
    with pytest.raises(StorageError, match="is no deployed collection"):
        deploy(collection, tmp_path / "taken", show_progress=False)
    with pytest.raises(StorageError, match="no deployed collection to bring forward"):
        deploy(collection, tmp_path / "there", follow=True, show_progress=False)
    assert not (tmp_path / "there").exists()


@pytest.mark.parametrize("mine", ["notes.txt", "search.yaml", "more/notes.txt", "link"])
def test_what_lies_beside_a_deployment_is_never_deleted(collection, tmp_path, mine):
    """A deployment replaces the folder of the one before, unless anything else lies in it."""
    there = tmp_path / "there"
    deploy(collection, there, legs=["bm25"], show_progress=False)
    (there / mine).parent.mkdir(exist_ok=True)
    if mine == "link":
        (there / mine).symlink_to(tmp_path)
    else:
        (there / mine).write_text("mine")
    with pytest.raises(StorageError, match=r"would be replaced, but .* does not belong to a deployed collection"):
        deploy(collection, there, legs=["bm25"], show_progress=False)
    assert (there / mine).exists()


@pytest.mark.parametrize("role", ["building", "old"])
def test_hidden_folders_of_others_beside_a_deployment_stay(collection, tmp_path, role):
    mine = tmp_path / f".there.{role}" / "notes.txt"
    mine.parent.mkdir()
    mine.write_text("mine")
    with pytest.raises(StorageError, match=r"would be replaced, but .*notes\.txt"):
        deploy(collection, tmp_path / "there", legs=["bm25"], show_progress=False)
    assert mine.exists()


def test_following_finishes_a_switch_that_was_killed_between_its_renames(collection, tmp_path):
    there = tmp_path / "there"
    deploy(collection, there, legs=["bm25"], show_progress=False)
    there.rename(tmp_path / ".there.old")
    with CollectionWriter.open(collection, without=["dense", "sparse"]) as writer:
        writer.delete(["d0"])
    deploy(collection, there, follow=True, show_progress=False)
    assert not (tmp_path / ".there.old").exists()
    with DeployedCollection.open(there) as found:
        assert len(found) == 29


@pytest.mark.parametrize("address", ["localhost:6333", "qdrant.example.org:6333/books"])
def test_an_address_without_a_scheme_is_no_folder(collection, tmp_path, monkeypatch, address):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=f"write http://{address}"):
        deploy(collection, address, show_progress=False)
    assert not any(tmp_path.glob("*:*"))


@pytest.mark.slow
def test_a_hybrid_search_through_the_client_is_one_call_of_it(local, encoders, monkeypatch):
    calls = []

    def counting(client, name, method, *given, **more):
        calls.append(name)
        return method(client, *given, **more)

    for name in ("query_batch_points", "query_points", "count", "scroll"):
        monkeypatch.setattr(QdrantClient, name, partialmethod(counting, name, getattr(QdrantClient, name)))
    for fusion in ("rrf", None):
        with SearchPipeline.open(local, **encoders, fusion=fusion) as pipeline:
            pipeline.retrieve([QUERY], 5)
            calls.clear()
            assert len(pipeline.retrieve([QUERY], 5)[0]) == 5
        assert calls == ["query_batch_points"]


@pytest.mark.slow
def test_the_local_mode_answers_as_the_embedded_engine(built, deployed, local, encoders):
    for leg in ("bm25", "dense", "sparse"):
        expected, _ = answers(deployed, encoders, legs=[leg])
        found, _ = answers(local, encoders, legs=[leg])
        assert sorted(found.values()) == pytest.approx(sorted(expected.values()), rel=1e-3)


def test_info_describes_what_is_deployed(local, capsys):
    assert main(["info", str(local)]) == 0
    said = capsys.readouterr().out
    assert "30 documents deployed" in said and "year (number)" in said and "bm25: qdrant" in said
    assert main(["info", str(local), "--terms"]) == 1
    assert "no BM25 leg in Lucene" in capsys.readouterr().err
