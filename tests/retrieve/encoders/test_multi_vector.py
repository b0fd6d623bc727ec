"""MultiVectorEncoder: ragged results, streams, options and errors (parity: tests/parity/test_multi_vector.py)."""

import string
from pathlib import Path

import numpy as np
import pytest
from late_interaction import write_colbert

from checkpoints import WORDS, write_bert, write_json
from indexing.errors import InputError, ModelError
from indexing.token_vectors import TokenVectors
from retrieve import DenseEncoder, MultiVectorEncoder, SparseEncoder
from retrieve.encoders.colbert_layouts import read_layout


def load(folder: Path, **options) -> MultiVectorEncoder:
    return MultiVectorEncoder(folder, dtype=options.pop("dtype", "float32"), device="cpu", **options)


@pytest.fixture
def colbert(tmp_path: Path) -> Path:
    expansion = {"strategy": "fixed", "length": 12}
    return write_colbert(
        tmp_path / "colbert", skiplist=list(string.punctuation), query_expansion=expansion, document_length=30
    )


def assert_equal(one: TokenVectors, two: TokenVectors, atol: float = 1e-5) -> None:
    np.testing.assert_array_equal(one.offsets, two.offsets)
    np.testing.assert_allclose(one.vectors, two.vectors, rtol=0, atol=atol)


def test_results_are_one_array_with_offsets_or_an_array_or_tensor_a_text(colbert, texts):
    encoder = load(colbert)
    ragged = encoder.encode_document(texts)
    arrays = encoder.encode_document(texts, convert_to="list")
    tensors = encoder.encode_document(texts, convert_to="torch")
    assert ragged.texts == len(arrays) == len(tensors) == len(texts)
    for at, array in enumerate(arrays):
        np.testing.assert_array_equal(ragged.text(at), array)
        np.testing.assert_array_equal(tensors[at].numpy(), array)
        np.testing.assert_allclose(encoder.encode_document(texts[at]), array, rtol=0, atol=1e-5)
    assert {len(array) for array in encoder.encode_query(texts, convert_to="list")} == {12}
    np.testing.assert_allclose(np.linalg.norm(ragged.vectors, axis=1), 1, atol=1e-5)


def test_batches_chunks_and_processes_do_not_change_vectors(colbert, texts):
    encoder = load(colbert)
    for task in ("query", "document", None):
        expected = encoder.encode(texts, task=task)
        assert_equal(encoder.encode(iter(texts), task=task, token_budget=40), expected)
        assert_equal(TokenVectors.join(encoder.encode_stream(texts, task=task, chunk=3), 8), expected)
    with encoder.start_multi_process_pool(["cpu"]) as pool:
        assert_equal(encoder.encode_query(texts, pool=pool), encoder.encode_query(texts))
        assert_equal(pool.encode(texts, task="document"), encoder.encode_document(texts))


def test_no_texts_give_no_vectors(colbert):
    encoder = load(colbert)
    empty = encoder.encode_document([])
    assert empty.offsets.tolist() == [0] and empty.vectors.shape == (0, 8)
    assert encoder.encode_query([], convert_to="list") == []


def test_a_document_without_a_kept_token_has_no_vectors(tmp_path):
    encoder = load(write_colbert(tmp_path / "m", skiplist=["[CLS]", "[SEP]", ",", "unknownword"]))
    found = encoder.encode_document([",,", "water , fire", ""])
    assert found.lengths.tolist() == [0, 2, 0]
    assert encoder.encode_document(",").shape == (0, 8)


def test_half_precision_and_bfloat16_stay_close(colbert, texts):
    exact = load(colbert).encode_document(texts)
    half = load(colbert).encode_document(texts, precision="float16")
    assert half.vectors.dtype == np.float16
    assert_equal(half._replace(vectors=half.vectors.astype(np.float32)), exact, 1e-3)
    brain = load(colbert, dtype="bfloat16").encode_document(texts)
    assert (brain.vectors * exact.vectors).sum(axis=1).mean() > 0.99


def test_pooling_and_normalisation_are_options(colbert):
    encoder = load(colbert)
    text = " ".join(WORDS[:16])
    assert len(encoder.encode_document(text, pool_factor=4.0)) == 1 + 18 // 4
    assert len(encoder.encode_query(text, pool_factor=4.0)) == 12
    np.testing.assert_allclose(
        np.linalg.norm(encoder.encode_document(text, pool_factor=4.0, normalize=True), axis=1), 1, atol=1e-5
    )


def test_lengths_can_be_chosen(colbert):
    encoder = load(colbert, query_length=7, document_length=9)
    long = " ".join(WORDS)
    assert encoder.encode_query([long, "a"]).lengths.tolist() == [7, 7]
    assert encoder.encode_document([long, "a"]).lengths.tolist() == [9, 3]
    assert load(colbert, max_length=8).encode_document([long]).lengths.tolist() == [8]
    assert encoder.identity["modules"] != load(colbert).identity["modules"]
    with pytest.raises(InputError, match="query_length"):
        load(colbert, query_length=0)


