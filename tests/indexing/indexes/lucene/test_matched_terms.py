import numpy as np
import pytest
from scipy.sparse import csr_matrix

from indexing.documents import Document
from indexing.indexes.lucene.bm25 import Bm25Index
from indexing.indexes.lucene.impact import ImpactIndex
from lucene_documents import upsert_documents


def test_the_words_of_a_bm25_hit_and_what_they_add(tmp_path):
    with Bm25Index.create(tmp_path / "bm25") as index:
        upsert_documents(
            index,
            [
                Document("flour", "Mix flour and water; bake, bake again."),
                Document("oven", "Baking in an oven."),
                Document("東京", "東京"),
            ],
        )
        queries = ["bake bake in the oven", "the", "東 \ud800 flour \x01"]
        hits = index.search(queries, 5)
        found = index.matched_terms(queries, hits)

    assert [len(ranking) for ranking in hits] == [2, 0, 2]
    assert [[term for term, _ in terms] for terms in found[:2]] == [["oven", "bake"], ["bake"]]
    for terms, score in zip(found, hits.scores, strict=True):
        assert sum(weight for _, weight in terms) == pytest.approx(float(score), rel=1e-5)


def test_the_terms_of_an_impact_hit_are_the_summands_of_the_dot_product(tmp_path):
    vocabulary = ["light", "##|", "AND", "a:b", "wave(in[3)"]
    documents = csr_matrix(np.array([[0.5, 0, 1.25, 0, 2], [0, 1, 0, 0.1, 0]], np.float32))
    query = csr_matrix(np.array([[1, 0.5, 0.2, 0.3, 0.01]], np.float32))
    with ImpactIndex.create(tmp_path / "impacts", vocabulary=vocabulary) as index:
        index.upsert(["one", "two"], documents)
        hits = index.search(query, 2)
        found = dict(zip(hits.doc_ids, index.matched_terms(query, hits), strict=True))

    products = np.rint(documents.toarray() * 100) * np.rint(query.toarray() * 100)
    for doc_id, row in zip(["one", "two"], products, strict=True):
        expected = {term: product for term, product in zip(vocabulary, row.tolist(), strict=True) if product}
        assert dict(found[doc_id]) == expected
        weights = [weight for _, weight in found[doc_id]]
        assert weights == sorted(weights, reverse=True)


def test_a_document_deleted_since_has_no_terms(tmp_path):
    with Bm25Index.create(tmp_path / "bm25") as index:
        upsert_documents(index, [Document("1", "flour"), Document("2", "water flour")])
        hits = index.search(["flour"], 2)
        index.delete(["1"])
        found = dict(zip(hits.doc_ids, index.matched_terms(["flour"], hits), strict=True))
    assert found["1"] == () and found["2"][0][0] == "flour"


def test_words_beyond_the_basic_plane_are_explained(tmp_path):
    """Java got the lower half of each such character, so that their words had no part in the score."""
    with Bm25Index.create(tmp_path / "index") as index:
        index.upsert(["a", "b"], ["\U0001d538\U0001d539 fox", "hen"])
        index.commit()
        hits = index.search(["\U0001d538\U0001d539"], 1)
        (terms,) = index.matched_terms(["\U0001d538\U0001d539"], hits)
    assert [name for name, _ in terms] == ["\U0001d538\U0001d539"] and terms[0][1] == pytest.approx(hits[0].scores[0])
