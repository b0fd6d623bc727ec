"""Families of encoders over concatenated texts give the results of transformers' own forward pass."""

import copy
from typing import Any

import numpy as np
import pytest
import torch
from encoder_families import LENGTHS, MODELS, NAMES, features_of, made, output
from torch import Tensor

from retrieve.encoders.kernels.int8_linear import has_fast_int8, quantize_layers
from retrieve.encoders.kernels.layout import Layout, concatenated
from retrieve.encoders.kernels.packed_linear import pack
from retrieve.encoders.kernels.unpadded import unpad


def with_layout(model: Any, features: dict[str, Tensor], lengths: list[int]) -> Tensor:
    layout = Layout.of_lengths(np.array(lengths), max(lengths), torch.device("cpu"))
    with concatenated(layout):
        return output(model, features)


@pytest.mark.parametrize(("model", "config"), MODELS, ids=NAMES)
def test_results_are_those_of_transformers(model: Any, config: Any) -> None:
    plain = made(model, config)
    mine = copy.deepcopy(plain)
    assert unpad(mine)
    pack(mine)
    for name, lengths in LENGTHS.items():
        features = features_of(lengths)
        expected = output(plain, features)
        for found in (with_layout(mine, features, lengths), output(mine, features)):
            torch.testing.assert_close(
                found, expected, rtol=1e-5, atol=1e-5, msg=lambda text, name=name: f"{name}: {text}"
            )


@pytest.mark.parametrize(("model", "config"), MODELS, ids=NAMES)
def test_a_layout_finds_the_tokens_without_a_mask(model: Any, config: Any) -> None:
    """A GPU would have to wait for the mask; only a classifier that pools by it reads it."""
    mine = made(model, config)
    unpad(mine)
    features = features_of(LENGTHS["mixed"])
    expected = with_layout(mine, features, LENGTHS["mixed"])
    calls = []
    for module in mine.modules():
        if type(module).__name__.endswith("SelfAttention") or type(module).__name__ == "ModernBertAttention":
            module.forward = lambda *values, **named: calls.append(values)
    if getattr(config, "classifier_pooling", None) == "mean":
        assert torch.equal(with_layout(mine, features, LENGTHS["mixed"]), expected)
    else:
        mask = features.pop("attention_mask")
        layout = Layout.of_lengths(np.array(LENGTHS["mixed"]), mask.shape[1], torch.device("cpu"))
        with concatenated(layout), torch.inference_mode():
            found = mine(**features, return_dict=True)
        values = found.last_hidden_state if "last_hidden_state" in found else found.logits
        assert torch.equal(values[mask.bool()] if values.dim() == 3 else values, expected)
    assert not calls


@pytest.mark.parametrize(("model", "config"), MODELS, ids=NAMES)
def test_a_row_may_keep_its_padding(model: Any, config: Any) -> None:
    """The layout of a CUDA graph: the row is filled up, and the filling is computed but not attended to."""
    plain = made(model, config)
    mine = copy.deepcopy(plain)
    unpad(mine)
    for length, width in ((1, 8), (21, 24), (24, 24)):
        short = features_of([length])
        ids = torch.cat((short["input_ids"], torch.ones(1, width - length, dtype=torch.long)), dim=1)
        mask = torch.arange(width)[None] < length
        with concatenated(Layout.of_row(mask[0])):
            found = output(mine, {"input_ids": ids, "attention_mask": mask.long()})
        torch.testing.assert_close(found, output(plain, short), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("model", "config"), MODELS, ids=NAMES)
def test_a_layout_holds_where_the_plain_forward_pass_runs(model: Any, config: Any) -> None:
    """With a hook on a layer, transformers' own code runs, and gets the mask that the layout replaces."""
    plain = made(model, config)
    mine = copy.deepcopy(plain)
    unpad(mine)
    hooked = next(module for name, module in mine.named_modules() if name.endswith(("layer.0", "layers.0")))
    calls: list[Any] = []
    hooked.register_forward_hook(lambda *values: calls.append(values))
    features = features_of(LENGTHS["mixed"])
    expected = output(plain, features)
    mask = features["attention_mask"]
    if "Modern" not in model.__name__:
        del features["attention_mask"]
    layout = Layout.of_lengths(np.array(LENGTHS["mixed"]), mask.shape[1], torch.device("cpu"))
    with concatenated(layout), torch.inference_mode():
        found = mine(**features, return_dict=True)
    values = found.last_hidden_state if "last_hidden_state" in found else found.logits
    values = values[mask.bool()] if values.dim() == 3 else values
    torch.testing.assert_close(values, expected, rtol=1e-5, atol=1e-5)
    assert calls


@pytest.mark.parametrize("at", [5, 8, 12, 16])
def test_under_autocast_the_plain_forward_pass_runs(at: int) -> None:
    plain = made(*MODELS[at])
    mine = copy.deepcopy(plain)
    unpad(mine)
    features = features_of(LENGTHS["mixed"])
    masked = dict(features)
    if at != 12:
        del features["attention_mask"]
    layout = Layout.of_lengths(np.array(LENGTHS["mixed"]), 40, torch.device("cpu"))
    with torch.autocast("cpu", torch.bfloat16), torch.inference_mode():
        expected = plain(**masked).last_hidden_state[masked["attention_mask"].bool()]
        with concatenated(layout):
            found = mine(**features).last_hidden_state[masked["attention_mask"].bool()]
    torch.testing.assert_close(found, expected, rtol=0.05, atol=0.05)


@pytest.mark.skipif(not has_fast_int8(), reason="the processor has no VNNI")
@pytest.mark.parametrize("at", [5, 8, 12])
def test_in_8_bits_results_do_not_depend_on_the_batch(at: int) -> None:
    model = made(*MODELS[at])
    exact = output(model, features_of([300, 40]))
    assert quantize_layers(model)
    unpad(model)
    pack(model)
    together = output(model, features_of([300, 40]))
    cosines = torch.nn.functional.cosine_similarity(together, exact, dim=-1)
    assert cosines.min() > 0.9
    features = features_of([300, 40])
    alone = output(model, {name: rows[1:, :40] for name, rows in features.items()})
    torch.testing.assert_close(together[300:], alone, rtol=1e-4, atol=1e-4)
