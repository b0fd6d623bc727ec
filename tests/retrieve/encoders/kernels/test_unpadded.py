"""Layers over concatenated texts give the results of padded rows, and of each text alone."""

import copy
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention
from transformers import (
    AlbertConfig,
    AlbertModel,
    BertConfig,
    BertForMaskedLM,
    BertForSequenceClassification,
    BertModel,
    CamembertConfig,
    CamembertModel,
    ElectraConfig,
    ElectraModel,
    RobertaConfig,
    RobertaForSequenceClassification,
    RobertaModel,
    XLMRobertaConfig,
    XLMRobertaModel,
)

from retrieve.encoders import DenseEncoder
from retrieve.encoders.batching import STEP
from retrieve.encoders.kernels import attention
from retrieve.encoders.kernels.attention import attend
from retrieve.encoders.kernels.layout import ROUND_FROM, Layout
from retrieve.encoders.kernels.unpadded import unpad

SIZES = {"vocab_size": 50, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
MODELS = [
    (BertModel, BertConfig),
    (BertForMaskedLM, BertConfig),
    (BertForSequenceClassification, BertConfig),
    (RobertaModel, RobertaConfig),
    (RobertaForSequenceClassification, RobertaConfig),
    (XLMRobertaModel, XLMRobertaConfig),
    (CamembertModel, CamembertConfig),
    (ElectraModel, ElectraConfig),
]


def made(model: Any = BertModel, config: Any = BertConfig, **options: Any) -> Any:
    torch.manual_seed(0)
    return model(config(**SIZES, max_position_embeddings=80, initializer_range=0.3, **options)).eval()


def words(lengths: list[int], *, left: bool = False) -> dict[str, Tensor]:
    width = max(lengths)
    columns = torch.arange(width)
    asked = torch.tensor(lengths)[:, None]
    mask = columns >= width - asked if left else columns < asked
    ids = torch.randint(2, 50, mask.shape, generator=torch.Generator().manual_seed(1))
    return {"input_ids": ids.where(mask, 1), "attention_mask": mask.long()}


def run(model: Any, features: dict[str, Tensor]) -> Tensor:
    with torch.inference_mode():
        output = model(**features)
    found: Tensor = output.last_hidden_state if "last_hidden_state" in output else output.logits
    return found


def attended(found: Tensor, features: dict[str, Tensor]) -> Tensor:
    return found[features["attention_mask"].bool()] if found.dim() == 3 else found


@pytest.mark.parametrize(("model", "config"), MODELS)
@pytest.mark.parametrize(
    ("lengths", "left"), [([5, 1, 9, 9, 4], False), ([5, 1, 9, 9, 4], True), ([7, 7], False), ([70] * 12, False)]
)
def test_results_are_those_of_padded_rows(model: Any, config: Any, lengths: list[int], left: bool) -> None:
    plain = made(model, config)
    mine = copy.deepcopy(plain)
    assert unpad(mine)
    features = words(lengths, left=left)
    if left and "Classification" in type(plain).__name__:
        pytest.skip("its head reads the first column")
    found, expected = (attended(run(one, features), features) for one in (mine, plain))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_tokens_may_be_masked_anywhere_and_a_text_be_empty() -> None:
    plain = made()
    mine = copy.deepcopy(plain)
    unpad(mine)
    features = words([9, 9, 9])
    features["attention_mask"][0, [0, 3, 8]] = 0
    features["attention_mask"][1] = 0
    found, expected = (attended(run(one, features), features) for one in (mine, plain))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    assert not run(mine, features)[1].any()


def test_layers_get_no_padding_and_few_different_numbers_of_tokens() -> None:
    mine, seen = made(), set()
    unpad(mine)
    dense = mine.encoder.layer[1].output.dense
    forward = dense.forward
    dense.forward = lambda rows: seen.add(len(rows)) or forward(rows)
    run(mine, words([3, 70, 19]))
    assert seen == {92}
    seen.clear()
    for count in range(20):
        run(mine, words([40 + count, *[40] * 23]))
    assert min(seen) >= ROUND_FROM and all(tokens % STEP == 0 for tokens in seen) and len(seen) == 2


@pytest.mark.parametrize("spread", [0.3, 3.0])
def test_bfloat16_is_as_close_to_float32_as_padded_rows_are(spread: float) -> None:
    """With a wide spread the exponentials of scores overflow, and torch's attention is used instead."""
    exact = made()
    with torch.no_grad():
        for layer in exact.encoder.layer:
            layer.attention.self.query.weight *= spread / 0.3
            layer.attention.self.key.weight *= spread / 0.3
    plain = copy.deepcopy(exact).bfloat16()
    mine = copy.deepcopy(plain)
    unpad(mine)
    features = words([5, 30, 17, 64, 64, 2])
    truth = attended(run(exact, features), features)
    errors = [(attended(run(one, features), features).float() - truth).square().mean().sqrt() for one in (mine, plain)]
    assert errors[0] < 1.25 * errors[1]


@settings(max_examples=40, deadline=None)
@given(
    lengths=st.lists(st.integers(0, 70), min_size=1, max_size=12).filter(any),
    heads=st.sampled_from([1, 3]),
    dtype=st.sampled_from([torch.float32, torch.bfloat16]),
    strength=st.sampled_from([0.0, 1.0, 300.0]),
    most=st.sampled_from([1, 20_000, 480_000]),
    few=st.sampled_from([0, 64]),
)
def test_attention_is_that_of_each_text(
    lengths: list[int], heads: int, dtype: torch.dtype, strength: float, most: int, few: int
) -> None:
    mask = torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]
    layout = Layout.of(mask)
    assert layout.tokens == sum(lengths)
    draw = torch.Generator().manual_seed(sum(lengths))
    query, key, value = (torch.randn(len(layout.positions), heads * 8, generator=draw).to(dtype) for _ in range(3))
    query *= strength
    with pytest.MonkeyPatch.context() as patch, torch.inference_mode():
        patch.setattr(attention, "MAX_SCORES", most)
        patch.setattr(attention, "MIN_TOKENS", few)
        found = attend(query, key, value, heads, layout)
        assert not found[layout.tokens :].any()
        start, slack = 0, 2**-6 if dtype == torch.bfloat16 else 1e-5
        for length in sorted(filter(None, lengths)):
            one = [
                part[start : start + length].view(1, length, heads, 8).transpose(1, 2) for part in (query, key, value)
            ]
            exact, torchs = (
                scaled_dot_product_attention(*(part.to(kind) for part in one)).transpose(1, 2).flatten(2)[0]
                for kind in (torch.float64, dtype)
            )
            assert far(found[start : start + length], exact) <= 10 * far(torchs, exact) + slack
            start += length


