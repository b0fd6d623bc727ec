"""A collection whose BM25 leg Qdrant analyses and scores: built, changed, explained, moved, deployed, certified."""

import shutil
from pathlib import Path

import pytest
from qdrant_stand_in import stand_in

from indexing.collection.verify import verify
from indexing.collection.writer import CollectionWriter
from indexing.deployment.reader import DeployedCollection
from indexing.documents import Document
from indexing.errors import InputError, StorageError
from pipelines.build.job import build_collection
from pipelines.build.plan import IndexChoice
from pipelines.cli import main
from pipelines.deploy.certificate import certify
from pipelines.deploy.job import deploy
from pipelines.search.highlight import highlight
from pipelines.search.pipeline import SearchPipeline

DOCUMENTS = [
    Document(
        f"d{number}",
        f"text {' '.join(f'word{n}' for n in range(number % 7))} about topics{number % 5} {'more ' * (number % 11)}",
        f"Title {number}",
        {"team": f"t{number % 3}"},
    )
    for number in range(40)
]
QUERY = "topics3 word4 titles"
ENGLISH = IndexChoice("qdrant", {"analyzer": "qdrant-en", "k1": 1.2, "b": 0.75})


@pytest.fixture(scope="module")
def built(tmp_path_factory, tiny_dense) -> Path:
    path = tmp_path_factory.mktemp("built") / "collection"
    build_collection(
        DOCUMENTS, path, dense=tiny_dense, bm25_index=ENGLISH, fields={"team": "keyword"}, show_progress=False
    )
    return path


@pytest.fixture
def collection(built, tmp_path) -> Path:
    return Path(shutil.copytree(built, tmp_path / "collection"))


def ranked(path, query=QUERY, **options):
    with SearchPipeline.open(path, legs=["bm25"]) as pipeline:
        return {hit.doc_id: hit.score for hit in pipeline.search(query, 40, **options)}


def test_the_command_line_builds_and_info_says_how_it_scores(tmp_path, capsys):
    corpus = tmp_path / "corpus.jsonl"
    corpus.write_text('{"_id": "a", "text": "running cats"}\n{"_id": "b", "text": "a dog"}\n')
    where = str(tmp_path / "collection")
    index = ["index", str(corpus), "--to", where, "--no-dense", "--quiet"]
    assert main([*index, "--bm25-backend", "qdrant", "--analyzer", "qdrant-en"]) == 0
    assert main(["info", where]) == 0
    assert "analysed and scored by Qdrant (TextQuery): runs of letters and digits" in capsys.readouterr().out
    assert main(["search", where, "cat runs", "--explain"]) == 0
    found = capsys.readouterr().out
    assert "bm25: analysed and scored by Qdrant (TextQuery)" in found and "cat" in found
    assert main([*index[:3], str(tmp_path / "other"), *index[4:], "--analyzer", "qdrant-en"]) != 0
    assert "Qdrant's own are for legs in Qdrant" in capsys.readouterr().err


def test_stems_repeated_words_and_filters(built):
    assert ranked(built, "words") == ranked(built, "Word word words") == {}
    assert ranked(built, "texts") == ranked(built, "Text text texts") and len(ranked(built, "texts")) == 40
    everything = ranked(built)
    kept = {doc_id: score for doc_id, score in everything.items() if int(doc_id[1:]) % 3 == 1}
    assert ranked(built, filter={"team": "t1"}) == kept
    with SearchPipeline.open(built, legs=["bm25"]) as pipeline:
        (marked,) = highlight(pipeline, "TITLE", ["Title 3 titles"])
        assert [marked.text[start:end] for start, end in marked.spans] == ["Title"]
        with pytest.raises(InputError, match="has operators"):
            pipeline.search('"topics3 word1"', query_syntax="simple")


def test_updates_leave_the_scores_of_a_new_index(tmp_path):
    build_collection(DOCUMENTS, tmp_path / "changed", bm25_index=ENGLISH, show_progress=False)
    changed = Document("d1", "topics3 topics3 other words", "New", {"team": "t1"})
    with CollectionWriter.open(tmp_path / "changed") as writer:
        writer.upsert([changed])
        writer.delete(["d2"])
    kept = [one for one in DOCUMENTS if one.doc_id not in ("d1", "d2")]
    build_collection([*kept, changed], tmp_path / "new", bm25_index=ENGLISH, show_progress=False)
    expected = ranked(tmp_path / "new")
    assert ranked(tmp_path / "changed") == pytest.approx(expected, rel=1e-5) and "d1" in expected
    assert verify(tmp_path / "changed") == []
    assert main(["compact", str(tmp_path / "changed"), "--quiet"]) == 0
    assert ranked(tmp_path / "changed") == pytest.approx(expected, rel=1e-5)


