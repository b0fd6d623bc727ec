"""Encoders in 8 bits: close to float32, independent of the batch, and refused where they are no gain."""

import copy

import numpy as np
import pytest
import torch

from indexing.documents import Document
from indexing.errors import InputError
from pipelines import SearchPipeline, build_collection
from pipelines.cli import main
from retrieve import CrossEncoder, DenseEncoder, SparseEncoder
from retrieve.encoders.kernels import int8_linear
from retrieve.encoders.kernels.int8_linear import LEVELS, ZERO, Int8Linear, QuantizedRows, has_fast_int8, products

fast = pytest.mark.skipif(not has_fast_int8(), reason="this CPU has no VNNI")
TEXTS = [
    "Vaccines train the immune system to recognise a virus.",
    "bread",
    "def factorial(n): return 1 if n < 2 else n * factorial(n - 1)",
    "Die Brücke über den Fluss wurde im Jahr 1889 gebaut. " * 12,
    "Interest rates rose by a quarter of a percent, more than analysts had expected.",
]


def folder_of(encoder) -> str:
    return str(encoder.checkpoint.folder)


@fast
@pytest.mark.parametrize("bias", [True, False])
def test_a_layer_multiplies_rounded_rows_by_rounded_weights_exactly(bias: bool) -> None:
    torch.manual_seed(0)
    layer, rows = torch.nn.Linear(96, 40, bias=bias), torch.randn(7, 96) * torch.logspace(-3, 3, 7)[:, None]
    rows[3] = 0
    with torch.inference_mode():
        exact = layer(rows)
        layer.__class__ = Int8Linear
        found = layer(rows)
        row_scales, scales = rows.abs().amax(1) / 127, layer.weight.abs().amax(1) / 127
        weight = (layer.weight / scales[:, None]).round().double()
        values = QuantizedRows.of(rows).values.double() - 128
        expected = (values @ weight.T) * row_scales[:, None] * scales + (layer.bias if bias else 0)
    assert values.abs().max() <= 127
    torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=1e-6)
    assert (found - exact).norm() < 0.02 * exact.norm()
    assert layer(rows[None]).shape == (1, 7, 40)


@fast
def test_precise_rows_keep_15_bits_and_the_others_stay_as_they_are() -> None:
    torch.manual_seed(0)
    layers, rows = [torch.nn.Linear(96, 40), torch.nn.Linear(96, 24)], torch.randn(9, 96)
    with torch.inference_mode():
        for layer in layers:
            layer.weight.copy_(layer.weight.mul(500).round().clamp(-127, 127))  # so that weights lose nothing
            layer.weight[:, 0] = 127
        exact = products(rows, layers)
        for layer in layers:
            layer.__class__ = Int8Linear
        rounded, precise = products(rows, layers), products(rows, layers, torch.tensor([0, 4, 4]))
    others = [1, 2, 3, 5, 6, 7, 8]
    for right, loose, close in zip(exact, rounded, precise, strict=True):
        assert torch.equal(loose[others], close[others])
        assert (close[[0, 4]] - right[[0, 4]]).norm() < 0.02 * (loose[[0, 4]] - right[[0, 4]]).norm()


@fast
def test_the_first_token_is_computed_precisely_in_long_texts(minilm) -> None:
    """All tokens attend to it: without this the mean cosine with float32 is .9974 here."""
    texts = [" ".join([text] * 12) for text in TEXTS]
    exact = DenseEncoder(folder_of(minilm), dtype="float32").encode_document(texts)
    found = DenseEncoder(folder_of(minilm), dtype="int8").encode_document(texts)
    assert (found * exact).sum(axis=1).mean() > 0.9981


@fast
def test_vectors_are_close_to_float32_and_do_not_depend_on_the_batch(minilm) -> None:
    encoder = DenseEncoder(folder_of(minilm), dtype="int8")
    exact = DenseEncoder(folder_of(minilm), dtype="float32")
    found, right = encoder.encode_document(TEXTS), exact.encode_document(TEXTS)
    cosines = (found * right).sum(axis=1)
    assert cosines.min() > 0.99
    assert cosines.max() < 0.999999
    alone = np.concatenate([encoder.encode_document([text]) for text in TEXTS])
    assert (alone * found).sum(axis=1).min() > 0.9999
    assert encoder.identity["dtype"] == "int8"
    assert "int8" in repr(encoder)
    again = copy.deepcopy(encoder)
    np.testing.assert_allclose(again.encode_document(TEXTS), found, atol=1e-6)
    assert DenseEncoder(folder_of(minilm), **encoder.arguments).identity == encoder.identity


