"""On a CPU batches have few shapes; results equal those of each text alone, without padding."""

import numpy as np
import pytest
import torch
from transformers import AutoModel

from checkpoints import write_bert
from retrieve.encoders import DenseEncoder

LONGEST = 77
"""Positions of CLIP's text model: not a multiple of the step of widths."""


@pytest.fixture
def encoder(tmp_path):
    return DenseEncoder(write_bert(tmp_path, max_position_embeddings=LONGEST), dtype="float32", max_length=LONGEST)


def words(count: int, seed: int) -> str:
    return " ".join(np.random.default_rng(seed).choice(["water", "energy", "price", "the"], count))


def test_wider_batches_change_no_vector(encoder, tmp_path):
    texts = [words(count, seed) for seed, count in enumerate([1, 30, 61, 62, 63, 64, 70, 75, 76, 90, 200] * 3)]
    plain = AutoModel.from_pretrained(tmp_path).eval()

    vectors = encoder.encode(texts, normalize=False)

    for text, vector in zip(texts, vectors, strict=True):
        tokens = encoder.engine.input.tokenizer(text, truncation=True, max_length=LONGEST, return_tensors="pt")
        with torch.inference_mode():
            alone = plain(**tokens).last_hidden_state[0].mean(dim=0)
        np.testing.assert_allclose(vector, alone.numpy(), atol=1e-5)


def test_no_batch_is_wider_than_the_models_positions(encoder, monkeypatch):
    shapes = []
    forward = encoder.engine.network.forward
    monkeypatch.setattr(
        encoder.engine.network,
        "forward",
        lambda features: shapes.append(tuple(features["input_ids"].shape)) or forward(features),
    )

    encoder.encode([words(count, count) for count in range(60, 100)])

    assert max(width for _, width in shapes) == LONGEST


def test_a_corpus_is_run_in_few_shapes(encoder):
    lengths = np.random.default_rng(0).integers(3, LONGEST - 2, 400)
    seen = set()
    forward = encoder.engine.network.forward
    encoder.engine.network.forward = lambda features: seen.add(features["input_ids"].numel()) or forward(features)

    encoder.encode([words(count, seed) for seed, count in enumerate(lengths)], token_budget=1024)

    batches_of_any_shape = len(np.unique(lengths))
    assert len(seen) < batches_of_any_shape / 2


def test_token_vectors_are_in_the_order_of_the_tokens(encoder):
    texts = [words(count, count) for count in (2, 66, 70)]

    vectors = encoder.encode_tokens(texts)

    for at, text in enumerate(texts):
        alone = encoder.encode_tokens(text)
        np.testing.assert_allclose(
            vectors.vectors[vectors.offsets[at] : vectors.offsets[at + 1]], alone.vectors, atol=1e-5
        )
