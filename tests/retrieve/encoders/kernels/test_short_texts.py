"""Single short texts, whose layers ONNX Runtime runs, have the results of transformers' own forward pass."""

import copy
import os
import pickle
import signal
import sys
from typing import Any

import numpy as np
import pytest
import torch
from encoder_families import MODELS, NAMES, features_of, made
from torch import Tensor

from retrieve.encoders import DenseEncoder
from retrieve.encoders.kernels.layout import Layout, concatenated
from retrieve.encoders.kernels.packed_linear import forget_packed, pack
from retrieve.encoders.kernels.short_texts import MAX_TOKENS
from retrieve.encoders.kernels.unpadded import unpad

BERT = 16
DISTILBERT_WITH_RELU = 11
MODERN = range(12, 16)


def prepared(plain: Any) -> Any:
    mine = copy.deepcopy(plain)
    unpad(mine)
    pack(mine)
    return mine


def output(model: Any, length: int) -> Tensor:
    features = features_of([length])
    layout = Layout.of_lengths(np.array([length]), length, torch.device("cpu"))
    with concatenated(layout), torch.inference_mode():
        found = model(**features, return_dict=True)
    values: Tensor = found.last_hidden_state if "last_hidden_state" in found else found.logits
    return values


def expected_of(model: Any, length: int) -> Tensor:
    with torch.inference_mode():
        found = model(**features_of([length]), return_dict=True)
    values: Tensor = found.last_hidden_state if "last_hidden_state" in found else found.logits
    return values


def has_graph(model: Any) -> bool:
    forwards = (vars(module).get("forward") for module in model.modules())
    shorts = [forward._short for forward in forwards if hasattr(forward, "_short")]
    return any(short._session is not None for short in shorts)


@pytest.mark.parametrize("at", range(len(MODELS)), ids=NAMES)
def test_results_are_those_of_transformers(at: int) -> None:
    plain = made(*MODELS[at])
    mine = prepared(plain)
    for length in (5, 5, 1, 23, MAX_TOKENS, MAX_TOKENS + 1, 5):
        torch.testing.assert_close(output(mine, length), expected_of(plain, length), rtol=1e-5, atol=1e-5)
    assert has_graph(mine) == (at not in MODERN and at != DISTILBERT_WITH_RELU)


def test_changed_weights_are_noticed() -> None:
    """In place, replaced as a whole, a module replaced, trained, and through ``data`` with `forget_packed`."""
    plain = made(*MODELS[BERT])
    mine = prepared(plain)
    for _ in range(3):
        output(mine, 7)
    assert has_graph(mine)

    def change_norm(model: Any) -> None:
        with torch.no_grad():
            model.encoder.layer[0].output.LayerNorm.bias.add_(1)

    def replace_weight(model: Any) -> None:
        dense = model.encoder.layer[1].intermediate.dense
        dense.weight = torch.nn.Parameter(dense.weight.detach() * 2)

    def replace_norm(model: Any) -> None:
        model.encoder.layer[2].attention.output.LayerNorm = torch.nn.LayerNorm(32, eps=0.5)

    def train(model: Any) -> None:
        model.train()
        optimizer = torch.optim.AdamW(model.parameters(), lr=0.1, fused=True)
        torch.manual_seed(3)
        for module in model.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0
        model(**features_of([9])).last_hidden_state[..., 0].sum().backward()
        optimizer.step()
        model.eval()

    def change_data(model: Any) -> None:
        model.encoder.layer[3].output.dense.weight.data.mul_(1.5)
        forget_packed(model)

    for change in (change_norm, replace_weight, replace_norm, train, change_data):
        before = output(mine, 7)
        for model in (plain, mine):
            change(model)
        for _ in range(3):
            found = output(mine, 7)
            torch.testing.assert_close(found, expected_of(plain, 7), rtol=1e-4, atol=1e-4)
        assert not torch.allclose(found, before, atol=1e-3), change.__name__
        assert has_graph(mine), change.__name__


def test_copies_are_complete_and_independent() -> None:
    mine = prepared(made(*MODELS[BERT]))
    before = [output(mine, 7) for _ in range(3)][-1]
    for another in (copy.deepcopy(mine), pickle.loads(pickle.dumps(mine))):
        assert not has_graph(another)
        torch.testing.assert_close([output(another, 7) for _ in range(3)][-1], before, rtol=1e-5, atol=1e-5)
        with torch.no_grad():
            another.encoder.layer[0].intermediate.dense.weight.zero_()
        assert not torch.allclose(output(another, 7), before, atol=1e-3)
    assert torch.equal(output(mine, 7), before)


def test_hooks_of_layers_run() -> None:
    plain = made(*MODELS[BERT])
    mine = prepared(plain)
    for _ in range(3):
        output(mine, 7)
    calls: list[Any] = []
    mine.encoder.layer[1].output.register_forward_hook(lambda *values: calls.append(values))
    torch.testing.assert_close(output(mine, 7), expected_of(plain, 7), rtol=1e-5, atol=1e-5)
    assert calls


def test_without_the_runtime_torch_computes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    plain = made(*MODELS[BERT])
    mine = prepared(plain)
    for _ in range(3):
        torch.testing.assert_close(output(mine, 7), expected_of(plain, 7), rtol=1e-5, atol=1e-5)
    assert not has_graph(mine)


def test_damaged_weights_stay_with_torch() -> None:
    mine = prepared(made(*MODELS[BERT]))
    with torch.no_grad():
        mine.encoder.layer[0].intermediate.dense.weight[0, 0] = torch.nan
    found = [output(mine, 7) for _ in range(3)]
    assert all(torch.isnan(each).any() for each in found)
    assert not has_graph(mine)


def test_one_query_is_encoded_as_in_a_batch(minilm_path: str) -> None:
    encoder = DenseEncoder(minilm_path, dtype="float32", device="cpu")
    queries = ["how do vaccines work", "a", "open a file for reading and writing", ""]
    together = encoder.encode_query(queries)
    for _ in range(3):
        alone = np.stack([encoder.encode_query(query) for query in queries])
        np.testing.assert_allclose(alone, together, atol=1e-6)
    assert has_graph(encoder.network)
    np.testing.assert_allclose(encoder.encode_query(queries), together, atol=1e-6)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are spawned here")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_forked_process_makes_its_own_graph() -> None:
    mine = prepared(made(*MODELS[BERT]))
    before = [output(mine, 7) for _ in range(3)][-1]
    child = os.fork()
    if child == 0:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(60)  # A session of the parent would wait for threads that are not here.
        torch.set_num_threads(1)
        os._exit(0 if torch.allclose(output(mine, 7), before, atol=1e-5) and has_graph(mine) else 1)
    assert os.waitpid(child, 0)[1] == 0