@fast
def test_an_index_of_float32_vectors_is_searched_in_int8(minilm, tmp_path) -> None:
    documents = [Document(str(number), text) for number, text in enumerate(TEXTS)]
    encoder = DenseEncoder(folder_of(minilm), dtype="float32")
    build_collection(documents, tmp_path / "c", bm25=False, dense=encoder, show_progress=False)
    with SearchPipeline.open(tmp_path / "c", config={"legs": {"dense": {"dtype": "int8"}}}) as pipeline:
        assert pipeline.leg("dense").encoder.identity["dtype"] == "int8"
        assert pipeline.search("how do vaccines work", k=1)[0].doc_id == "0"


@fast
def test_term_weights_and_scores_of_pairs_are_close_to_float32(tiny_splade, tiny_cross_encoder) -> None:
    for kind, model in ((SparseEncoder, tiny_splade), (CrossEncoder, tiny_cross_encoder)):
        found, right = kind(folder_of(model), dtype="int8"), kind(folder_of(model), dtype="float32")
        if kind is CrossEncoder:
            pairs = [(TEXTS[0], text) for text in TEXTS]
            one, other = found.predict(pairs), right.predict(pairs)
        else:
            one, other = (each.encode_document(TEXTS).toarray().ravel() for each in (found, right))
        assert not np.array_equal(one, other)
        assert np.linalg.norm(one - other) < 0.05 * np.linalg.norm(other)


@fast
def test_training_and_changed_weights_use_float32_weights(tiny_dense) -> None:
    encoder, exact = (DenseEncoder(folder_of(tiny_dense), dtype=dtype) for dtype in ("int8", "float32"))
    before = encoder.encode_document(TEXTS)
    layers = [module for module in encoder.network.modules() if isinstance(module, Int8Linear)]
    rows = torch.randn(3, layers[0].in_features)
    layers[0](rows).sum().backward()
    assert layers[0].weight.grad is not None
    for each in (encoder, exact):
        with torch.no_grad():
            for weights in each.network.parameters():
                weights.mul_(1.5)
    after, right = encoder.encode_document(TEXTS), exact.encode_document(TEXTS)
    assert not np.allclose(after, before, atol=1e-3)
    assert (after * right).sum(axis=1).min() > 0.99 * (right * right).sum(axis=1).min()


def test_where_bytes_are_no_gain_int8_is_refused(minilm, monkeypatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(int8_linear, "has_fast_int8", lambda: False)
        with pytest.raises(InputError, match="dtype 'int8' needs a CPU with VNNI"):
            DenseEncoder(folder_of(minilm), dtype="int8")
    monkeypatch.setattr(int8_linear, "has_fast_int8", lambda: True)
    with pytest.raises(InputError, match="dtype 'int8' is for a CPU, not for meta"):
        int8_linear.check_int8(torch.device("meta"))
    with pytest.raises(InputError, match="compile does not go with dtype 'int8'"):
        DenseEncoder(folder_of(minilm), dtype="int8", compile=True)
    with pytest.raises(InputError, match="has no layers that dtype 'int8' is for"):
        int8_linear.quantize_layers(torch.nn.Linear(2, 2))


@fast
def test_the_command_line_builds_in_int8(minilm, tmp_path, capsys) -> None:
    (tmp_path / "c.jsonl").write_text('{"_id": "1", "text": "Bread rises."}\n{"_id": "2", "text": "The tides."}\n')
    command = ["index", str(tmp_path / "c.jsonl"), "--to", str(tmp_path / "c"), "--dtype", "int8", "--quiet"]
    assert main([*command, "--dense", folder_of(minilm)]) == 0
    with SearchPipeline.open(tmp_path / "c") as pipeline:
        assert pipeline.collection.leg("dense").encoder["dtype"] == "int8"
        assert pipeline.search("why does bread rise", k=1)[0].doc_id == "1"
    assert main(["search", str(tmp_path / "c"), "tides"]) == 0
    assert "1. 2" in capsys.readouterr().out


@pytest.mark.parametrize("count", [1, 170, 171, 700])
def test_rows_are_quantized_alike_in_any_number(count: int) -> None:
    """Many rows are scaled in parts; each has the bytes and the scale that it has alone."""
    rows = torch.randn(count, 384, generator=torch.Generator().manual_seed(count)) * torch.arange(1, count + 1)[:, None]
    rows[0] = 0
    together = QuantizedRows.of(rows)
    alone = [QuantizedRows.of(row[None]) for row in rows]
    assert torch.equal(together.values, torch.cat([row.values for row in alone]))
    assert torch.equal(together.largest, torch.cat([row.largest for row in alone]))
    steps = together.largest / LEVELS
    restored = (together.values.float() - ZERO) * steps
    assert ((restored - rows).abs() <= steps * 0.501 + 1e-30).all()
