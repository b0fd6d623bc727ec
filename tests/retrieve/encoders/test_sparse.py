import numpy as np
import pytest
import torch
from scipy.sparse import csr_matrix
from transformers import AutoModelForMaskedLM, AutoTokenizer

from indexing.errors import InputError
from retrieve.encoders import SparseEncoder, sparsity
from retrieve.encoders.kernels import largest_logits
from retrieve.encoders.kernels.streams import count_streams
from retrieve.encoders.modules import splade_pooling
from retrieve.encoders.modules.vocabulary_logits import VocabularyLogits


def load(path, **options):
    return SparseEncoder(path, dtype="float32", **options)


def reference(path, texts):
    """Compute SPLADE-max as in its paper: activate every logit, then take the maximum."""
    model, tokenizer = AutoModelForMaskedLM.from_pretrained(path).eval(), AutoTokenizer.from_pretrained(path)
    rows = []
    for text in texts:
        with torch.inference_mode():
            logits = model(**tokenizer(text, truncation=True, return_tensors="pt")).logits
        rows.append(torch.log1p(torch.relu(logits)).amax(dim=1)[0].numpy())
    return np.stack(rows)


def test_weights_are_the_papers(splade, texts):
    encoder = load(splade)

    weights = encoder.encode(texts)

    np.testing.assert_allclose(weights.toarray(), reference(splade, texts), atol=1e-5)
    assert weights.dtype == np.float32
    assert weights.shape == (len(texts), encoder.dimension) == (len(texts), len(encoder.vocabulary))


def test_rows_are_canonical_and_hold_no_zeros(splade, texts):
    weights = load(splade).encode(texts)

    assert (weights.data > 0).all()
    assert weights.has_canonical_format
    assert np.diff(weights.indptr).min() > 0


def test_order_batches_and_chunks_change_nothing_but_rounding(splade, texts):
    encoder = load(splade)
    weights = encoder.encode(texts).toarray()

    np.testing.assert_allclose(encoder.encode(texts[::-1]).toarray()[::-1], weights, atol=1e-5)
    np.testing.assert_allclose(encoder.encode(texts, token_budget=25).toarray(), weights, atol=1e-5)
    blocks = list(encoder.encode_stream(iter(texts), chunk=4))
    assert [block.shape[0] for block in blocks] == [4] * (len(texts) // 4) + [len(texts) % 4] * (len(texts) % 4 > 0)
    np.testing.assert_allclose(np.concatenate([block.toarray() for block in blocks]), weights, atol=1e-5)


def test_logits_in_small_parts_give_the_same_weights(splade, texts, monkeypatch):
    encoder = load(splade)
    expected = encoder.encode(texts).toarray()

    monkeypatch.setattr(largest_logits, "_MAX_LOGITS", 1)

    np.testing.assert_allclose(encoder.encode(texts).toarray(), expected, atol=1e-6)


def test_only_the_heaviest_terms_are_kept(splade, texts):
    encoder = load(splade, max_active_dims=5)
    complete = load(splade).encode(texts).toarray()

    pruned = encoder.encode(texts)

    assert (np.diff(pruned.indptr) <= 5).all()
    for row, full in zip(pruned, complete, strict=True):
        np.testing.assert_allclose(np.sort(row.data), np.sort(full[full > 0])[-5:], atol=1e-5)
    assert np.diff(encoder.encode(texts, max_active_dims=2).indptr).max() == 2
    with pytest.raises(InputError, match="max_active_dims"):
        load(splade, max_active_dims=0)


def test_the_vocabulary_names_the_columns(splade):
    encoder = load(splade)

    tokenizer = AutoTokenizer.from_pretrained(splade)
    assert [encoder.vocabulary[at] for at in (0, 2, 20)] == tokenizer.convert_ids_to_tokens([0, 2, 20])
    assert len(set(encoder.vocabulary)) == encoder.dimension


def test_one_text_gives_one_row_and_no_text_none(splade):
    encoder = load(splade)

    assert encoder.encode("water").shape == (1, encoder.dimension)
    assert encoder.encode([]).shape == (0, encoder.dimension)


def test_the_error_for_an_item_that_is_not_a_text_has_its_position(splade):
    with pytest.raises(InputError, match="text number 1 "):
        load(splade).encode(["a", None])


@pytest.mark.parametrize("strategy", ["max", "sum"])
@pytest.mark.parametrize("activation", ["relu", "log1p_relu"])
def test_pooling_of_padded_rows_in_parts_of_any_size(monkeypatch, strategy, activation):
    torch.manual_seed(0)
    hidden, weight, bias = torch.randn(4, 7, 8), torch.randn(11, 8), torch.randn(11)
    mask = torch.tensor([[1] * 7, [1] * 2 + [0] * 5, [0] * 7, [0] * 3 + [1] * 4])
    activated = (hidden @ weight.T + bias).masked_fill(mask[..., None] == 0, 0).relu().log1p()
    if activation == "log1p_relu":
        activated = activated.log1p()
    expected = activated.amax(dim=1) if strategy == "max" else activated.sum(dim=1)
    pooling = splade_pooling.SpladePooling(strategy, activation)

    for max_logits in (1, 30, 60, 1000):
        monkeypatch.setattr(largest_logits, "_MAX_LOGITS", max_logits)
        features = {"token_embeddings": VocabularyLogits(hidden, weight, bias), "attention_mask": mask}
        torch.testing.assert_close(pooling(features)["sentence_embedding"], expected)


def test_terms_are_named_heaviest_first(splade):
    encoder = load(splade)
    weights = csr_matrix(([0.5, 0.5, 2.0], [4, 7, 9], [0, 3, 3]), shape=(2, encoder.dimension), dtype=np.float32)
    names = encoder.vocabulary

    assert encoder.decode(weights) == [[(names[9], 2.0), (names[4], 0.5), (names[7], 0.5)], []]
    assert encoder.decode(weights, top_k=1) == [[(names[9], 2.0)], []]
    assert sparsity(weights) == (1.5, 1 - 1.5 / encoder.dimension)
    assert sparsity(weights[:0]) == (0.0, 1.0)
    with pytest.raises(InputError, match="top_k"):
        encoder.decode(weights, top_k=0)
    with pytest.raises(InputError, match="3 columns"):
        encoder.decode(weights[:, :3])


def test_batches_on_a_cpu_are_bounded_for_any_token_budget(splade, texts, monkeypatch):
    monkeypatch.setattr(SparseEncoder, "max_tokens", 100 * count_streams(torch.get_num_threads()))
    engine = SparseEncoder(splade, dtype="float32", device="cpu").engine

    for requested, limit in ((60, 60), (1 << 20, 100), (None, 100)):
        [chunk] = engine.chunks(texts, token_budget=requested)
        sizes = [int(chunk.tokens.lengths[rows].sum()) for rows, _ in chunk.run(lambda rows, features: None)]
        assert limit // 2 < max(sizes) <= limit
