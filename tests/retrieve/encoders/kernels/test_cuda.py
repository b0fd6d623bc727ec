"""Encoders give the same results on a CUDA GPU as on a processor; skipped without a GPU."""

import copy
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import torch
from encoder_families import LENGTHS, MODELS, NAMES, features_of, made, output

from checkpoints import write_bert
from retrieve.encoders import CrossEncoder, DenseEncoder, SparseEncoder
from retrieve.encoders.kernels.attention import _efficient, _flash, varlen_kernel
from retrieve.encoders.kernels.graphs import graph_width
from retrieve.encoders.kernels.layout import Layout, concatenated
from retrieve.encoders.kernels.unpadded import unpad

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA GPU"),
]

WORDS = ["the", "cell", "light", "energy", "water", "wave", "vaccine", "stock", "price", "market", "fire", "heat"]
TEXTS = [" ".join(WORDS[at % 5 :][: 1 + at % 11]) + f" {at}" for at in range(300)] + ["", "the"]


DEVICES = ("cpu", "cuda")


def on_gpu(model: Any, features: dict[str, torch.Tensor], lengths: list[int], *, masked: bool) -> torch.Tensor:
    device = torch.device("cuda")
    mask = features["attention_mask"]
    held = {"input_ids": features["input_ids"].to(device)} | ({"attention_mask": mask.to(device)} if masked else {})
    layout = Layout.of_lengths(np.array(lengths), mask.shape[1], device)
    with concatenated(layout), torch.inference_mode():
        found = model(**held, return_dict=True)
    values = (found.last_hidden_state if "last_hidden_state" in found else found.logits).float().cpu()
    return values[mask.bool()] if values.dim() == 3 else values


@pytest.mark.parametrize(("model", "config"), MODELS, ids=NAMES)
def test_families_compute_as_on_a_processor(model: Any, config: Any) -> None:
    plain = made(model, config)
    exact = copy.deepcopy(plain).cuda()
    padded = copy.deepcopy(plain).cuda().bfloat16()
    short = copy.deepcopy(padded)
    assert unpad(exact) and unpad(short)
    masked = "Modern" in model.__name__
    for lengths in LENGTHS.values():
        features = features_of(lengths)
        expected = output(plain, features)
        torch.testing.assert_close(on_gpu(exact, features, lengths, masked=masked), expected, rtol=2e-4, atol=2e-4)
        usual = output(padded, {name: tensor.cuda() for name, tensor in features.items()}).float().cpu()
        found = on_gpu(short, features, lengths, masked=masked)
        errors = [(values - expected).square().mean().sqrt() for values in (found, usual)]
        assert errors[0] < 1.5 * errors[1] + 0.02


def test_this_gpu_has_kernels_for_texts_of_different_lengths() -> None:
    device = torch.device("cuda", 0)
    for width in (32, 64):
        assert varlen_kernel(device, torch.float32, width, windowed=False) is _efficient
        if torch.cuda.get_device_capability(0) >= (8, 0):
            assert varlen_kernel(device, torch.bfloat16, width, windowed=False) is _flash


@pytest.mark.parametrize("budget", [None, 60])
def test_encoders_return_what_they_do_on_a_processor(tmp_path: Any, budget: int | None) -> None:
    from transformers import BertForMaskedLM, BertForSequenceClassification

    arguments: Any = {"dtype": "float32"}
    dense, sparse = write_bert(tmp_path / "dense"), write_bert(tmp_path / "sparse", BertForMaskedLM)
    cross = write_bert(tmp_path / "cross", BertForSequenceClassification, num_labels=1)
    vectors = [DenseEncoder(dense, device=each, **arguments).encode(TEXTS, token_budget=budget) for each in DEVICES]
    np.testing.assert_allclose(*vectors, atol=1e-5)
    tokens = [DenseEncoder(dense, device=each, **arguments).encode_tokens(TEXTS) for each in DEVICES]
    np.testing.assert_array_equal(tokens[0].offsets, tokens[1].offsets)
    np.testing.assert_allclose(tokens[0].vectors, tokens[1].vectors, atol=1e-5)
    terms = [SparseEncoder(sparse, device=each, **arguments).encode(TEXTS, token_budget=budget) for each in DEVICES]
    assert abs(terms[0] - terms[1]).max() < 1e-4
    pairs = [(TEXTS[at], TEXTS[-at]) for at in range(200)]
    scores = [CrossEncoder(cross, device=each, **arguments).predict(pairs, token_budget=budget) for each in DEVICES]
    np.testing.assert_allclose(*scores, atol=1e-4)


def test_a_single_text_is_replayed_from_a_graph(minilm_path: str) -> None:
    exact = DenseEncoder(minilm_path, dtype="float32", device="cpu")
    encoder = DenseEncoder(minilm_path, dtype="float32", device="cuda")
    texts = ["water", "the wave of heat", "light " * 30, "energy " * 100, "fire " * 300]
    expected = exact.encode(texts)
    for _ in range(3):
        np.testing.assert_allclose([encoder.encode(text) for text in texts], expected, atol=1e-5)
    graphs = encoder.input._graphs
    widths = {width for (width, _), graph in graphs._captured.items() if graph is not None}
    assert widths == {graph_width(length) for length in (3, 6, 32, 102, 256)}

    first = encoder.input.model.encoder.layer[0]
    reference = exact.input.model.encoder.layer[0]
    for layer in (first, reference):  # in place, as in training
        with torch.no_grad():
            layer.attention.self.value.weight.mul_(-1)
    expected = exact.encode(texts)
    assert not np.allclose(expected[0], encoder.encode("the"), atol=1e-3)
    np.testing.assert_allclose([encoder.encode(text) for text in texts], expected, atol=1e-5)
    for layer in (first, reference):  # other parameters
        layer.attention.self.value.weight = torch.nn.Parameter(layer.attention.self.value.weight.detach() * -0.5)
    expected = exact.encode(texts)
    for _ in range(3):
        np.testing.assert_allclose([encoder.encode(text) for text in texts], expected, atol=1e-5)
    other = copy.deepcopy(encoder)
    np.testing.assert_allclose([other.encode(text) for text in texts], expected, atol=1e-5)


def test_threads_share_graphs(minilm_path: str) -> None:
    encoder = DenseEncoder(minilm_path, device="cuda", dtype="float32")
    texts = [f"{word} {at}" for at in range(20) for word in WORDS]
    expected = encoder.encode(texts)
    for text in texts[:3]:
        encoder.encode(text)
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(encoder.encode, texts))
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_bfloat16_is_the_default_where_the_gpu_has_it(minilm_path: str) -> None:
    encoder = DenseEncoder(minilm_path, device="cuda")
    if torch.cuda.get_device_capability(0) < (8, 0):
        pytest.skip("this GPU has no bfloat16")
    assert encoder.precision == "bfloat16"
    exact = DenseEncoder(minilm_path, device="cpu", dtype="float32").encode(TEXTS)
    cosines = (encoder.encode(TEXTS) * exact).sum(axis=1)
    assert cosines.min() > 0.99
