"""Similar texts in memory, beside sentence-transformers: equal neighbours, pairs and communities, apart from ties."""

from typing import Any

import numpy as np
import pytest
import torch
from scipy.sparse import csr_matrix
from sentence_transformers import util as theirs

from indexing.errors import InputError
from pipelines import similar as ours
from pipelines.similar import communities, paraphrases


def clustered(count: int, width: int = 24, centres: int = 12, seed: int = 0) -> Any:
    """Return vectors around some centres, float32 [count, width], of different lengths."""
    rng = np.random.default_rng(seed)
    middle = rng.normal(size=(centres, width))
    vectors = middle[rng.integers(centres, size=count)] + 0.25 * rng.normal(size=(count, width))
    return (vectors * rng.uniform(0.5, 2, size=(count, 1))).astype(np.float32)


@pytest.mark.parametrize("similarity", ["cosine", "dot", "euclidean", "manhattan"])
def test_the_same_neighbours(similarity):
    queries, corpus = clustered(20, seed=1), clustered(500)
    functions = {"cosine": "cos_sim", "dot": "dot_score", "euclidean": "euclidean_sim", "manhattan": "manhattan_sim"}
    expected = theirs.semantic_search(queries, corpus, score_function=getattr(theirs, functions[similarity]), top_k=7)
    found = ours.semantic_search(torch.from_numpy(queries), corpus, score_function=similarity, top_k=7)
    assert [[hit["corpus_id"] for hit in row] for row in found] == [
        [hit["corpus_id"] for hit in row] for row in expected
    ]
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose([hit["score"] for hit in one], [hit["score"] for hit in other], rtol=1e-5, atol=1e-4)


def test_neighbours_of_sparse_vectors_and_by_a_function_of_ones_own():
    dense = np.where(np.random.default_rng(0).random((60, 40)) < 0.1, clustered(60, 40), 0).astype(np.float32)
    coordinates = torch.from_numpy(dense).to_sparse()
    expected = theirs.semantic_search(dense[:5], dense, score_function=theirs.dot_score, top_k=3)
    for corpus in (csr_matrix(dense), coordinates):
        found = ours.semantic_search(csr_matrix(dense[:5]), corpus, top_k=3, score_function="dot")
        np.testing.assert_allclose(
            [[hit["score"] for hit in row] for row in found],
            [[hit["score"] for hit in row] for row in expected],
            rtol=1e-5,
        )
    own = ours.semantic_search(dense[:2], dense, top_k=1, score_function=lambda a, b: -(a @ b.T))
    assert own[0][0]["corpus_id"] == int(np.argmin(dense[0] @ dense.T))


def test_equal_scores_are_ordered_by_position():
    found = ours.semantic_search([1.0, 0.0], np.tile([[1.0, 0.0]], (9, 1)), top_k=4)
    assert [hit["corpus_id"] for hit in found[0]] == [0, 1, 2, 3]


def pairs(found: list[list[float | int]]) -> dict[tuple[int, int], float]:
    return {(int(low), int(high)): score for score, low, high in found}


@pytest.mark.parametrize(("count", "top_k", "most"), [(300, 100, 500_000), (300, 5, 200), (40, 100, 10), (2, 1, 1)])
def test_the_same_pairs(count, top_k, most):
    vectors = clustered(count)
    expected = theirs.paraphrase_mining_embeddings(torch.from_numpy(vectors), top_k=top_k, max_pairs=most)
    found = ours.paraphrase_mining_embeddings(vectors, top_k=top_k, max_pairs=most)
    assert [score for score, *_ in found] == sorted((score for score, *_ in found), reverse=True)
    assert pairs(found) == pytest.approx(pairs(expected), abs=1e-5)


def test_pairs_that_are_found_block_by_block_are_those_of_one_block(monkeypatch):
    vectors = clustered(700)
    whole = ours.paraphrase_mining_embeddings(vectors, top_k=20, max_pairs=150)
    monkeypatch.setattr(paraphrases, "ROWS_AT_ONCE", 64)
    assert pairs(ours.paraphrase_mining_embeddings(vectors, top_k=20, max_pairs=150)) == pytest.approx(pairs(whole))


def test_paraphrases_of_texts(minilm):
    texts = ["A cat sits outside.", "A man plays the guitar.", "A cat is sitting outdoors.", "Somebody plays guitar."]
    found = ours.paraphrase_mining(minilm, texts, max_pairs=2)
    assert {pair[1:][0] * 10 + pair[1:][1] for pair in found} == {2, 13}


@pytest.mark.parametrize("threshold", [0.3, 0.75, 0.95])
@pytest.mark.parametrize("least", [1, 5, 30])
def test_the_same_communities(threshold, least):
    vectors = clustered(600)
    expected = theirs.community_detection(vectors, threshold, least, batch_size=64)
    found = ours.community_detection(vectors, threshold, least, batch_size=64)
    assert [group[0] for group in found] == [group[0] for group in expected]
    assert [set(group) for group in found] == [set(group) for group in expected]
    assert sum(map(len, found)) == len({row for group in found for row in group})


def test_communities_are_the_same_without_stored_pairs(monkeypatch):
    vectors = clustered(500)
    stored = ours.community_detection(vectors, 0.8, 4, batch_size=100)
    monkeypatch.setattr(communities, "PAIRS_KEPT", 10)
    monkeypatch.setattr(communities, "COMPARED_AGAIN", 7)
    assert ours.community_detection(vectors, 0.8, 4, batch_size=100) == stored
    assert ours.community_detection(csr_matrix(vectors), 0.8, 4) == stored


def test_nothing_and_too_little():
    assert ours.semantic_search(np.zeros((2, 3), np.float32), []) == [[], []]
    assert ours.semantic_search([], clustered(3)) == []
    assert ours.paraphrase_mining_embeddings(clustered(1)) == ours.paraphrase_mining_embeddings([]) == []
    assert ours.community_detection([]) == ours.community_detection(clustered(5), min_community_size=6) == []


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        (lambda: ours.semantic_search(["text"], clustered(3)), "query_embeddings must be vectors"),
        (lambda: ours.semantic_search(clustered(3), clustered(3, 8)), "24 dimensions and corpus_embeddings 8"),
        (lambda: ours.semantic_search(clustered(3), csr_matrix(clustered(3))), "both be dense or both be sparse"),
        (lambda: ours.semantic_search(clustered(3), clustered(3), top_k=0), "top_k"),
        (lambda: ours.semantic_search(clustered(3), clustered(3), score_function="cos"), "unknown similarity 'cos'"),
        (lambda: ours.paraphrase_mining_embeddings(np.full((3, 2), np.nan)), "embeddings contains a NaN"),
        (lambda: ours.paraphrase_mining(None, None), "sentences"),
        (lambda: ours.community_detection(clustered(9), threshold=float("nan")), "threshold"),
        (lambda: ours.community_detection(clustered(9), min_community_size=0), "min_community_size"),
    ],
)
def test_wrong_arguments(call, expected):
    with pytest.raises(InputError, match=expected) as caught:
        call()
    assert "\n" not in str(caught.value)
