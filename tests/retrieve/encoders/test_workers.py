import numpy as np
import pytest

from indexing.errors import InputError, ModelError
from retrieve.encoders import DenseEncoder, EncoderWorkers, SparseEncoder, value_ranges


def test_two_processes_give_the_vectors_of_one(dense, texts):
    alone = DenseEncoder(dense, dtype="float32", device="cpu")
    expected = alone.encode(texts, task="query", normalize=True)

    with EncoderWorkers(DenseEncoder, dense, devices=["cpu", "cpu"], dtype="float32") as workers:
        vectors = workers.encode(iter(texts), task="query", normalize=True, chunk=3)
        blocks = [len(block) for block in workers.encode_stream(texts, chunk=10)]
        nothing = workers.encode([])
        bits = workers.encode(texts, precision="uint8", ranges=value_ranges(expected), chunk=5)
        with pytest.raises(InputError, match="must be a string"):
            workers.encode(["a", None])
        with pytest.raises(InputError, match="ranges"):
            workers.encode(texts, precision="int8")
        again = workers.encode(texts[:2])

    np.testing.assert_allclose(vectors, expected, rtol=0, atol=1e-5)
    assert blocks == [10] * (len(texts) // 10) + [len(texts) % 10]
    assert nothing.shape == (0, 32)
    assert bits.shape == expected.shape and bits.dtype == np.uint8
    np.testing.assert_allclose(again, alone.encode(texts[:2]), rtol=0, atol=1e-5)


@pytest.mark.slow
def test_term_weights_come_from_processes_too(splade, texts):
    expected = SparseEncoder(splade, dtype="float32", device="cpu").encode(texts)

    with EncoderWorkers(SparseEncoder, splade, devices=["cpu", "cpu"], dtype="float32") as workers:
        weights = workers.encode(texts, chunk=4)

    np.testing.assert_allclose(weights.toarray(), expected.toarray(), rtol=0, atol=1e-5)


@pytest.mark.slow
def test_a_model_that_cannot_be_loaded_is_an_error(tmp_path):
    with (
        EncoderWorkers(DenseEncoder, tmp_path, devices=["cpu"]) as workers,
        pytest.raises(ModelError, match="process has ended"),
    ):
        workers.encode(["a"])


def test_devices_are_named_in_a_list(dense):
    for devices in ([], "cpu"):
        with pytest.raises(InputError, match="devices"):
            EncoderWorkers(DenseEncoder, dense, devices=devices)
