"""Pickled weights, and the errors for damaged modules."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from checkpoints import write_bert, write_decoder, write_json
from indexing.errors import ModelError
from retrieve.encoders import CrossEncoder, DenseEncoder, SparseEncoder
from retrieve.encoders.modules.router import Router

LINEAR = {"in_features": 32, "out_features": 8, "bias": True, "activation_function": "torch.nn.modules.linear.Identity"}


def load(path, **options):
    return DenseEncoder(path, dtype="float32", device="cpu", **options)


def pickled(folder: Path) -> None:
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()


@pytest.fixture
def projected(make_dense) -> Path:
    """Dense checkpoint that ends in a linear layer to 8 dimensions."""
    folder = make_dense(normalize=False)
    entries = json.loads((folder / "modules.json").read_text())
    entries.append({"idx": 2, "name": "2", "path": "2_Dense", "type": "sentence_transformers.models.Dense"})
    write_json(folder / "modules.json", entries)
    write_json(folder / "2_Dense" / "config.json", LINEAR)
    torch.manual_seed(2)
    save_file(
        {"linear.weight": torch.randn(8, 32), "linear.bias": torch.randn(8)}, folder / "2_Dense/model.safetensors"
    )
    return folder


def test_pickled_weights_are_read_when_allowed(projected, texts):
    encoder = load(projected)
    vectors, weights = encoder.encode(texts), encoder.identity["weights_sha256"]
    pickled(projected)
    pickled(projected / "2_Dense")

    with pytest.raises(ModelError, match=r"pytorch_model.bin, a pickle; .* allow_bin=True"):
        load(projected)
    again = load(projected, allow_bin=True)

    np.testing.assert_array_equal(again.encode(texts), vectors)
    assert again.identity["weights_sha256"] != weights


def test_a_pickle_that_would_run_code_is_refused(projected, tmp_path):
    class Harm:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "harm",))

    (projected / "2_Dense" / "model.safetensors").unlink()
    torch.save({"linear.weight": Harm()}, projected / "2_Dense" / "pytorch_model.bin")

    with pytest.raises(ModelError, match="weights cannot be loaded"):
        load(projected, allow_bin=True)
    assert not (tmp_path / "harm").exists()


def test_the_weights_of_every_module_decide_the_identity(projected):
    before = load(projected).identity["weights_sha256"]
    path = projected / "2_Dense" / "model.safetensors"
    save_file({name: weight + 1 for name, weight in load_file(path).items()}, path)

    assert load(projected).identity["weights_sha256"] != before


def test_a_missing_weight_of_a_module(projected):
    save_file({"linear.weight": torch.zeros(8, 32)}, projected / "2_Dense" / "model.safetensors")

    with pytest.raises(ModelError, match=r"2_Dense: the weights do not fit Dense .*linear.bias"):
        load(projected)


def test_a_router_whose_module_lies_outside(make_dense):
    folder = make_dense(normalize=False)
    entries = json.loads((folder / "modules.json").read_text())
    entries.append({"idx": 2, "name": "2", "path": "2_Router", "type": "sentence_transformers.models.Router"})
    write_json(folder / "modules.json", entries)
    routes = {"types": {"../../away": "sentence_transformers.models.Dense"}, "structure": {"query": ["../../away"]}}
    write_json(folder / "2_Router" / "router_config.json", routes)

    with pytest.raises(ModelError, match="leads out of"):
        load(folder)
    (folder / "2_Router" / "router_config.json").unlink()
    with pytest.raises(ModelError, match=r"there is no router_config.json"):
        load(folder)


def test_a_router_without_routes_or_with_a_default_that_is_none_of_them():
    with pytest.raises(ModelError, match="a module on each"):
        Router({})
    with pytest.raises(ModelError, match="not among its routes"):
        Router({"query": [torch.nn.Identity()]}, default_route="document")


def test_a_language_model_that_cannot_say_yes(tmp_path):
    path = write_decoder(tmp_path / "decoder")
    plain = write_bert(tmp_path / "bert")
    for name in ("tokenizer.json", "vocab.txt"):
        (path / name).write_bytes((plain / name).read_bytes())
    write_json(path / "tokenizer_config.json", json.loads((plain / "tokenizer_config.json").read_text()))

    with pytest.raises(ModelError, match=r"'yes' and 'no', and its tokenizer lacks them"):
        CrossEncoder(path, dtype="float32")


def test_a_table_of_terms_that_is_not_there(tmp_path):
    folder = write_bert(tmp_path / "static")
    write_json(folder / "config.json", {"frozen": True, "path": "idf.json"})
    kind = "sentence_transformers.sparse_encoder.models.SparseStaticEmbedding"
    write_json(folder / "modules.json", [{"idx": 0, "name": "0", "path": "", "type": kind}])
    write_json(folder / "config_sentence_transformers.json", {"model_type": "SparseEncoder"})

    with pytest.raises(ModelError, match=r"there is no file idf.json"):
        SparseEncoder(folder, dtype="float32")


def test_the_chat_template_is_part_of_the_identity(tmp_path):
    folder = write_decoder(tmp_path / "decoder")
    plain = load(folder).identity["modules"]
    found = []
    for template in ("{{ messages[0]['content'] }}", "{{ messages[0]['content'] }} ?"):
        (folder / "chat_template.jinja").write_text(template)
        found.append(load(folder).identity["modules"])

    assert json.loads(json.dumps(found)) == found
    assert plain != found[0] != found[1] and plain[1:] == found[0][1:]


def test_a_reader_of_chats_without_a_template(dense):
    settings = {"transformer_task": "feature-extraction", "modality_config": {"message": {"method": "forward"}}}
    write_json(dense / "sentence_bert_config.json", settings)

    with pytest.raises(ModelError, match="no chat template"):
        load(dense)


def test_processing_arguments_that_are_not_known(dense):
    write_json(dense / "sentence_bert_config.json", {"processing_kwargs": {"text": {"max_length": 3}}})

    with pytest.raises(ModelError, match="processing_kwargs for text"):
        load(dense)


def test_a_chat_template_that_depends_on_the_task(dense):
    (dense / "chat_template.jinja").write_text("{% if task == 'query' %}?{% endif %}{{ messages[0]['content'] }}")
    settings = {"modality_config": {"message": {"method": "forward", "format": "flat"}}}
    write_json(dense / "sentence_bert_config.json", settings)

    with pytest.raises(ModelError, match="depends on the task"):
        load(dense)


@pytest.mark.parametrize(
    ("template", "said"),
    [
        ("{% for m in messages if m['role'] == 'user' %}{{ m['content'] }}{% endfor %}", "'query' and 'document'"),
        ("{{ messages[0]['content'] }} yes", "'document'"),
        ("{{ raise_exception('no such role') }}", "no such role"),
    ],
)
def test_a_chat_template_that_has_no_place_for_a_pair(tmp_path, template, said):
    folder = write_decoder(tmp_path / "decoder")
    (folder / "chat_template.jinja").write_text(template)

    with pytest.raises(ModelError, match=said):
        CrossEncoder(folder, dtype="float32").predict(("water", "fire"))
