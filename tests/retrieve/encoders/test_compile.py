"""Compiled encoders give the results of plain ones, up to rounding."""

import numpy as np
import pytest

from retrieve.encoders import CrossEncoder, DenseEncoder, SparseEncoder


@pytest.mark.slow
@pytest.mark.parametrize("kind", [DenseEncoder, SparseEncoder, CrossEncoder])
def test_a_compiled_encoder_gives_the_results_of_a_plain_one(kind, dense, splade, cross, texts, tmp_path):
    path = {DenseEncoder: dense, SparseEncoder: splade, CrossEncoder: cross}[kind]
    plain, compiled = (kind(path, dtype="float32", device="cpu", compile=flag) for flag in (False, True))

    def run(encoder, **options):
        if kind is CrossEncoder:
            return encoder.predict([("water", text) for text in texts], **options)
        encoded = encoder.encode(texts, **options)
        return encoded.toarray() if kind is SparseEncoder else encoded

    expected = run(plain)
    for budget in (None, 30):
        np.testing.assert_allclose(run(compiled, token_budget=budget), expected, rtol=0, atol=1e-5)
    compiled.save(tmp_path / "saved")
    np.testing.assert_allclose(run(kind(tmp_path / "saved", dtype="float32", device="cpu")), expected, atol=1e-5)


def test_only_a_transformer_is_compiled(dense):
    plain, compiled = (DenseEncoder(dense, dtype="float32", compile=flag) for flag in (False, True))

    def compiled_modules(encoder):
        return [type(module).__name__ for module in encoder.network.modules() if module._compiled_call_impl is not None]

    assert compiled_modules(plain) == [] and compiled_modules(compiled) == ["BertModel"]
