"""BM25 in Qdrant against BM25 in Lucene: the same texts, the same scores."""

import numpy as np
import pytest

from indexing.errors import InputError
from indexing.indexes.bm25_weights import Bm25, byte_length, column, document_weights
from indexing.indexes.lucene.bm25 import Bm25Index
from indexing.indexes.qdrant.bm25 import QdrantBm25Index
from indexing.indexes.registry import kind_of
from indexing.query_syntax import parse_query

RNG = np.random.default_rng(5)
WORDS = [f"{first}{last}{number}" for number in range(40) for first in "bdkl" for last in ("arnos", "evit")]


def texts(count: int, seed: int) -> list[str]:
    """Texts of words with a Zipf-like distribution, of very different lengths; one in fifty is empty."""
    rng = np.random.default_rng(seed)
    lengths = np.where(rng.random(count) < 0.02, 0, np.minimum(rng.lognormal(2.5, 1, count).astype(int) + 1, 500))
    ranks = (rng.zipf(1.3, int(lengths.sum())) - 1) % len(WORDS)
    ends = np.cumsum(lengths)
    return [
        " ".join(WORDS[rank] for rank in ranks[end - length : end]) for end, length in zip(ends, lengths, strict=True)
    ]


def assert_same(qdrant, lucene, queries, k=10):
    """Compare the scores of the best k within 0.001, and the documents apart from ties at that bound."""
    found, expected = qdrant.search(queries, k), lucene.search(queries, k + 10)
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(ours.scores, theirs.scores[: len(ours)], rtol=1e-3)
        scores = dict(zip(theirs.doc_ids, theirs.scores.tolist(), strict=True))
        missing = [doc_id for doc_id in theirs.doc_ids[: len(ours)] if doc_id not in ours.doc_ids]
        lowest = min(ours.scores, default=0)
        assert all(scores[doc_id] == pytest.approx(lowest, rel=1e-3) for doc_id in missing)


@pytest.fixture(params=["edge", pytest.param("local", marks=pytest.mark.slow)])
def pair(request, tmp_path):
    """Both indexes over the same 200 texts."""
    ids = [f"d{number}" for number in range(200)]
    with (
        QdrantBm25Index.create_of_texts(tmp_path / "qdrant", engine=request.param) as qdrant,
        Bm25Index.create(tmp_path / "lucene") as lucene,
    ):
        for index in (qdrant, lucene):
            for start in range(0, 200, 100):
                index.upsert(ids[start : start + 100], texts(200, 1)[start : start + 100], [{}] * 100)
        qdrant.finish_indexing()
        yield qdrant, lucene


def test_scores_equal_lucenes_after_updates_deletes_and_optimize(pair):
    qdrant, lucene = pair
    queries = [text for text in texts(20, 2) if text]
    longer = [f"{text} {text} " + " ".join(WORDS[:20]) for text in texts(40, 3)]
    for index in (qdrant, lucene):
        index.upsert([f"d{number}" for number in range(40)], longer, [{}] * 40)
        assert index.delete([f"d{number}" for number in range(180, 200)]) == 20
    notes, mean = qdrant.words_settings.notes, qdrant.words_settings.present_mean
    gone = sum(bool(text) for number, text in enumerate(texts(200, 1)) if number < 40 or number >= 180)
    assert "weighted for a mean length of" in notes[0] and f"{gone} replaced or deleted documents" in notes[1]
    for index in (qdrant, lucene):
        index.optimize()
    assert qdrant.words_settings.notes == []
    assert qdrant.words_settings.mean_length == pytest.approx(mean)
    assert_same(qdrant, lucene, queries)
    assert qdrant.words_settings.mean_length == pytest.approx(lucene.words().totals["average_length"])


def test_a_write_that_changes_the_mean_length_weights_all_documents_again_at_its_end(pair):
    qdrant, lucene = pair
    queries = [text for text in texts(20, 4) if text]
    assert not qdrant.words_settings.notes
    longer = [" ".join(texts(8, number)) for number in range(10)]
    for index in (qdrant, lucene):
        index.upsert([f"e{number}" for number in range(10)], longer, [{}] * 10)
    assert qdrant.words_settings.drift > 0.01
    qdrant.finish_indexing()
    assert qdrant.words_settings.drift == 0
    assert_same(qdrant, lucene, queries)