def far(found: Tensor, exact: Tensor) -> float:
    return float((found.double() - exact).square().mean().sqrt())


def test_not_a_number_stays_in_its_text() -> None:
    mine = made().bfloat16()
    unpad(mine)
    features = words([4, 70, 70])
    with torch.no_grad():
        mine.embeddings.word_embeddings.weight[49] = float("nan")
    features["input_ids"].clamp_(max=48)[1, 2] = 49
    found = run(mine, features)
    assert found[1].isnan().all() and found[0, :4].isfinite().all() and found[2].isfinite().all()


def test_calls_that_need_the_plain_forward_pass_get_it() -> None:
    plain, features = made(), words([5, 9])
    mine = copy.deepcopy(plain)
    unpad(mine)
    assert torch.equal(mine(**features).last_hidden_state, plain(**features).last_hidden_state)
    assert mine(**features).last_hidden_state.requires_grad
    with torch.inference_mode():
        states, expected = (one(**features, output_hidden_states=True).hidden_states for one in (mine, plain))
        assert len(states) == len(expected) == 3
        for state, other in zip(states, expected, strict=True):
            torch.testing.assert_close(state, other)
        dropping = copy.deepcopy(plain).train()
        unpad(dropping)
        assert not torch.equal(dropping(**features).last_hidden_state, dropping(**features).last_hidden_state)
        assert isinstance(plain(**features, return_dict=False), tuple)
    calls: list[Any] = []
    again = copy.deepcopy(plain)
    unpad(again)
    again.encoder.layer[0].register_forward_hook(lambda *arguments: calls.append(arguments))
    run(again, features)
    assert calls


def test_a_mask_per_query_is_obeyed() -> None:
    plain, features = made(), words([9, 9])
    mine = copy.deepcopy(plain)
    unpad(mine)
    features["attention_mask"] = torch.ones(2, 1, 9, 9, dtype=torch.bool).tril()
    torch.testing.assert_close(run(mine, features), run(plain, features))


def test_a_batch_of_empty_texts_gives_nothing() -> None:
    mine, features = made(), words([3, 3])
    unpad(mine)
    features["attention_mask"][:] = 0
    assert not run(mine, features).any()


def test_a_copy_runs_its_own_weights() -> None:
    mine, features = made(), words([5, 9])
    unpad(mine)
    another, before = copy.deepcopy(mine), run(mine, features)
    with torch.no_grad():
        another.encoder.layer[0].attention.self.value.weight.zero_()
    assert not torch.allclose(run(another, features), before)
    assert torch.equal(run(mine, features), before)


def test_other_models_are_unchanged() -> None:
    albert = AlbertModel(AlbertConfig(**SIZES, embedding_size=16))
    decoder = made(is_decoder=True)
    assert not unpad(albert) and not unpad(decoder)
    assert "forward" not in vars(decoder.encoder)


def test_encoders_on_a_processor_compute_no_padding(minilm_path: str) -> None:
    encoder = DenseEncoder(minilm_path, dtype="float32", device="cpu")
    assert encoder.engine.input.unpadded
    texts = ["a text", "another, longer text of some words", "", "word " * 400]
    found = encoder.encode(texts)
    del encoder.engine.input.model.encoder.forward
    encoder.engine.input.unpadded = False
    np.testing.assert_allclose(encoder.encode(texts), found, atol=1e-5)


def test_small_batches_are_filled_up_so_that_queries_of_many_lengths_share_kernels() -> None:
    sizes = {length: len(Layout.of(torch.ones(1, length, dtype=torch.bool)).positions) for length in range(1, 30)}
    assert set(sizes.values()) == {1, *range(4, 33, 4)}
    assert all(size >= length for length, size in sizes.items()) and sizes[2] == sizes[4] == 4