def test_saved_encoders_give_the_same_vectors(colbert, tmp_path, texts):
    encoder = load(colbert, query_length=9)
    encoder.save(tmp_path / "saved")
    again = load(tmp_path / "saved")
    for method in ("encode_query", "encode_document", "encode"):
        assert_equal(getattr(again, method)(texts), getattr(encoder, method)(texts))


def test_a_query_keeps_its_vectors_without_expansion(tmp_path):
    """Tokens that expand a query are not attended to, so its own vectors stay those of the plain query."""
    expansion = {"strategy": "min", "length": 20}
    plain = load(write_colbert(tmp_path / "plain"))
    expanded = load(write_colbert(tmp_path / "expanded", query_expansion=expansion))
    for query in ("water wave", " ".join(WORDS)):
        alone, filled = plain.encode_query(query), expanded.encode_query(query)
        assert len(filled) == max(20, len(alone))
        np.testing.assert_allclose(filled[: len(alone)], alone, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"convert_to": "pandas"}, "convert_to"),
        ({"precision": "int8"}, "precision"),
        ({"pool_factor": 0.5}, "pool_factor"),
        ({"prompt_name": "none"}, "no prompt 'none'"),
    ],
)
def test_wrong_options_are_errors(colbert, options, message):
    with pytest.raises(InputError, match=message):
        load(colbert).encode_document(["water"], **options)


def test_a_text_that_is_not_a_text_is_an_error_with_its_position(colbert):
    with pytest.raises(InputError, match="text number 1"):
        load(colbert).encode_document(["water", 3])


def test_a_dense_checkpoint_is_refused(dense, tmp_path):
    with pytest.raises(ModelError, match=r"dense checkpoint .* use DenseEncoder"):
        load(dense)
    with pytest.raises(ModelError, match="plain transformers model"):
        load(write_bert(tmp_path / "plain"))


def test_other_encoders_refuse_a_late_interaction_checkpoint(colbert):
    for kind in (DenseEncoder, SparseEncoder):
        with pytest.raises(ModelError, match="MultiVectorEncoder reads it"):
            kind(colbert)
    write_json(colbert / "config_sentence_transformers.json", {"query_prefix": "[Q] ", "query_length": 32})
    with pytest.raises(ModelError, match="MultiVectorEncoder reads that"):
        DenseEncoder(colbert)
    (colbert / "modules.json").unlink()
    write_json(colbert / "config.json", {"model_type": "bert", "architectures": ["HF_ColBERT"]})
    with pytest.raises(ModelError, match="MultiVectorEncoder reads that"):
        DenseEncoder(colbert)


def test_a_checkpoint_of_another_kind_names_its_reader(colbert):
    write_json(colbert / "config_sentence_transformers.json", {"model_type": "SparseEncoder"})
    with pytest.raises(ModelError, match="SparseEncoder reads it"):
        load(colbert)


def test_a_missing_projection_is_an_error(tmp_path):
    folder = write_colbert(tmp_path / "pylate", projection=False)
    write_json(folder / "config_sentence_transformers.json", {"model_type": "ColBERT", "query_prefix": "[Q] "})
    with pytest.raises(ModelError, match="no projection"):
        load(folder)
    stanford = write_bert(tmp_path / "stanford")
    config = (stanford / "config.json").read_text().replace("BertModel", "HF_ColBERT")
    (stanford / "config.json").write_text(config)
    with pytest.raises(ModelError, match="no projection"):
        load(stanford)
    folder = write_colbert(tmp_path / "file")
    (folder / "1_Dense" / "model.safetensors").unlink()
    with pytest.raises(ModelError, match="1_Dense"):
        load(folder)


def test_a_colpali_checkpoint_is_refused_by_name(tmp_path):
    write_json(tmp_path / "config.json", {"model_type": "colpali", "architectures": ["ColPaliForRetrieval"]})
    with pytest.raises(ModelError, match="of images"):
        load(tmp_path)


@pytest.mark.parametrize(
    ("lengths", "message"),
    [
        ({"query_expansion": {"strategy": "most", "length": 8}}, "strategy"),
        ({"query_expansion": {"strategy": "fixed"}}, "length"),
        ({"query_expansion": {"strategy": "fixed", "length": 0}}, "length"),
        ({"query_expansion": {"strategy": "fixed", "length": 8, "width": 1}}, "'width'"),
        ({"query_expansion": {"strategy": "fixed", "length": 8, "token": "nowhere"}}, "'nowhere'"),
        ({"query_expansion": {"strategy": "min", "length": 8}, "query_length": 5}, "query_length is 5"),
        ({"query_length": "many"}, "query_length"),
        ({"document_length": -1}, "document_length"),
    ],
)
def test_wrong_lengths_in_a_checkpoint_are_errors(tmp_path, lengths, message):
    with pytest.raises(ModelError, match=message):
        load(write_colbert(tmp_path / "m", **lengths))


def test_layouts_are_translated_without_loading_weights(colbert):
    from retrieve.encoders.checkpoint import Checkpoint, Source

    layout = read_layout(Checkpoint.open(colbert, Source(), organisation=""))
    assert [step.reference.rpartition(".")[2] for step in layout.checkpoint.steps] == [
        "Transformer",
        "Dense",
        "MultiVectorMask",
        "Normalize",
    ]
    assert layout.markers == []