def test_an_index_that_was_closed_goes_on_with_its_statistics(tmp_path):
    with QdrantBm25Index.create_of_texts(tmp_path / "index", k1=1.2, b=0.75, analyzer="en") as index:
        index.upsert(["a", "b"], ["one two three", "two"], [{}, {}])
        index.commit(3)
        before = index.search(["two"], 5)
    index = kind_of("qdrant").open(tmp_path / "index", read_only=False)
    with index:
        assert isinstance(index, QdrantBm25Index) and index.sequence == 3
        assert index.words_settings.mean_length == 2 and index.words_settings.analyzer == "en"
        found = index.search(["two"], 5)
        assert found.doc_ids == before.doc_ids and found.scores.tolist() == before.scores.tolist()
        index.upsert(["c"], ["two two two two two two two two"], [{}])
    assert kind_of("qdrant").notes(tmp_path / "index")[0].endswith("(100.00% off)")


def test_matched_words_add_up_to_the_score(pair):
    qdrant, lucene = pair
    queries = [" ".join(WORDS[number : number + 3]) for number in range(3)]
    hits = qdrant.search(queries, 4)
    ours, theirs = qdrant.matched_terms(queries, hits), lucene.matched_terms(queries, hits)
    for one, other, score in zip(ours, theirs, hits.scores.tolist(), strict=True):
        assert sum(part for _, part in one) == pytest.approx(score, rel=1e-4)
        assert {word for word, _ in one} == {word for word, _ in other}
        assert dict(one) == pytest.approx(dict(other), rel=1e-2)
    assert qdrant.analyze(["Running", "the"]) == ["run", ""]


def test_a_query_with_operators_is_refused(pair):
    with pytest.raises(InputError, match="has operators, which BM25 in Qdrant cannot search"):
        pair[0].search([parse_query('+one "two three"')], 3)


def test_lengths_are_rounded_as_lucenes_norms():
    from pathlib import Path

    from indexing.indexes.lucene.jvm import java_calls, java_class

    lengths = [*range(700), 12_345, 999_999, 10**7]
    with java_calls(Path("lengths")):
        small = java_class("org.apache.lucene.util.SmallFloat")
        expected = [small.byte4ToInt(small.intToByte4(length)) for length in lengths]
    assert byte_length(lengths).tolist() == expected


def test_weights_for_another_mean_length_are_those_of_the_text():
    words = [["a"] * 900 + ["b"], ["a", "b", "c"] * 30, ["a"]]
    for bm25 in (Bm25(), Bm25(1.2, 0.75), Bm25(0, 0.4), Bm25(0.9, 0)):
        before, lengths = document_weights(words, bm25, 20.0)
        after, _ = document_weights(words, bm25, 77.7)
        for row, length in enumerate(lengths.tolist()):
            moved = bm25.moved(before[row].data, length, 20.0, 77.7)
            np.testing.assert_allclose(moved, after[row].data, rtol=1e-6)


def test_the_number_of_a_word_stays_the_same_for_ever():
    assert column("retrieval") == 251710281


@pytest.mark.parametrize("engine", ["edge", "local"])
def test_documents_and_words_are_those_that_are_stored_after_updates_and_deletes(tmp_path, engine):
    """Also where documents have no words, or other numbers of words than the mean."""
    with QdrantBm25Index.create_of_texts(tmp_path / "index", engine=engine) as index:
        index.upsert(["a", "b", "c", "d"], ["oven bread salt flour yeast", "", "", "steel"])
        assert (index.words_settings.documents, index.words_settings.words) == (2, 6)
        index.upsert(["b", "c"], ["", "iron ore"])
        assert (index.words_settings.documents, index.words_settings.words) == (3, 8)
        index.upsert(["a"], [""])
        assert (index.words_settings.documents, index.words_settings.words) == (2, 3)
        index.delete(["a", "b", "d", "d", "unknown"])
        assert (index.words_settings.documents, index.words_settings.words) == (1, 2)
        index.optimize()
        assert (index.words_settings.documents, index.words_settings.words) == (1, 2)
