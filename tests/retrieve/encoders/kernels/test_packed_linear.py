import copy
import pickle
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from transformers import BertConfig, BertModel

from retrieve.encoders import DenseEncoder
from retrieve.encoders.kernels import packed_linear
from retrieve.encoders.kernels.packed_linear import PackedLinear, norm_of_sum, pack, packed_products


@pytest.fixture
def layer() -> nn.Linear:
    torch.manual_seed(0)
    return nn.Linear(24, 40)


def packed(layer: nn.Linear) -> Any:
    return _pack_all(nn.Sequential(copy.deepcopy(layer)))[0]


def _pack_all(model: Any) -> Any:
    pack(model)
    return model


def inferred(layer: nn.Module, rows: Tensor) -> Tensor:
    with torch.inference_mode():
        found: Tensor = layer(rows)
    return found


@pytest.mark.parametrize("shape", [(1, 24), (3, 24), (2, 5, 24), (700, 24), (0, 24)])
def test_products_are_those_of_a_linear_layer(layer: nn.Linear, shape: tuple[int, ...]) -> None:
    rows = torch.randn(shape)
    torch.testing.assert_close(inferred(packed(layer), rows), inferred(layer, rows), rtol=1e-5, atol=1e-6)


def test_without_bias_and_in_bfloat16(layer: nn.Linear) -> None:
    layer.bias = None  # type: ignore[assignment]
    rows = torch.randn(9, 24)
    torch.testing.assert_close(inferred(packed(layer), rows), inferred(layer, rows), rtol=1e-5, atol=1e-6)
    half, exact = packed(layer.to(torch.bfloat16)), inferred(layer.float(), rows.bfloat16().float())
    found = inferred(half, rows.bfloat16())
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found.float(), exact, rtol=2**-8, atol=1e-6)


@pytest.mark.parametrize("fused", [False, True])
def test_changed_weights_are_packed_again(layer: nn.Linear, fused: bool) -> None:
    mine, rows = packed(layer), torch.randn(5, 24)
    before = inferred(mine, rows)
    assert mine._packed is not None

    optimizer = torch.optim.AdamW(mine.parameters(), lr=0.5, fused=fused)
    mine(rows).square().sum().backward()
    optimizer.step()
    layer.load_state_dict(mine.state_dict())
    trained = inferred(mine, rows)
    assert not torch.allclose(trained, before)
    torch.testing.assert_close(trained, inferred(layer, rows), rtol=1e-5, atol=1e-6)

    mine.load_state_dict({name: 2 * weight for name, weight in layer.state_dict().items()})
    torch.testing.assert_close(inferred(mine, rows), 2 * trained, rtol=1e-5, atol=1e-5)
    assert inferred(mine.to(torch.bfloat16), rows.bfloat16()).dtype == torch.bfloat16


def test_outside_of_inference_it_is_a_plain_layer(layer: nn.Linear) -> None:
    mine, rows = packed(layer), torch.randn(5, 24)
    assert torch.equal(mine(rows), layer(rows)) and mine(rows).requires_grad
    with torch.no_grad():
        assert torch.equal(mine(rows), layer(rows))
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(mine(rows), layer(rows)) and mine(rows).dtype == torch.bfloat16
    assert mine._packed is None
    assert list(mine.state_dict()) == ["weight", "bias"]


def test_a_copy_is_complete_and_independent(layer: nn.Linear) -> None:
    mine, rows = packed(layer), torch.randn(5, 24)
    before = inferred(mine, rows)
    for another in (copy.deepcopy(mine), pickle.loads(pickle.dumps(mine))):
        assert isinstance(another, PackedLinear) and another._packed is None
        assert torch.equal(inferred(another, rows), before)
        with torch.no_grad():
            another.weight.zero_()
        assert not torch.equal(inferred(another, rows), before)
    assert torch.equal(inferred(mine, rows), before)


