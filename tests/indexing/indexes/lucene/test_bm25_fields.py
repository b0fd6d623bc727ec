"""BM25 over title and text as separate fields: weights and parameters by field."""

import math
from collections.abc import Sequence

import numpy as np
import pytest

from indexing.collection.leg_parameters import agrees
from indexing.collection.manifest import Leg
from indexing.documents import Document
from indexing.errors import InputError
from indexing.indexes.lucene.bm25 import Bm25Index
from lucene_documents import upsert_documents

WEIGHTS = {"title": 2.0, "text": 0.5}
K1, B = {"title": 1.5, "text": 0.6}, {"title": 0.2, "text": 0.9}


def test_title_and_text_have_weights_of_their_own(tmp_path):
    texts = [Document("title", "dog", "fox"), Document("text", "fox", "dog")]
    for weights, best in (({"title": 2.0, "text": 1.0}, "title"), ({"title": 1.0, "text": 3.0}, "text")):
        with Bm25Index.create(tmp_path / best, weights=weights) as index:
            upsert_documents(index, texts)
        with Bm25Index.open(tmp_path / best) as index:
            ranking = index.search(["fox"], 2)[0]
            assert ranking.doc_ids[0] == best
            assert ranking.scores[0] / ranking.scores[1] == pytest.approx(weights[best] / 1.0)


@pytest.mark.parametrize("wrong", [{"title": 1.0}, {"title": 0.0, "text": 1.0}, {"title": 1.0, "body": 1.0}])
def test_wrong_weights_are_errors(tmp_path, wrong):
    with pytest.raises(InputError, match="weights must hold a number above 0 for title and for text"):
        Bm25Index.create(tmp_path / "index", weights=wrong)


def some_documents(count: int, seed: int = 0) -> list[Document]:
    """Make documents of words that repeat; some have no title, some no text."""
    rng, words = np.random.default_rng(seed), np.array([f"word{number}x" for number in range(40)])

    def of(length: int) -> str:
        return " ".join(rng.choice(words, rng.integers(0, length)))

    return [Document(f"d{number}", of(30), of(7), {"even": number % 2 == 0}) for number in range(count)]


def hand_made(documents: Sequence[Document], query: str) -> dict[str, float]:
    """Score by the formula; lengths up to 40 are stored exactly in Lucene's one-byte norms."""
    scores = dict.fromkeys((document.doc_id for document in documents), 0.0)
    for field, weight in WEIGHTS.items():
        texts = {document.doc_id: getattr(document, field).split() for document in documents}
        filled = [words for words in texts.values() if words]
        mean = sum(map(len, filled)) / len(filled)
        for term in query.split():
            holding = sum(term in words for words in filled)
            idf = math.log(1 + (len(filled) - holding + 0.5) / (holding + 0.5))
            for doc_id, words in texts.items():
                times = words.count(term)
                norm = K1[field] * (1 - B[field] + B[field] * len(words) / mean)
                scores[doc_id] += weight * idf * times / (times + norm) if times else 0.0
    return scores


def test_scores_by_field_are_the_formulas(tmp_path):
    documents = some_documents(60)
    queries = ["word1x", "word2x word3x", "word4x word4x word5x word6x", "word39x nothing"]
    with Bm25Index.create(tmp_path / "index", weights=WEIGHTS, k1=K1, b=B) as index:
        upsert_documents(index, documents)
        rankings = index.search(queries, 100)
        given = index.score(queries, [[document.doc_id for document in documents]] * len(queries))

    for query, ranking, scores in zip(queries, rankings, given.reshape(len(queries), -1), strict=True):
        expected = hand_made(documents, query)
        assert {hit.doc_id for hit in ranking} == {doc_id for doc_id, score in expected.items() if score > 0}
        assert ranking.scores.tolist() == pytest.approx([expected[hit.doc_id] for hit in ranking], rel=1e-5)
        assert scores.tolist() == pytest.approx(list(expected.values()), rel=1e-5)
        assert ranking.scores.tolist() == sorted(ranking.scores.tolist(), reverse=True)


def test_equal_numbers_by_field_are_one_number(tmp_path):
    documents, queries = some_documents(60), ["word1x word2x", "word3x"]
    found = []
    for name, k1, b in (("one", 1.2, 0.7), ("two", {"title": 1.2, "text": 1.2}, {"title": 0.7, "text": 0.7})):
        with Bm25Index.create(tmp_path / name, weights=WEIGHTS, k1=k1, b=b) as index:
            upsert_documents(index, documents)
            found.append(index.search(queries, 20).to_run(queries))
            assert index.settings["k1"] == 1.2

    assert found[0] == found[1]


def test_by_field_holds_through_updates_deletes_filters_and_opening_again(tmp_path):
    documents = some_documents(80)
    queries = [f"word{number}x word{number + 1}x" for number in range(30)]
    options = {"weights": WEIGHTS, "k1": K1, "b": B, "fields": {"even": "boolean"}}
    with Bm25Index.create(tmp_path / "changed", **options) as index:
        upsert_documents(index, some_documents(80, seed=1))
        index.commit()
        upsert_documents(index, documents)
        index.delete([document.doc_id for document in documents[60:]])
        index.optimize()
    with Bm25Index.create(tmp_path / "plain", **options) as index:
        upsert_documents(index, documents[:60])
        plain, filtered = index.search(queries, 10), index.search(queries, 10, {"even": True})

    with Bm25Index.open(tmp_path / "changed", read_only=True) as index:
        assert index.search(queries, 10).to_run(queries) == plain.to_run(queries)
        assert index.search(queries, 10, {"even": True}).to_run(queries) == filtered.to_run(queries)
        one_by_one = {query: index.search([query], 10).to_run([query]).get(query) for query in queries}
        assert one_by_one == {query: plain.to_run(queries).get(query) for query in queries}
    even = {document.doc_id for document in documents if document.metadata["even"]}
    assert filtered.counts.sum() and set(filtered.doc_ids) <= even


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"k1": {"title": 1.0, "text": 2.0}}, "k1 by field needs weights"),
        ({"weights": WEIGHTS, "b": {"title": 0.5}}, "b by field must hold a number for title and for text"),
        ({"weights": WEIGHTS, "b": {"title": 0.5, "text": 1.5}}, "b must be between 0 and 1, not 1.5"),
        ({"weights": WEIGHTS, "k1": {"title": -1.0, "text": 1.5}}, "k1 must be a number of at least 0, not -1.0"),
        ({"k1": float("nan")}, "k1 must be a number of at least 0"),
        ({"k1": float("inf")}, "k1 must be a number of at least 0"),
    ],
)
def test_wrong_numbers_are_errors(tmp_path, options, message):
    with pytest.raises(InputError, match=message):
        Bm25Index.create(tmp_path / "index", **options)

    assert not (tmp_path / "index").exists()


def test_a_leg_of_one_number_is_not_one_of_numbers_by_field():
    one, by_field = (Leg("bm25", encoder=None, parameters={"k1": k1}) for k1 in (0.9, K1))

    assert agrees(by_field, by_field)
    assert not agrees(one, by_field)
    assert not agrees(by_field, one)
