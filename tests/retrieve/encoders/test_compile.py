"""torch.compile is an option, and changes nothing but rounding."""

import numpy as np
import pytest

from retrieve.encoders import CrossEncoder, DenseEncoder, SparseEncoder


@pytest.mark.slow
@pytest.mark.parametrize("kind", [DenseEncoder, SparseEncoder, CrossEncoder])
def test_a_compiled_encoder_gives_what_a_plain_one_does(kind, dense, splade, cross, texts, tmp_path):
    path = {DenseEncoder: dense, SparseEncoder: splade, CrossEncoder: cross}[kind]
    plain, compiled = (kind(path, dtype="float32", device="cpu", compile=made) for made in (False, True))

    def run(encoder, **options):
        if kind is CrossEncoder:
            return encoder.predict([("water", text) for text in texts], **options)
        found = encoder.encode(texts, **options)
        return found.toarray() if kind is SparseEncoder else found

    expected = run(plain)
    for budget in (None, 30):
        np.testing.assert_allclose(run(compiled, token_budget=budget), expected, rtol=0, atol=1e-5)
    compiled.save(tmp_path / "saved")
    np.testing.assert_allclose(run(kind(tmp_path / "saved", dtype="float32", device="cpu")), expected, atol=1e-5)


def test_only_a_transformer_is_compiled(dense):
    plain, compiled = (DenseEncoder(dense, dtype="float32", compile=made) for made in (False, True))

    def programs(encoder):
        return [type(module).__name__ for module in encoder.network.modules() if module._compiled_call_impl is not None]

    assert programs(plain) == [] and programs(compiled) == ["BertModel"]