@pytest.mark.parametrize("activation", ["gelu", "gelu_new", "relu"])
def test_a_transformer_gives_the_same_results(activation: str) -> None:
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    plain: Any = BertModel(BertConfig(vocab_size=50, hidden_act=activation, **sizes)).eval()
    mine = _pack_all(copy.deepcopy(plain))
    words = {"input_ids": torch.randint(0, 50, (3, 11)), "attention_mask": torch.ones(3, 11, dtype=torch.long)}
    words["attention_mask"][1, 6:] = 0
    with torch.inference_mode():
        expected, found = plain(**words).last_hidden_state, mine(**words).last_hidden_state
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    fused = "forward" in vars(mine.encoder.layer[0].intermediate)
    assert fused == (activation == "gelu")

    another = copy.deepcopy(mine)
    with torch.no_grad():
        another.encoder.layer[0].intermediate.dense.weight.zero_()
    with torch.inference_mode():
        assert not torch.allclose(another(**words).last_hidden_state, expected, atol=1e-3)
        assert torch.equal(mine(**words).last_hidden_state, found)
    assert torch.equal(mine(**words).last_hidden_state, plain(**words).last_hidden_state)


def test_large_models_keep_one_copy_of_their_weights(layer: nn.Linear, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packed_linear, "MAX_BYTES", layer.weight.nbytes - 1)
    assert type(packed(layer)) is nn.Linear


def test_encoders_on_a_processor_are_packed(minilm_path: str) -> None:
    encoder = DenseEncoder(minilm_path, dtype="float32", device="cpu")
    layers = [module for module in encoder.network.modules() if isinstance(module, nn.Linear)]
    assert layers and all(type(layer) is PackedLinear for layer in layers)
    vectors = encoder.encode(["a text", "another, longer text of some words"])
    assert any(layer._packed is not None for layer in layers if isinstance(layer, PackedLinear))

    for layer in layers:
        layer.__class__ = nn.Linear
    np.testing.assert_allclose(encoder.encode(["a text", "another, longer text of some words"]), vectors, atol=1e-5)


def three_layers(*, bias: bool = True) -> list[Any]:
    torch.manual_seed(1)
    return list(_pack_all(nn.Sequential(*(nn.Linear(24, width, bias=bias) for width in (16, 16, 8)))))


@pytest.mark.parametrize("bias", [True, False])
def test_layers_of_the_same_rows_are_multiplied_as_one(bias: bool) -> None:
    layers, rows = three_layers(bias=bias), torch.randn(7, 24)
    with torch.inference_mode():
        found = packed_products(rows, layers)
        assert found is not None
        for part, layer in zip(found, layers, strict=True):
            torch.testing.assert_close(part, layer(rows), rtol=1e-5, atol=1e-6)


def test_a_change_of_any_of_them_is_seen_and_copies_join_their_own() -> None:
    layers, rows = three_layers(), torch.randn(7, 24)
    with torch.inference_mode():
        packed_products(rows, layers)
    copies = copy.deepcopy(layers)
    assert layers[0]._joined is not None and copies[0]._joined is None
    for changed in (layers[1].weight, layers[2].bias):
        changed.data.mul_(2)
        changed.data = changed.data.clone()
    with torch.inference_mode():
        for part, layer in zip(packed_products(rows, layers) or (), layers, strict=True):
            torch.testing.assert_close(part, layer(rows), rtol=1e-5, atol=1e-6)


def test_layers_that_differ_are_not_joined() -> None:
    rows = torch.randn(7, 24)
    with torch.inference_mode():
        assert packed_products(rows, [*three_layers(), nn.Linear(24, 8)]) is None
        assert packed_products(rows, [*three_layers(), three_layers(bias=False)[0]]) is None
    assert packed_products(rows, three_layers()) is None, "outside of inference"


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_norm_of_a_sum(dtype: torch.dtype) -> None:
    dense, norm = three_layers()[0].to(dtype), nn.LayerNorm(16).to(dtype)
    rows, residual = torch.randn(5, 24, dtype=dtype), torch.randn(5, 16, dtype=dtype)
    with torch.inference_mode():
        expected = norm(nn.functional.linear(rows, dense.weight, dense.bias) + residual)
        tolerance = 1e-5 if dtype == torch.float32 else 0.04
        torch.testing.assert_close(norm_of_sum(dense, norm, rows, residual), expected, rtol=tolerance, atol=tolerance)
        other = nn.Sequential(norm)
        torch.testing.assert_close(norm_of_sum(dense, other, rows, residual), expected, rtol=tolerance, atol=tolerance)
