"""Scores of late interaction over ragged arrays, against the formula written out."""

import numpy as np
import pytest

from indexing.errors import InputError
from indexing.max_sim import EMPTY_SCORE, max_sim, max_sim_of, max_sim_pairwise, token_maxima, xtr_scores
from indexing.token_vectors import TokenVectors


def ragged(seed: int, lengths: list[int], dtype=np.float32) -> TokenVectors:
    rng = np.random.default_rng(seed)
    return TokenVectors.of([rng.standard_normal((length, 6)).astype(dtype) for length in lengths], 6, dtype)


def written_out(query: np.ndarray, document: np.ndarray) -> float:
    if not len(document):
        return EMPTY_SCORE
    return float(sum(max(float(q @ d) for d in document) for q in query.astype(np.float32)))


@pytest.mark.parametrize("block_elements", [1, 90, 10_000])
def test_max_sim_is_the_sum_of_the_best_similarities(block_elements):
    queries, documents = ragged(0, [3, 1, 0, 8]), ragged(1, [5, 0, 1, 12, 2])
    expected = [[written_out(q, d) for d in documents.to_list()] for q in queries.to_list()]
    found = max_sim(queries, documents, block_elements=block_elements)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
    assert found.dtype == np.float32
    counts = np.maximum(queries.lengths, 1)[:, None]
    found = max_sim(queries, documents, mean=True, block_elements=block_elements)
    np.testing.assert_allclose(found, np.array(expected) / counts, rtol=1e-5, atol=1e-5)


def test_half_precision_vectors_are_compared_in_float32():
    queries, documents = ragged(2, [4, 4], np.float16), ragged(3, [9, 3], np.float16)
    wide = [each._replace(vectors=each.vectors.astype(np.float32)) for each in (queries, documents)]
    np.testing.assert_array_equal(max_sim(queries, documents), max_sim(*wide))


def test_pairs_score_as_in_the_whole_matrix():
    queries, documents = ragged(4, [2, 3, 0, 1]), ragged(5, [4, 0, 3, 1])
    np.testing.assert_allclose(max_sim_pairwise(queries, documents), np.diag(max_sim(queries, documents)), rtol=1e-5)
    with pytest.raises(InputError, match="as many queries as documents"):
        max_sim_pairwise(queries, documents.slice(0, 2))
    np.testing.assert_allclose(max_sim_of(queries.text(1), documents), max_sim(queries, documents)[1])


def test_parts_of_a_score_add_up():
    query, documents = ragged(6, [5]), ragged(7, [3, 9])
    parts = token_maxima(query.vectors, documents)
    assert parts.shape == (2, 5)
    np.testing.assert_allclose(parts.sum(axis=1), max_sim(query, documents)[0], rtol=1e-5)


def test_xtr_counts_retrieved_tokens_only():
    query = TokenVectors.of([np.eye(2, dtype=np.float32)])
    documents = TokenVectors.of(
        [np.float32([[0.9, 0.0], [0.0, 0.1]]), np.float32([[0.5, 0.6]]), np.float32([[-1.0, -1.0]])]
    )
    np.testing.assert_allclose(xtr_scores(query, documents, top_k=1), [[0.9, 0.6, 0.0]])
    np.testing.assert_allclose(xtr_scores(query, documents, top_k=2), [[0.5, 0.55, 0.0]])
    with pytest.raises(InputError, match="top_k"):
        xtr_scores(query, documents, top_k=0)


def test_texts_are_taken_sliced_and_joined():
    vectors = ragged(8, [2, 0, 3, 1])
    taken = vectors.take(np.array([3, 0, 0, 1]))
    assert taken.lengths.tolist() == [1, 2, 2, 0]
    np.testing.assert_array_equal(taken.text(2), vectors.text(0))
    joined = TokenVectors.join([vectors.slice(0, 2), vectors.slice(2, 2), vectors.slice(2, 4)])
    np.testing.assert_array_equal(joined.offsets, vectors.offsets)
    np.testing.assert_array_equal(joined.vectors, vectors.vectors)


@pytest.mark.parametrize("lengths", [[400, 0, 1, 900], [30_000]])
def test_small_and_large_products_are_the_same(lengths, monkeypatch):
    rng = np.random.default_rng(3)
    documents = TokenVectors.of([rng.standard_normal((length, 32)).astype(np.float16) for length in lengths])
    query = rng.standard_normal((40, 32)).astype(np.float32)
    parts = token_maxima(query, documents)
    monkeypatch.setattr("indexing.max_sim.SMALL_PRODUCTS", 0)
    np.testing.assert_allclose(parts, token_maxima(query, documents), rtol=1e-5, atol=1e-5)
