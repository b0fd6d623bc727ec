"""Identifiers, error codes and names come first with the default fusion; real MiniLM, FAISS and Lucene."""

import pytest

from benchmarks.rare_word_families import FAMILIES, QUERIES
from indexing.documents import Document
from pipelines import SearchPipeline, build_collection
from pipelines.search.config import SearchConfig
from retrieve.fusion import ReciprocalRank, SpreadWeightedSum


@pytest.fixture(scope="module")
def opened(tmp_path_factory, minilm):
    """Return a function that opens the collection of a family, which is built once."""
    built = {}

    def open_family(name, **options):
        if name not in built:
            family, path = FAMILIES[name](), tmp_path_factory.mktemp("family") / "collection"
            documents = [Document(doc_id, text) for doc_id, text in family.documents.items()]
            build_collection(documents, path, dense=minilm, show_progress=False)
            built[name] = family, path
        family, path = built[name]
        return family, SearchPipeline.open(path, dense=minilm, **options)

    return open_family


def first(pipeline, queries):
    """Return how many queries find their document first."""
    answers = pipeline.batch_search(queries, k=1)
    return sum(answers[doc_id][0].doc_id == doc_id for doc_id in queries)


@pytest.mark.parametrize("name", ["part numbers", "error codes", "surnames"])
def test_what_bm25_alone_can_know_comes_first(opened, name):
    family, pipeline = opened(name)
    with pipeline:
        assert first(pipeline, family.bare) == QUERIES
        assert first(pipeline, family.asked) == QUERIES


def test_common_words_are_fused_as_before(opened):
    family, pipeline = opened("common words")
    with pipeline:
        after = pipeline.batch_search(family.asked, k=20)
    before = SpreadWeightedSum(scales={"bm25": 1, "dense": 20}, floors={"bm25": 0, "dense": 0.5})
    _, pipeline = opened("common words", fusion=before.as_config())
    with pipeline:
        for doc_id, results in pipeline.batch_search(family.asked, k=20).items():
            assert [hit.doc_id for hit in results] == [hit.doc_id for hit in after[doc_id]]
            assert [hit.score for hit in results] == [hit.score for hit in after[doc_id]]


def test_one_by_one_with_other_depths_and_filters_it_is_first_too(opened):
    family, pipeline = opened("error codes")
    queries = dict(list(family.asked.items())[:8])
    with pipeline:
        batch = pipeline.batch_search(queries, k=5)
        for doc_id, query in queries.items():
            assert [hit.doc_id for hit in pipeline.search(query, k=5)] == [hit.doc_id for hit in batch[doc_id]]
            assert pipeline.search(query, k=1)[0].doc_id == doc_id
            assert pipeline.search(query, k=300)[0].doc_id == doc_id
    _, pipeline = opened("error codes", depth=10)
    with pipeline:
        assert first(pipeline, queries) == len(queries)


def test_the_explanation_names_the_leg_that_decided(opened):
    family, pipeline = opened("part numbers")
    doc_id, query = next(iter(family.asked.items()))
    with pipeline:
        best, second = pipeline.search(query, k=2, explain=True)
    assert best.doc_id == doc_id
    assert best.explanation.legs["bm25"].decided
    assert best.explanation.as_dict()["legs"]["bm25"]["decided"] is True
    assert not any(leg.decided for leg in second.explanation.legs.values())


def test_a_tuned_fusion_stays_what_was_tuned(opened, tmp_path):
    family, pipeline = opened("error codes")
    with pipeline:
        path = pipeline.collection.path
    fusion = {"method": "rrf", "k": 60}
    SearchConfig(fusion=fusion).save(path / "search.yaml")
    try:
        _, pipeline = opened("error codes")
        with pipeline:
            assert pipeline.retriever.fusion == ReciprocalRank()
            assert first(pipeline, family.asked) < QUERIES
    finally:
        (path / "search.yaml").unlink()


def test_a_leg_that_fails_or_is_not_searched_leaves_the_others(opened, monkeypatch):
    family, pipeline = opened("surnames", on_leg_error="degrade")
    doc_id, query = next(iter(family.bare.items()))
    with pipeline:
        monkeypatch.setattr(pipeline.retriever.legs[1], "_search", lambda *_: 1 / 0)
        results = pipeline.search(query, k=1)
        assert results.degraded
        assert results[0].doc_id == doc_id
    _, pipeline = opened("surnames", legs=["bm25"])
    with pipeline:
        assert pipeline.search(query, k=1)[0].doc_id == doc_id
    _, pipeline = opened("surnames", legs=["dense"])
    with pipeline:
        assert len(pipeline.search(query, k=1)) == 1


def test_words_are_looked_up_only_for_a_fusion_that_uses_them(opened, monkeypatch):
    from indexing.indexes.lucene.bm25 import Bm25Index

    looked_up = []
    monkeypatch.setattr(Bm25Index, "rare_hits", lambda self, queries, hits: looked_up.append(len(hits)))
    for options in ({"legs": ["bm25"]}, {"fusion": ReciprocalRank()}, {}):
        _, pipeline = opened("error codes", **options)
        with pipeline:
            assert pipeline.search("error", 3)
    assert looked_up == [1], "the default fusion only"
