"""The whole way on a small corpus, with the real MiniLM, FAISS and Lucene."""

import json

import pytest

from indexing.collection.reader import Collection
from indexing.documents import Document
from indexing.errors import InputError, ModelError, StorageError
from pipelines import SearchPipeline, build_collection
from pipelines.build.plan import is_built
from retrieve.retrievers import DenseRetriever


@pytest.fixture(scope="module")
def collection(tmp_path_factory, corpus, minilm):
    path = tmp_path_factory.mktemp("pipeline") / "collection"
    report = build_collection(corpus, path, dense=minilm, show_progress=False)
    assert (report.documents, set(report.leg_bytes)) == (len(corpus), {"bm25", "dense"})
    assert all(size > 0 for size in report.leg_bytes.values())
    return path


@pytest.fixture(scope="module")
def pipeline(collection, minilm):
    with SearchPipeline.open(collection, dense=minilm) as opened:
        yield opened


def test_finds_by_words_and_by_meaning_and_says_which(pipeline):
    results = pipeline.search("oven recipe for dessert", k=3)

    assert results[0].doc_id == "cake"
    assert (results[0].title, results[0].rank) == ("Sponge cake", 1)
    assert results[0].legs["dense"].rank == 1
    assert results[0].legs["bm25"].rank == 1
    assert "bm25" not in results[1].legs, "no other document has any of the words"


def test_gives_metadata_and_plain_values(pipeline):
    result = pipeline.search("eigenvalues of a matrix", k=1)[0]
    assert result.metadata == {"year": 1965}
    assert json.loads(json.dumps(result.as_dict()))["legs"]["bm25"]["rank"] == 1


def test_a_batch_answers_as_single_searches_do(pipeline):
    queries = {"a": "bake", "b": "network packets", "c": "?", "d": "日本", "e": "bake"}
    batch = pipeline.batch_search(queries, k=4)
    assert list(batch) == list(queries)
    for query_id, text in queries.items():
        single = pipeline.search(text, k=4)
        assert [result.doc_id for result in batch[query_id]] == [result.doc_id for result in single]
        assert [result.score for result in batch[query_id]] == pytest.approx([r.score for r in single], abs=1e-5)


def test_k_larger_than_the_corpus_and_no_queries(pipeline, corpus):
    assert len(pipeline.search("bread", k=500)) == len(corpus)
    assert pipeline.batch_search({}, k=3) == {}
    with pytest.raises(InputError, match="k must be at least 1"):
        pipeline.search("bread", k=0)
    with pytest.raises(InputError, match=r"takes \{query_id: text\}"):
        pipeline.batch_search(["bread"])


def test_opens_single_legs_and_names_those_there_are(collection, minilm):
    with SearchPipeline.open(collection, legs=["bm25"]) as words:
        assert [result.doc_id for result in words.search("datagrams")] == ["udp"]
        assert words.search("datagrams")[0].legs["bm25"].rank == 1
    with pytest.raises(InputError, match="not the string 'bm25'"):
        SearchPipeline.open(collection, legs="bm25")
    with pytest.raises(StorageError, match="no leg 'splade': it has bm25, dense"):
        SearchPipeline.open(collection, legs=["splade"])


def test_late_interaction_reranks_and_the_first_stage_is_remembered(collection, minilm):
    with SearchPipeline.open(collection, dense=minilm, reranker="late-interaction", candidates=4) as pipeline:
        results = pipeline.search("bake a loaf", k=6)
    assert results[0].doc_id == "bread"
    assert {"first-stage", "dense"} <= set(results[0].legs)
    assert [result.legs["first-stage"].rank for result in results[4:]] == [5, 6], "below the candidates nothing moves"


def test_late_interaction_needs_a_dense_encoder_from_somewhere(tmp_path, corpus, minilm):
    build_collection(corpus, tmp_path / "words", show_progress=False)
    with pytest.raises(InputError, match="there is no dense leg"):
        SearchPipeline.open(tmp_path / "words", reranker="late-interaction")
    with SearchPipeline.open(tmp_path / "words", reranker="late-interaction", dense=minilm) as pipeline:
        assert pipeline.search("flour", k=1)[0].doc_id in {"bread", "cake"}


def test_the_encoder_is_found_again_by_the_manifest(collection, pipeline, minilm_path):
    with SearchPipeline.open(collection) as reopened:
        assert isinstance(reopened.retriever.legs[1], DenseRetriever)
        assert reopened.search("bake", k=1)[0].doc_id == pipeline.search("bake", k=1)[0].doc_id


def test_another_encoder_is_refused_with_both_names(collection, tmp_path, minilm, monkeypatch):
    class Other:
        identity = minilm.identity | {"name": "other-model", "weights_sha256": "0" * 64}

    with pytest.raises(ModelError, match=r"all_minilm.*'other-model' was given: they differ in weights_sha256"):
        SearchPipeline.open(collection, dense=Other())


