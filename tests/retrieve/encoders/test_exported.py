"""Encoders exported as graphs have the same vectors and scores, and damaged graphs are refused."""

import numpy as np
import pytest
import torch
from late_interaction import write_colbert

from indexing.errors import InputError, ModelError
from retrieve import CrossEncoder, DenseEncoder, MultiVectorEncoder

TEXTS = ["water in the market", "fire", "heat is a wave of energy and light in the market", ""]


@pytest.mark.parametrize("backend", ["onnx", pytest.param("openvino", marks=pytest.mark.slow)])
def test_a_dense_encoder_has_equal_vectors(tiny_dense, tmp_path, backend):
    expected = tiny_dense.encode(TEXTS, normalize=True)
    tiny_dense.export(backend, tmp_path / "graph")
    assert not list((tmp_path / "graph").rglob("*.safetensors"))
    exported = DenseEncoder(tmp_path / "graph")
    np.testing.assert_allclose(exported.encode(TEXTS, normalize=True), expected, atol=1e-4)
    np.testing.assert_allclose(tiny_dense.encode(TEXTS, normalize=True), expected, atol=1e-6)
    assert exported.identity["weights_sha256"] != tiny_dense.identity["weights_sha256"]
    exported.save(tmp_path / "copy")
    np.testing.assert_allclose(DenseEncoder(tmp_path / "copy").encode(TEXTS, normalize=True), expected, atol=1e-4)
    with pytest.raises(InputError, match="cannot be exported here"):
        exported.export("onnx", tmp_path / "again")


def test_a_cross_encoder_has_equal_scores(tiny_cross_encoder, tmp_path):
    encoder = CrossEncoder(tiny_cross_encoder.checkpoint.folder, dtype="float32")
    pairs = [(TEXTS[0], text) for text in TEXTS]
    encoder.export("onnx", tmp_path / "graph")
    np.testing.assert_allclose(CrossEncoder(tmp_path / "graph").predict(pairs), encoder.predict(pairs), atol=1e-4)


def test_a_multi_vector_encoder_has_equal_vectors(tmp_path):
    encoder = MultiVectorEncoder(write_colbert(tmp_path / "colbert"), dtype="float32", device="cpu")
    encoder.export("onnx", tmp_path / "exported")
    exported = MultiVectorEncoder(tmp_path / "exported", device="cpu")
    texts = ["water is light", "the price of a stock", ""]
    for encode in ("encode_query", "encode_document"):
        expected, found = (getattr(model, encode)(texts) for model in (encoder, exported))
        assert found.offsets.tolist() == expected.offsets.tolist()
        np.testing.assert_allclose(found.vectors, expected.vectors, atol=1e-4)


def test_what_has_no_graph_is_refused(tiny_dense, tiny_splade, tmp_path):
    with pytest.raises(InputError, match="a model for fill-mask cannot be exported here"):
        tiny_splade.export("onnx", tmp_path / "splade")
    with pytest.raises(InputError, match="the format must be onnx or openvino, not 'tflite'"):
        tiny_dense.export("tflite", tmp_path / "dense")
    assert not (tmp_path / "splade").exists() and not (tmp_path / "dense").exists()


def test_a_damaged_graph_is_refused(tiny_dense, tmp_path):
    tiny_dense.save(tmp_path / "graph")
    (tmp_path / "graph" / "model.safetensors").unlink()
    (tmp_path / "graph" / "onnx").mkdir()
    (tmp_path / "graph" / "onnx" / "model.onnx").write_bytes(b"no")
    with pytest.raises(ModelError, match="onnx cannot read the graph"):
        DenseEncoder(tmp_path / "graph")


def test_a_graph_runs_on_torchs_number_of_threads(tiny_dense, tmp_path, monkeypatch):
    engine, given = pytest.importorskip("onnxruntime"), []
    session, threads = engine.InferenceSession, torch.get_num_threads()

    def recorded(path, options, **others):
        given.append(options.intra_op_num_threads)
        return session(path, options, **others)

    monkeypatch.setattr(engine, "InferenceSession", recorded)
    tiny_dense.export("onnx", tmp_path / "graph")
    try:
        for number in (1, 2):
            torch.set_num_threads(number)
            DenseEncoder(tmp_path / "graph").encode("water")
    finally:
        torch.set_num_threads(threads)
    assert given[-2:] == [1, 2]
