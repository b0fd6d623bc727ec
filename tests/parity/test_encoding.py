"""Encoding options give the results of sentence-transformers: precisions, truncated vectors, decoded terms."""

import numpy as np
import pytest
import sentence_transformers as theirs
import torch
from sentence_transformers.util import quantize_embeddings
from transformers import BertForMaskedLM

from checkpoints import WORDS, write_bert
from retrieve.encoders import DenseEncoder, SparseEncoder, quantize, sparsity, value_ranges

TEXTS = ["", "water", *(" ".join(WORDS[(at * 7 + word) % len(WORDS)] for word in range(at)) for at in range(2, 40, 2))]
INTEGERS = ["int8", "uint8", "binary", "ubinary"]


@pytest.fixture(scope="module")
def vectors() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(120, 20)).astype(np.float32)


@pytest.fixture(scope="module")
def dense(tmp_path_factory) -> tuple[DenseEncoder, theirs.SentenceTransformer]:
    path = write_bert(tmp_path_factory.mktemp("dense") / "model")
    return DenseEncoder(path, dtype="float32", device="cpu"), theirs.SentenceTransformer(str(path), device="cpu")


@pytest.mark.parametrize("precision", ["float32", *INTEGERS])
def test_quantize(vectors, precision):
    np.testing.assert_array_equal(quantize(vectors, precision), quantize_embeddings(vectors, precision))


@pytest.mark.parametrize("precision", INTEGERS)
def test_quantize_with_the_ranges_of_a_sample(vectors, precision):
    sample, others = vectors[:110], vectors[110:] * 1.5

    ours = quantize(others, precision, ranges=value_ranges(sample))

    np.testing.assert_array_equal(ours, quantize_embeddings(others, precision, calibration_embeddings=sample))


def test_quantize_where_a_dimension_never_varies(vectors):
    flat = vectors.copy()
    flat[:, 3] = 0.25

    np.testing.assert_array_equal(quantize(flat, "uint8"), quantize_embeddings(flat, "uint8"))


@pytest.mark.parametrize("precision", INTEGERS)
def test_encode_in_fewer_bits(dense, precision):
    ours, reference = dense

    found, expected = ours.encode(TEXTS, precision=precision), reference.encode(TEXTS, precision=precision)

    assert (found.dtype, found.shape) == (expected.dtype, expected.shape)
    if precision.endswith("int8"):
        # A value on the border of two parts may be rounded to either.
        assert np.abs(found.astype(int) - expected.astype(int)).max() <= 1
        assert (found != expected).mean() < 0.02
    else:
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("dimension", [7, 32, 100])
def test_shortened_vectors(dense, normalize, dimension):
    ours, reference = dense

    found = ours.encode(TEXTS, truncate_dim=dimension, normalize=normalize)

    expected = reference.encode(TEXTS, truncate_dim=dimension, normalize_embeddings=normalize)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)


def test_torch_out(dense):
    ours, reference = dense

    found = ours.encode(TEXTS, convert_to="torch")

    assert isinstance(found, torch.Tensor)
    torch.testing.assert_close(found, reference.encode(TEXTS, convert_to_tensor=True), rtol=0, atol=1e-5)


def test_decoded_terms_and_sparsity(tmp_path):
    path = write_bert(tmp_path / "model", BertForMaskedLM)
    ours = SparseEncoder(path, dtype="float32", device="cpu")
    reference = theirs.SparseEncoder(str(path), device="cpu")
    weights, expected = ours.encode(TEXTS, max_active_dims=12), reference.encode(TEXTS, max_active_dims=12)

    for top_k in (None, 1, 5, 50):
        for found, terms in zip(ours.decode(weights, top_k), reference.decode(expected, top_k), strict=True):
            assert [term for term, _ in found] == [term for term, _ in terms]
            np.testing.assert_allclose([w for _, w in found], [w for _, w in terms], rtol=0, atol=1e-5)
    assert sparsity(weights)._asdict() == pytest.approx(reference.sparsity(expected))
