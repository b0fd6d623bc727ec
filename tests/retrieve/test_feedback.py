import numpy as np
import pytest

from indexing import Document
from indexing.errors import InputError
from indexing.hits import Hits
from pipelines import SearchPipeline, build_collection
from pipelines.search import SearchConfig
from retrieve.feedback import Rm3, VectorFeedback, feedback_of, improved_vectors


@pytest.fixture(scope="module")
def collection(tmp_path_factory, tiny_dense):
    path = tmp_path_factory.mktemp("feedback") / "collection"
    texts = ["measles vaccine", "measles vaccine immunity", "vaccine immunity dose", "immunity dose"]
    documents = [Document(f"d{at}", text, metadata={"n": at}) for at, text in enumerate(texts)]
    documents += [Document(f"x{at}", f"bread oven {at}", metadata={"n": 9}) for at in range(60)]
    build_collection(documents, path, dense=tiny_dense, fields={"n": "number"}, show_progress=False)
    return path


def opened(collection, tiny_dense, **legs):
    config = SearchConfig.load({"legs": {name: {"feedback": method} for name, method in legs.items()}})
    return SearchPipeline.open(collection, config=config, dense=tiny_dense)


def test_feedback_finds_documents_that_share_no_word_with_the_query(collection, tiny_dense):
    with opened(collection, tiny_dense, bm25=None) as pipeline:
        assert {hit.doc_id for hit in pipeline.search("measles")} == {"d0", "d1"}
    for method in ("rm3", "rocchio"):
        with opened(collection, tiny_dense, bm25=method) as pipeline:
            found = pipeline.search("measles", explain=True)
            assert {hit.doc_id for hit in found} == {"d0", "d1", "d2", "d3"}
            for hit in found:
                leg = hit.explanation.legs["bm25"]
                assert sum(weight for _, weight in leg.terms) == pytest.approx(leg.score, rel=1e-4)
            kept = pipeline.search("measles", filter={"n": {"gte": 2}})
            assert len(kept) == 0
            assert {hit.doc_id for hit in pipeline.search("+measles vaccine", query_syntax="simple")} == {"d0", "d1"}
            assert len(pipeline.search("zzz")) == 0


def test_a_search_is_explained_by_the_documents_of_its_own_filter(collection, tiny_dense):
    """Words that another search of the same text took from documents of another filter play no part."""
    with opened(collection, tiny_dense, bm25="rm3") as pipeline:
        leg = pipeline.retriever
        first, second = ("".join(["vaccine ", "immunity"]) for _ in range(2))
        assert first is not second
        hits = leg.search([first], 5, filter={"n": 1})
        expected, scores = leg.terms([first], hits), leg.score([first], [hits.doc_ids])
        leg.search([second], 5, filter={"n": {"in": [2, 3]}})

        assert leg.terms([first], hits) == expected
        assert leg.score([first], [hits.doc_ids]).tolist() == scores.tolist()


def test_all_legs_may_have_feedback_and_queries_without_it_are_unchanged(collection, tiny_dense):
    with opened(collection, tiny_dense, bm25="rm3", dense={"method": "vector", "documents": 2}) as pipeline:
        assert len(pipeline.batch_search({"a": "measles", "b": "bread"}, k=3)["a"]) == 3
        assert pipeline.search("measles +vaccine -dose", query_syntax="simple")


def test_a_vector_moves_towards_its_documents_and_keeps_its_length():
    query, vectors = np.array([[3.0, 0.0], [1.0, 0.0]]), np.array([[0.0, 1.0], [0.0, 3.0]])
    hits = Hits.from_run({"a": {"x": 2.0, "y": 1.0}}, ["a", "b"])

    moved = improved_vectors(query, hits, vectors, VectorFeedback(2, alpha=0.5, beta=0.5))

    expected = np.array([1.5, 1.0]) * 3 / np.hypot(1.5, 1.0)
    np.testing.assert_allclose(moved, [expected, [1.0, 0.0]], rtol=1e-6)


@pytest.mark.parametrize(
    ("given", "rows", "problem"),
    [
        ("vector", "text", "does not apply to the leg 'leg': choose rm3 or rocchio"),
        ("rm3", "weights", "only a BM25 and a dense leg have it"),
        ({"method": "rm3", "depth": 3}, "text", "has the options terms, documents, original_weight, not depth"),
        ({"method": "rm3", "terms": 0}, "text", "terms must be at least 1, not 0"),
    ],
)
def test_an_unknown_method_or_option_is_named(given, rows, problem):
    with pytest.raises(InputError, match=problem):
        feedback_of(given, rows, "leg")


def test_options_are_read():
    assert feedback_of({"method": "rm3", "terms": 5}, "text", "bm25") == Rm3(terms=5)