def test_a_leg_moves_to_lucene_and_back(collection, capsys):
    expected = ranked(collection)
    assert main(["reindex", str(collection), "--leg", "bm25", "--backend", "bm25", "--quiet"]) != 0
    assert "unknown analyzer 'qdrant-en'; Qdrant's own are for legs in Qdrant" in capsys.readouterr().err
    move = ["reindex", str(collection), "--leg", "bm25", "--quiet", "--backend"]
    assert main([*move, "bm25", "--analyzer", "en"]) == 0
    assert ranked(collection) != expected
    assert main([*move, "qdrant", "--analyzer", "qdrant-en"]) == 0
    assert ranked(collection) == pytest.approx(expected, rel=1e-6)


def test_a_deployment_scores_texts_in_the_same_request(collection, tmp_path, tiny_dense):
    there = tmp_path / "there"
    deploy(collection, there, show_progress=False)
    assert ranked(there) == pytest.approx(ranked(collection), rel=1e-6)
    found = certify(collection, there, sampled=20, dense=tiny_dense)
    assert found.passed, found.lines()
    assert {one.name: one.bound.setting for one in found.comparisons}["bm25"] == "exact"
    with SearchPipeline.open(there, dense=tiny_dense, fusion={"like": "qdrant", "method": "dbsf"}) as pipeline:
        here = pipeline.search(QUERY, 5, explain=True)
        assert any("all legs were searched in one request" in note for note in here.notes)
        assert any("bm25: analysed and scored by Qdrant" in note for note in here.notes)
        assert [hit.score for hit in pipeline.search(QUERY, 5)] == pytest.approx([hit.score for hit in here], rel=1e-4)
        assert len(pipeline.search("?!", 5)) == 5
    with CollectionWriter.open(collection, without=["dense"]) as writer:
        writer.delete(["d3"])
    assert deploy(collection, there, follow=True, show_progress=False).documents == 39
    assert ranked(there) == pytest.approx(ranked(collection), rel=1e-6)


def test_a_changed_text_is_named_by_the_certificate(collection, tmp_path, tiny_dense):
    there = tmp_path / "there"
    deploy(collection, there, legs=["bm25"], show_progress=False)
    with DeployedCollection.open(there) as deployed:
        (point,) = [one for one in deployed.engine.scroll(None, 100, ["bm25"])[0] if one.payload["doc_id"] == "d7"]
        other = type(point.vectors["bm25"])("something else")
        deployed.engine.store([point._replace(vectors={"bm25": other})])
    found = certify(collection, there, sampled=5, dense=tiny_dense)
    assert not found.passed
    assert [str(one) for one in found.differences] == ["the document 'd7': its vector of the leg 'bm25' differs"]


def test_other_words_meet_a_bound_of_their_own(collection, built, tiny_dense):
    with CollectionWriter.open(collection, without=["bm25"]) as writer:
        writer.reindex("bm25", backend="bm25", analyzer="en")
    found = certify(built, collection, sampled=20, dense=tiny_dense)
    assert {one.name: one.bound.setting for one in found.comparisons} == {
        "dense": "exact",
        "bm25": "analysed",
        "fused": "analysed",
    }


def test_local_mode_takes_the_plain_analyzer_only(collection, tmp_path, tiny_dense):
    with pytest.raises(StorageError, match="choose the analyzer 'qdrant', or Edge or a server"):
        deploy(collection, tmp_path / "there", engine="local", show_progress=False)
    with CollectionWriter.open(collection, without=["bm25"]) as writer:
        writer.reindex("bm25", analyzer="qdrant")
    deploy(collection, tmp_path / "there", engine="local", show_progress=False)
    found = certify(collection, tmp_path / "there", sampled=20, dense=tiny_dense)
    assert found.passed, found.lines()


@pytest.mark.parametrize(
    "options",
    [{}, {"shards": 2}, {"tenants": "team", "shard_by_tenant": True}],
    ids=["whole", "two shards", "a shard of each tenant"],
)
def test_a_server_scores_texts_in_its_shards(tmp_path, options):
    plain = IndexChoice("qdrant", {"analyzer": "qdrant"})
    build_collection(DOCUMENTS, tmp_path / "made", bm25_index=plain, fields={"team": "keyword"}, show_progress=False)
    with stand_in(cluster=True) as server:
        deploy(tmp_path / "made", server.url, name="texts", show_progress=False, **options)
        made = next(body for request, body in server.requests if request.endswith("/index"))
        assert made["field_name"] == "texts.bm25" and made["field_schema"]["scoring"] is True
        found = certify(tmp_path / "made", f"{server.url}/texts", sampled=10)
    assert [one.bound.setting for one in found.comparisons] == ["shards" if options else "exact"]
    assert found.differing == 0 and ("tenants" in options or found.passed), found.lines()
