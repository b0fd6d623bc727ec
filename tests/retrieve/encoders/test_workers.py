import numpy as np
import pytest
import torch

from indexing.errors import InputError, ModelError
from retrieve.encoders import CrossEncoder, DenseEncoder, EncoderWorkers, SparseEncoder, value_ranges


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


def test_an_encoder_lends_itself_to_a_pool(make_dense, texts, tmp_path):
    path = make_dense(prompts={"query": "the light of "}, normalize=False)
    encoder = DenseEncoder(path, dtype="float32", device="cpu", max_length=9)
    out = np.lib.format.open_memmap(tmp_path / "v.npy", "w+", np.float32, (len(texts), 20))

    with encoder.start_multi_process_pool(["cpu", "cpu"]) as pool:
        encoder.prompts["document"] = "water "
        queries = encoder.encode_query(texts, pool=pool)
        documents = encoder.encode_document(iter(texts), pool=pool, truncate_dim=20, normalize=True, out=out)
        integers = encoder.encode(texts, pool=pool, precision="int8")
        one, nothing = encoder.encode(texts[3], pool=pool), encoder.encode([], pool=pool)
        with pytest.raises(InputError, match="not both"):
            encoder.encode(texts, pool=pool, device=["cpu"])

    np.testing.assert_allclose(queries, encoder.encode_query(texts), rtol=0, atol=1e-5)
    expected = encoder.encode_document(texts, truncate_dim=20, normalize=True)
    np.testing.assert_allclose(documents, expected, rtol=0, atol=1e-5)
    assert np.shares_memory(documents, out)
    assert abs(integers.astype(int) - encoder.encode(texts, precision="int8")).max() <= 1
    np.testing.assert_allclose(one, encoder.encode(texts[3]), rtol=0, atol=1e-5)
    assert nothing.shape == (0, 32)
    with pytest.raises(InputError, match="must be a list"):
        encoder.encode(texts, device="cpu")


@pytest.mark.slow
def test_pairs_are_scored_in_processes_too(three_labels, texts):
    pairs = [(query, text) for query in ("water", "the energy of a wave") for text in texts]
    encoder = CrossEncoder(three_labels, dtype="float32", device="cpu", activation=torch.nn.Tanh())

    pool = encoder.start_multi_process_pool(["cpu", "cpu"])
    try:
        scores = encoder.predict(iter(pairs), pool=pool, prompt="heat ")
        one, none = encoder.predict(pairs[3], pool=pool, prompt="heat "), encoder.predict([], pool=pool)
    finally:
        encoder.stop_multi_process_pool(pool)

    np.testing.assert_allclose(scores, encoder.predict(pairs, prompt="heat "), rtol=0, atol=1e-5)
    np.testing.assert_allclose(one, scores[3], rtol=0, atol=1e-5)
    assert none.shape == (0, 3)


@pytest.mark.slow
def test_a_ranking_is_scored_on_the_devices_that_are_listed(cross, texts):
    encoder = CrossEncoder(cross, dtype="float32", device="cpu")

    ranking, expected = encoder.rank("water", texts, device=["cpu"]), encoder.rank("water", texts)

    for found, wanted in zip(ranking, expected, strict=True):
        assert found["score"] == pytest.approx(wanted["score"], abs=1e-5)


def test_an_activation_that_cannot_be_sent_is_refused(cross):
    encoder = CrossEncoder(cross, dtype="float32", device="cpu", activation=lambda logits: logits)

    with pytest.raises(InputError, match="activation must be"):
        encoder.predict([("a", "b")], device=["cpu"])


@pytest.mark.slow
def test_term_weights_come_from_processes_too(splade, texts):
    encoder = SparseEncoder(splade, dtype="float32", device="cpu", max_active_dims=7)

    with encoder.start_multi_process_pool() as pool:
        weights = encoder.encode(texts, pool=pool)
        few = encoder.encode(texts, pool=pool, max_active_dims=3)

    np.testing.assert_allclose(weights.toarray(), encoder.encode(texts).toarray(), rtol=0, atol=1e-5)
    np.testing.assert_allclose(few.toarray(), encoder.encode(texts, max_active_dims=3).toarray(), rtol=0, atol=1e-5)


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
