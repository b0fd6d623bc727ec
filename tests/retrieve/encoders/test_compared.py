"""Similarity as methods of encoders, and the name of it."""

import numpy as np
import pytest

from indexing import Document
from indexing.errors import InputError
from pipelines import SearchPipeline, build_collection
from retrieve import DenseEncoder, SparseEncoder
from retrieve.protocols import check_encoder, similarity_name

TEXTS = ["bake bread", "sort a list", "we bake bread and bake bread"]


class Letters:
    """An encoder of one's own, as documented before `similarity` was a method."""

    identity = {"name": "letters", "version": 1}  # noqa: RUF012
    dimension, similarity = 26, "dot"

    def encode_query(self, texts):
        return np.array([[text.count(chr(97 + at)) for at in range(26)] for text in texts], np.float32)

    encode_document = encode_query


def test_an_encoder_with_its_similarity_as_a_text_still_works(tmp_path):
    build_collection([Document(text, text) for text in TEXTS], tmp_path / "c", dense=Letters())
    with SearchPipeline.open(tmp_path / "c", dense=Letters()) as pipeline:
        assert pipeline.search("bake bread", k=1)[0].doc_id == TEXTS[2], "dot product: longer texts score more"


def test_an_encoder_without_a_named_similarity_is_refused():
    class Unnamed(Letters):
        def similarity(self, one, other):
            return one @ other.T

    with pytest.raises(InputError, match="has no similarity_fn_name: load a checkpoint"):
        check_encoder(Unnamed(), "dense", "dense")
    with pytest.raises(InputError, match="has no similarity_fn_name: set it to"):
        similarity_name(Unnamed())


def test_a_function_compares_by_the_similarity_that_it_states():
    encoder = DenseEncoder.of(Letters().encode_query, 26, identity="letters@1", similarity="dot")
    vectors = encoder.encode_document(TEXTS)
    np.testing.assert_array_equal(encoder.similarity(vectors, vectors).numpy(), vectors @ vectors.T)


def test_setting_the_similarity_changes_scores_and_identity(tiny_dense):
    encoder = tiny_dense.truncated(8)
    vectors = encoder.encode(TEXTS)
    before = encoder.identity
    encoder.similarity_fn_name = "euclidean"
    assert encoder.identity != before and tiny_dense.similarity_fn_name == "cosine"
    expected = -np.linalg.norm(vectors[0] - vectors[2])
    assert encoder.similarity(vectors[0], vectors)[0, 2].item() == pytest.approx(expected, abs=1e-5)
    with pytest.raises(InputError, match="unknown similarity 'maxsim'"):
        encoder.similarity_fn_name = "maxsim"


@pytest.mark.parametrize(
    ("one", "other", "message"),
    [
        (np.ones((2, 3)), np.ones((2, 4)), "have 3 dimensions"),
        (np.ones((2, 3)), np.ones((3, 3)), "as many embeddings1"),
    ],
)
def test_vectors_that_do_not_fit_each_other_are_refused(tiny_dense, one, other, message):
    with pytest.raises(InputError, match=message):
        tiny_dense.similarity_pairwise(one, other)


def test_shared_terms_of_weights_of_several_queries_are_refused(tiny_splade):
    weights = tiny_splade.encode(TEXTS)
    with pytest.raises(InputError, match="embeddings_1 must be one text's weights, not those of 3"):
        SparseEncoder.intersection(weights, weights)