def test_an_encoder_that_has_gone_is_named_with_the_way_out(collection, tmp_path):
    import shutil

    copy = tmp_path / "copy"
    shutil.copytree(collection, copy)
    manifest = json.loads((copy / "manifest.json").read_text())
    del manifest["minor"], manifest["crc32"]
    manifest["legs"]["dense"]["encoder"]["name"] = str(tmp_path / "gone")
    (copy / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(ModelError, match=r"gone.*cannot be loaded now.*--dense PATH"):
        SearchPipeline.open(copy)


@pytest.mark.parametrize("name", ["nobody/no-such-model", "no-such-model"])
def test_opening_a_collection_never_asks_the_hub_for_the_model_it_names(tmp_path, collection, name):
    import shutil

    copy = tmp_path / "copy"
    shutil.copytree(collection, copy)
    manifest = json.loads((copy / "manifest.json").read_text())
    del manifest["minor"], manifest["crc32"]
    manifest["legs"]["dense"]["encoder"]["name"] = name
    (copy / "manifest.json").write_text(json.dumps(manifest))

    with pytest.raises(ModelError, match=rf"{name}.*the network was ruled out.*name it to fetch it: --dense"):
        SearchPipeline.open(copy)


def test_is_built_knows_the_corpus_and_the_encoder(tmp_path, corpus, minilm, tiny_splade):
    from indexing.corpora.corpus import read_corpus

    file = tmp_path / "corpus.jsonl"
    file.write_text("".join(json.dumps({"_id": d.doc_id, "text": d.text}) + "\n" for d in corpus), "utf-8")
    build_collection(read_corpus(file), tmp_path / "built", dense=minilm, show_progress=False)

    assert is_built(tmp_path / "built", read_corpus(file), dense=minilm)
    assert is_built(tmp_path / "built", read_corpus(file)), "it has more than is asked for"
    assert not is_built(tmp_path / "built", read_corpus(file), bm25=False, sparse=tiny_splade)
    assert not is_built(tmp_path / "elsewhere", read_corpus(file), dense=minilm)
    assert not is_built(tmp_path / "built", read_corpus(file), dense=minilm, dense_index="hnsw")
    assert not is_built(tmp_path / "built", read_corpus(file, text_field="body"), dense=minilm)
    file.write_text('{"_id": "other", "text": "corpus"}\n')
    assert not is_built(tmp_path / "built", read_corpus(file), dense=minilm)


def test_hnsw_finds_the_same_here(tmp_path, corpus, minilm, pipeline):
    build_collection(corpus, tmp_path / "graph", bm25=False, dense=minilm, dense_index="hnsw", show_progress=False)
    with SearchPipeline.open(tmp_path / "graph", dense=minilm) as graph:
        assert graph.search("bake")[0].doc_id == "cake"


def test_learned_sparse_leg(tmp_path, corpus, tiny_splade):
    build_collection(corpus, tmp_path / "sparse", bm25=False, sparse=tiny_splade, show_progress=False)
    with SearchPipeline.open(tmp_path / "sparse", sparse=tiny_splade) as pipeline:
        results = pipeline.search(corpus[0].contents, k=len(corpus))
    query = tiny_splade.encode_query([corpus[0].contents]).toarray()[0]
    weights = tiny_splade.encode_document([document.contents for document in corpus]).toarray()
    import numpy as np

    exact = np.rint(weights.astype(np.float64) * 100) @ np.rint(query.astype(np.float64) * 100)
    expected = {document.doc_id: score for document, score in zip(corpus, exact, strict=True) if score > 0}
    assert {result.doc_id: result.score for result in results} == pytest.approx(expected)


class TestBuild:
    def test_a_broken_build_leaves_nothing(self, tmp_path):
        def corpus():
            yield Document("1", "one")
            raise InputError("broken line")

        with pytest.raises(InputError, match="broken line"):
            build_collection(corpus(), tmp_path / "c", show_progress=False)
        assert list(tmp_path.iterdir()) == []

    def test_a_broken_overwrite_leaves_the_old_one(self, tmp_path):
        build_collection([Document("1", "one")], tmp_path / "c", show_progress=False)
        with pytest.raises(InputError, match="no documents"):
            build_collection([], tmp_path / "c", overwrite=True, show_progress=False)
        with Collection.open(tmp_path / "c") as collection:
            assert [document.doc_id for document in collection.documents] == ["1"]

    def test_overwrite_replaces(self, tmp_path):
        build_collection([Document("1", "one")], tmp_path / "c", show_progress=False)
        with pytest.raises(StorageError, match="already holds a collection"):
            build_collection([Document("2", "two")], tmp_path / "c", show_progress=False)
        build_collection([Document("2", "two")], tmp_path / "c", overwrite=True, show_progress=False)
        with Collection.open(tmp_path / "c") as collection:
            assert [document.doc_id for document in collection.documents] == ["2"]
        assert [path.name for path in tmp_path.iterdir()] == ["c"]

    def test_what_is_no_collection_is_never_replaced(self, tmp_path):
        (tmp_path / "mine").mkdir()
        (tmp_path / "mine" / "thesis.txt").write_text("years of work")
        with pytest.raises(StorageError, match="is not a collection"):
            build_collection([Document("1", "one")], tmp_path / "mine", overwrite=True, show_progress=False)
        assert (tmp_path / "mine" / "thesis.txt").exists()

    def test_the_same_id_twice_is_named_even_far_apart(self, tmp_path, monkeypatch):
        monkeypatch.setattr("pipelines.build.ingest.BATCH_DOCUMENTS", 2)
        documents = [Document(str(number % 4), "text") for number in range(5)]
        with pytest.raises(InputError, match="'0' occurs twice"):
            build_collection(documents, tmp_path / "c", show_progress=False)

    def test_two_builders_of_one_directory(self, tmp_path):
        def corpus():
            yield Document("1", "one")
            with pytest.raises(StorageError, match="another process is building or changing"):
                build_collection([Document("2", "two")], tmp_path / "c", show_progress=False)

        build_collection(corpus(), tmp_path / "c", show_progress=False)
        assert len(Collection.open(tmp_path / "c")) == 1

    def test_what_appears_meanwhile_is_not_replaced(self, tmp_path):
        def corpus():
            yield Document("1", "one")
            (tmp_path / "c").mkdir()
            (tmp_path / "c" / "thesis.txt").write_text("years of work")

        with pytest.raises(StorageError, match="is not a collection"):
            build_collection(corpus(), tmp_path / "c", show_progress=False)
        assert [path.name for path in (tmp_path / "c").iterdir()] == ["thesis.txt"]

    def test_a_kill_before_the_old_one_was_removed_is_no_obstacle(self, tmp_path):
        build_collection([Document("1", "one")], tmp_path / "c", show_progress=False)
        (tmp_path / ".c.old" / "legs").mkdir(parents=True)
        build_collection([Document("2", "two")], tmp_path / "c", overwrite=True, show_progress=False)
        assert [path.name for path in tmp_path.iterdir()] == ["c"]

    def test_a_corpus_that_changes_under_the_build_is_refused(self, tmp_path):
        from indexing.corpora.corpus import Corpus, read_corpus

        file = tmp_path / "corpus.jsonl"
        file.write_text('{"_id": "1", "text": "one"}\n')

        class Changing(Corpus):
            def __iter__(self):
                yield from super().__iter__()
                file.write_text('{"_id": "1", "text": "changed"}\n')

        with pytest.raises(InputError, match="changed while it was indexed"):
            build_collection(Changing(read_corpus(file).source), tmp_path / "c", show_progress=False)
        assert not (tmp_path / "c").exists()

    def test_a_path_is_not_a_corpus(self, tmp_path):
        with pytest.raises(InputError, match=r"pass read_corpus\(path\)"):
            build_collection("corpus.jsonl", tmp_path / "c")

    def test_where_nothing_can_be_written(self, tmp_path):
        (tmp_path / "file").write_text("")
        with pytest.raises(StorageError, match="cannot write in"):
            build_collection([Document("1", "one")], tmp_path / "file" / "c", show_progress=False)

    def test_needs_a_leg(self, tmp_path):
        with pytest.raises(InputError, match="needs a leg"):
            build_collection([Document("1", "one")], tmp_path / "c", bm25=False)

    def test_a_kill_between_the_two_renames_of_an_overwrite_loses_nothing(self, tmp_path):
        build_collection([Document("1", "one")], tmp_path / "c", show_progress=False)
        (tmp_path / "c").rename(tmp_path / ".c.old")
        with Collection.open(tmp_path / "c") as collection:
            assert len(collection) == 1


def test_a_damaged_manifest_is_named(tmp_path):
    build_collection([Document("1", "one")], tmp_path / "c", show_progress=False)
    manifest = tmp_path / "c" / "manifest.json"
    without = {
        name: value for name, value in json.loads(manifest.read_text()).items() if name not in ("minor", "crc32")
    }
    text = json.dumps(without)
    for damage, says in [
        ("{", "is damaged"),
        (manifest.read_text().replace('"bm25"', '"bm26"'), "its checksum differs"),
        (text.replace('"format": 2', '"format": 99'), "has format 99"),
        (text.replace('"bm25": {', '"../../outside": {'), "is damaged"),
        (text.replace('"backend": "bm25"', '"backend": "zzz"'), "unknown backend 'zzz'"),
    ]:
        manifest.write_text(damage)
        with pytest.raises(StorageError, match=says):
            Collection.open(tmp_path / "c")
    with pytest.raises(StorageError, match="is not a collection"):
        Collection.open(tmp_path / "nothing")
