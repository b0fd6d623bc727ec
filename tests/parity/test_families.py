"""Encoders of each family that runs without padding return what sentence-transformers does."""

import copy

import numpy as np
import pytest
import sentence_transformers
from encoder_families import MODELS, NAMES, made
from transformers import AutoTokenizer

from checkpoints import write_bert
from retrieve import CrossEncoder, DenseEncoder, SparseEncoder

TEXTS = ["the cell", "light energy of water " * 4, "a", "vaccine stock price", "heat in the fire and the wave", ""]


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    return AutoTokenizer.from_pretrained(write_bert(tmp_path_factory.mktemp("bert") / "model"))


@pytest.mark.parametrize("at", range(len(MODELS)), ids=NAMES)
def test_vectors_weights_and_scores_are_theirs(at, tokenizer, tmp_path):
    model, config = MODELS[at]
    config = copy.deepcopy(config)
    config.vocab_size, config.num_labels = len(tokenizer), 1
    made(model, config).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    arguments = {"device": "cpu", "model_kwargs": {"dtype": "float32"}}
    if model.__name__.endswith("Classification"):
        encoder = CrossEncoder(tmp_path, dtype="float32", device="cpu")
        pairs = [(text, other) for text in TEXTS for other in TEXTS[:4]]
        found, expected = (
            encoder.predict(pairs),
            sentence_transformers.CrossEncoder(str(tmp_path), **arguments).predict(pairs),
        )
    elif model.__name__.endswith("MaskedLM"):
        encoder = SparseEncoder(tmp_path, dtype="float32", device="cpu")
        theirs = sentence_transformers.SparseEncoder(str(tmp_path), **arguments).encode(TEXTS)
        found, expected = encoder.encode(TEXTS).toarray(), theirs.to_dense().numpy()
    else:
        encoder = DenseEncoder(tmp_path, dtype="float32", device="cpu")
        found, expected = (
            encoder.encode(TEXTS),
            sentence_transformers.SentenceTransformer(str(tmp_path), **arguments).encode(TEXTS),
        )
    assert encoder.engine.input.unpadded
    np.testing.assert_allclose(found, expected, atol=1e-5, rtol=1e-4)
    assert np.ptp(expected) > 1e-3
