"""Gradient caching: embeddings of a few texts at a time, with the gradients of the whole batch."""

from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from transformers import BertForMaskedLM

from checkpoints import write_bert
from pipelines.training.data import TrainingRows
from pipelines.training.losses import (
    AdaptiveLayerLoss,
    CachedGISTEmbedLoss,
    CachedLoss,
    CachedMultipleNegativesRankingLoss,
    CachedSpladeLoss,
    GISTEmbedLoss,
    MatryoshkaLoss,
    MultipleNegativesRankingLoss,
    SpladeLoss,
)
from pipelines.training.model import trained
from retrieve.encoders import SparseEncoder
from training_runs import dense, triples


def gradients(loss: Any, encoder: Any, rows: Dataset) -> tuple[float, dict[str, torch.Tensor]]:
    model = trained(encoder)
    model.zero_grad()
    batch = TrainingRows(rows, model, show_progress=False).__getitems__(range(len(rows)))
    value = loss(batch["columns"], batch["labels"])
    value = sum(value.values()) if isinstance(value, dict) else value
    (value * 0.5).backward()
    return float(value.detach()), {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("sizes", [{"mini_batch_size": 3}, {"mini_batch_num_tokens": 20}, {"mini_batch_size": 100}])
@pytest.mark.parametrize("kind", ["ranking", "matryoshka"])
def test_gradient_caching_gives_the_gradients_of_the_whole_batch(bert: Path, kind: str, sizes: dict[str, int]) -> None:
    encoder, rows = dense(bert), triples(10)
    plain: Any = MultipleNegativesRankingLoss(encoder)
    cached: Any = CachedMultipleNegativesRankingLoss(encoder, **sizes)
    if kind == "matryoshka":
        plain = MatryoshkaLoss(encoder, plain, [32, 8])
        cached = CachedLoss(encoder, plain, **sizes)
    expected, wanted = gradients(plain, encoder, rows)
    value, found = gradients(cached, encoder, rows)
    assert value == pytest.approx(expected, rel=1e-5)
    assert found.keys() == wanted.keys()
    for name in wanted:
        torch.testing.assert_close(found[name], wanted[name], rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("kind", ["ranking", "gist", "splade"])
def test_a_wrapper_around_a_cached_loss_embeds_few_texts_at_a_time_and_equals_the_uncached_one(
    bert: Path, kind: str
) -> None:
    encoder, rows = dense(bert), triples(10)
    plain: Any = MultipleNegativesRankingLoss(encoder)
    cached: Any = CachedMultipleNegativesRankingLoss(encoder, mini_batch_size=3)
    if kind == "gist":
        # Without a margin, equal texts are left out or not by rounding.
        plain = GISTEmbedLoss(encoder, dense(bert), margin=1e-3)
        cached = CachedGISTEmbedLoss(encoder, dense(bert), margin=1e-3, mini_batch_size=3)
    if kind == "splade":
        plain, cached = (SpladeLoss(encoder, loss, 3e-3, 5e-3) for loss in (plain, cached))
    else:
        plain, cached = (MatryoshkaLoss(encoder, loss, [32, 8]) for loss in (plain, cached))
    expected, wanted = gradients(plain, encoder, rows)
    seen: list[int] = []
    handle = trained(encoder).register_forward_hook(lambda *event: seen.append(len(event[-1]["sentence_embedding"])))
    value, found = gradients(cached, encoder, rows)
    handle.remove()
    assert max(seen) == 3
    assert value == pytest.approx(expected, rel=1e-5)
    for name in wanted:
        torch.testing.assert_close(found[name], wanted[name], rtol=1e-3, atol=1e-6)


def test_a_loss_over_layers_says_that_it_does_not_cache(bert: Path, caplog: pytest.LogCaptureFixture) -> None:
    encoder = dense(bert)
    AdaptiveLayerLoss(encoder, CachedMultipleNegativesRankingLoss(encoder))
    assert "AdaptiveLayerLoss embeds each batch at once" in caplog.text


def test_gradient_caching_of_splade_names_its_parts(tmp_path: Path) -> None:
    encoder = SparseEncoder(write_bert(tmp_path / "mlm", BertForMaskedLM), dtype="float32", device="cpu")
    rows = triples(7)
    base = MultipleNegativesRankingLoss(encoder, 1.0, "dot")
    plain, cached = (
        SpladeLoss(encoder, base, 3e-3, 5e-3),
        CachedSpladeLoss(encoder, base, 3e-3, 5e-3, mini_batch_size=2),
    )
    batch = TrainingRows(rows, trained(encoder), show_progress=False).__getitems__(range(7))
    parts, expected = cached(batch["columns"]), plain(batch["columns"])
    assert parts.keys() == expected.keys()
    for name in expected:
        assert float(parts[name].detach()) == pytest.approx(float(expected[name].detach()), rel=1e-5)
    _, wanted = gradients(plain, encoder, rows)
    _, found = gradients(cached, encoder, rows)
    for name in wanted:
        torch.testing.assert_close(found[name], wanted[name], rtol=1e-3, atol=1e-6)


def test_both_passes_of_gradient_caching_have_the_same_dropout(bert: Path) -> None:
    encoder, rows = dense(bert), triples(6)
    model = trained(encoder).train()
    loss = CachedMultipleNegativesRankingLoss(encoder, mini_batch_size=2)
    batch = TrainingRows(rows, model, show_progress=False).__getitems__(range(6))
    seen: list[torch.Tensor] = []
    handle = model.register_forward_hook(lambda *event: seen.append(event[-1]["sentence_embedding"].detach().clone()))
    loss(batch["columns"]).backward()
    handle.remove()
    half = len(seen) // 2
    for first, second in zip(seen[:half], seen[half:], strict=True):
        torch.testing.assert_close(first, second)
