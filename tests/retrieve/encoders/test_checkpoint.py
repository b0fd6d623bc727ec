import json
from pathlib import Path

import pytest
import torch

from indexing.errors import ModelError
from retrieve.encoders import CrossEncoder, DenseEncoder, SparseEncoder


def load(path, **options):
    return DenseEncoder(path, dtype="float32", **options)


def change(path: Path, **settings):
    path.write_text(json.dumps(json.loads(path.read_text()) | settings))


def test_a_folder_that_is_not_there(tmp_path):
    for path in (tmp_path / "nowhere", str(tmp_path / "nowhere"), "./nowhere"):
        with pytest.raises(ModelError, match=r"no model folder .*nowhere"):
            load(path)


def test_a_file_instead_of_a_folder(dense):
    with pytest.raises(ModelError, match="is a file"):
        load(dense / "model.safetensors")


def test_a_folder_that_is_not_a_model(tmp_path):
    with pytest.raises(ModelError, match=r"neither modules.json nor config.json"):
        load(tmp_path)


def test_a_folder_without_weights(dense):
    (dense / "model.safetensors").unlink()

    with pytest.raises(ModelError, match=r"no weights \(model.safetensors\)"):
        load(dense)


def test_an_adapter_without_its_base_model(dense):
    (dense / "model.safetensors").rename(dense / "adapter_model.safetensors")
    (dense / "adapter_config.json").write_text("{}")

    with pytest.raises(ModelError, match=r"adapter_config.json: base_model_name_or_path names no base model"):
        load(dense)
    (dense / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": str(dense / "nowhere")}))
    with pytest.raises(ModelError, match=r"nowhere"):
        load(dense)


def test_a_whole_model_beside_an_adapter_is_refused(dense):
    (dense / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": "elsewhere"}))
    with pytest.raises(ModelError, match=r"remove adapter_config.json"):
        load(dense)


def test_the_cache_that_sentence_transformers_home_names(dense, tmp_path, monkeypatch):
    commit = "0123456789012345678901234567890123456789"
    home = tmp_path / "cache" / "models--acme--tiny"
    (home / "refs").mkdir(parents=True)
    (home / "refs" / "main").write_text(commit)
    (home / "snapshots").mkdir()
    dense.rename(home / "snapshots" / commit)
    monkeypatch.setenv("SENTENCE_TRANSFORMERS_HOME", str(tmp_path / "cache"))

    assert load("acme/tiny", local_files_only=True).identity["revision"] == commit


def test_weights_only_as_a_pickle(dense):
    (dense / "model.safetensors").unlink()
    torch.save({}, dense / "pytorch_model.bin")

    with pytest.raises(ModelError, match=r"pytorch_model.bin.*model.safetensors is needed"):
        load(dense)


def test_a_lost_shard(dense):
    (dense / "model.safetensors").unlink()
    index = {"weight_map": {"embeddings.word_embeddings.weight": "model-00001-of-00002.safetensors"}}
    (dense / "model.safetensors.index.json").write_text(json.dumps(index))

    with pytest.raises(ModelError, match=r"model-00001-of-00002.safetensors .* missing"):
        load(dense)


def test_damaged_weights(dense):
    (dense / "model.safetensors").write_bytes((dense / "model.safetensors").read_bytes()[:-100])

    with pytest.raises(ModelError, match="weights cannot be loaded"):
        load(dense)


def test_damaged_json(dense):
    (dense / "modules.json").write_text("[{")

    with pytest.raises(ModelError, match=r"modules.json: not valid JSON"):
        load(dense)


def test_a_missing_tokenizer(dense):
    for name in ("tokenizer.json", "vocab.txt", "tokenizer_config.json"):
        (dense / name).unlink(missing_ok=True)

    with pytest.raises(ModelError, match="tokenizer"):
        load(dense)


def test_an_unknown_module(dense):
    modules = json.loads((dense / "modules.json").read_text())
    modules[2]["type"] = "their_code.Whitening"
    (dense / "modules.json").write_text(json.dumps(modules))

    with pytest.raises(ModelError, match=r"modules.json: the module 'their_code.Whitening' is not known"):
        load(dense)


def test_a_module_folder_outside_the_checkpoint(dense):
    modules = json.loads((dense / "modules.json").read_text())
    modules[1]["path"] = "../elsewhere"
    (dense / "modules.json").write_text(json.dumps(modules))

    with pytest.raises(ModelError, match="leads out of"):
        load(dense)


def test_an_unknown_setting_of_a_module(dense):
    change(dense / "1_Pooling" / "config.json", whitening=True)

    with pytest.raises(ModelError, match="Pooling has no setting 'whitening'"):
        load(dense)


def test_a_module_list_that_ends_before_there_is_a_vector(dense):
    modules = json.loads((dense / "modules.json").read_text())
    (dense / "modules.json").write_text(json.dumps(modules[:1]))

    with pytest.raises(ModelError, match="end in token_embeddings"):
        load(dense)


def test_a_model_with_custom_code(dense):
    change(dense / "config.json", model_type="theirs", auto_map={"AutoModel": "theirs.Model"})

    with pytest.raises(ModelError, match="own Python code"):
        load(dense)


def test_a_checkpoint_of_another_kind(dense, splade, cross):
    with pytest.raises(ModelError, match="no trained masked-language-model head"):
        SparseEncoder(_bare(dense))
    with pytest.raises(ModelError, match="no trained classification head"):
        CrossEncoder(splade)
    with pytest.raises(ModelError, match="CrossEncoder"):
        load(cross)


def test_a_layout_that_another_encoder_saved(make_dense):
    with pytest.raises(ModelError, match="saved as a SparseEncoder, which DenseEncoder does not read"):
        load(make_dense(model_type="SparseEncoder"))


def test_a_bare_transformers_checkpoint_is_pooled_by_the_mean(dense, texts):
    layout = load(dense).encode(texts)

    bare = load(_bare(dense)).encode(texts, normalize=True)

    assert abs(bare - layout).max() < 1e-6


@pytest.mark.parametrize("name", ["acme/no-such-model", "no-such-model"])
def test_a_name_that_is_not_in_the_cache_while_offline(tmp_path, name):
    with pytest.raises(ModelError) as caught:
        load(name, local_files_only=True, cache_folder=tmp_path)

    message = str(caught.value)
    assert name in message and str(tmp_path) in message
    assert "network was ruled out" in message and "hf download" in message


def test_a_name_that_the_hub_cannot_have():
    with pytest.raises(ModelError, match="neither a folder nor a valid name"):
        load("acme/what is this?")


def test_a_model_in_the_hubs_cache_is_found_by_name(dense, texts, tmp_path):
    commit = "0123456789012345678901234567890123456789"
    home = tmp_path / "cache" / "models--acme--tiny"
    (home / "refs").mkdir(parents=True)
    (home / "refs" / "main").write_text(commit)
    (home / "snapshots").mkdir()
    dense.rename(home / "snapshots" / commit)

    encoder = load("acme/tiny", local_files_only=True, cache_folder=tmp_path / "cache")

    assert encoder.encode(texts).shape == (len(texts), 32)
    assert encoder.identity["name"] == "acme/tiny" and encoder.identity["revision"] == commit


def test_lower_casing_asked_for_by_the_checkpoint(make_dense):
    path = make_dense()
    change(path / "tokenizer_config.json", do_lower_case=False)
    tokenizer = json.loads((path / "tokenizer.json").read_text())
    tokenizer["normalizer"]["lowercase"] = False
    (path / "tokenizer.json").write_text(json.dumps(tokenizer))
    cased = load(path)
    change(path / "sentence_bert_config.json", do_lower_case=True)
    lowering = load(path)

    assert abs(cased.encode("WATER") - cased.encode("water")).max() > 1e-3
    assert abs(lowering.encode("WATER") - lowering.encode("water")).max() < 1e-6


def _bare(dense: Path) -> Path:
    for name in ("modules.json", "sentence_bert_config.json"):
        (dense / name).unlink()
    return dense
