"""Methods that compare what encoders return, beside sentence-transformers: equal scores, shared terms and decodings."""

import numpy as np
import pytest
import torch
from sentence_transformers import SparseEncoder as TheirSparse
from sentence_transformers.util import SimilarityFunction as TheirFunction
from sentence_transformers.util.similarity import maxsim, maxsim_pairwise, mean_maxsim, mean_maxsim_pairwise

from indexing.token_vectors import TokenVectors
from retrieve import SparseEncoder
from retrieve.encoders.compared import ComparesTokens
from retrieve.encoders.similarity import SIMILARITIES

TEXTS = ["bake bread", "sort a list of bread", "streams of bytes between hosts"]


@pytest.mark.parametrize("name", SIMILARITIES)
def test_dense_vectors(tiny_dense, name):
    encoder = tiny_dense.truncated(tiny_dense.dimension)
    encoder.similarity_fn_name = name
    vectors = encoder.encode(TEXTS)
    all_pairs, pairwise = TheirFunction.to_similarity_fn(name), TheirFunction.to_similarity_pairwise_fn(name)
    for given in (vectors, torch.from_numpy(vectors), list(vectors), list(torch.from_numpy(vectors))):
        torch.testing.assert_close(
            encoder.similarity(given, vectors), all_pairs(vectors, vectors), atol=1e-3, rtol=1e-5
        )
        expected = pairwise(vectors[::-1].copy(), vectors)
        torch.testing.assert_close(encoder.similarity_pairwise(vectors[::-1].copy(), vectors), expected)
    assert encoder.similarity(vectors[0], vectors).shape == (1, 3)


@pytest.mark.parametrize("name", SIMILARITIES)
def test_term_weights(tiny_splade, name, monkeypatch):
    monkeypatch.setattr(tiny_splade, "_similarity_fn_name", name)
    weights = tiny_splade.encode(TEXTS)
    dense = torch.from_numpy(weights.toarray())
    sparse = dense.to_sparse()
    # Their distance of sparse tensors is a difference of large numbers, wrong by 0.01 where it is 0.
    theirs = (dense, dense) if name == "euclidean" else (sparse, sparse)
    expected = TheirFunction.to_similarity_fn(name)(*theirs)
    for given in (weights, sparse, dense):
        torch.testing.assert_close(tiny_splade.similarity(given, weights), expected, atol=1e-3, rtol=1e-4)
    pairwise = TheirFunction.to_similarity_pairwise_fn(name)(dense, dense.flip(0))
    torch.testing.assert_close(tiny_splade.similarity_pairwise(weights, weights[::-1]), pairwise, atol=1e-4, rtol=1e-5)


def test_shared_terms_and_their_decoding(tiny_splade):
    theirs = TheirSparse(str(tiny_splade.checkpoint.folder), device="cpu")
    weights, expected = tiny_splade.encode(TEXTS, max_active_dims=12), theirs.encode(TEXTS, max_active_dims=12)
    mine = SparseEncoder.intersection(weights[0], weights)
    other = theirs.intersection(expected[0], expected)
    np.testing.assert_allclose(mine.toarray(), other.to_dense().numpy(), rtol=1e-4, atol=1e-6)
    for found, row in zip(tiny_splade.decode(mine, top_k=3), theirs.decode(other, top_k=3), strict=True):
        assert [term for term, _ in found] == [term for term, _ in row]
    flat = tiny_splade.decode(expected[0], top_k=3)
    assert [term for term, _ in flat] == [term for term, _ in theirs.decode(expected[0], top_k=3)]


@pytest.mark.parametrize("mean", [False, True])
def test_token_vectors(mean):
    class Encoder(ComparesTokens):
        similarity_fn_name = "meanmaxsim" if mean else "maxsim"

    generator = torch.Generator().manual_seed(0)
    queries = [torch.randn(length, 8, generator=generator) for length in (3, 1, 5)]
    documents = [torch.randn(length, 8, generator=generator) for length in (4, 2, 6)]
    expected = (mean_maxsim if mean else maxsim)(queries, documents)
    pairwise = (mean_maxsim_pairwise if mean else maxsim_pairwise)(queries, documents)
    padded = torch.nn.utils.rnn.pad_sequence(queries, batch_first=True)
    ragged = TokenVectors.of([query.numpy() for query in queries])
    for given in (queries, padded, padded.numpy(), ragged):
        torch.testing.assert_close(Encoder().similarity(given, documents), expected)
        torch.testing.assert_close(Encoder().similarity_pairwise(given, documents), pairwise)
    torch.testing.assert_close(Encoder().similarity(queries[0], documents), expected[:1])
    torch.testing.assert_close(
        Encoder().similarity(queries, documents, length_normalize=True), mean_maxsim(queries, documents)
    )
