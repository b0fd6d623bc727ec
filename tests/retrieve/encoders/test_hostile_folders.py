"""Model folders from strangers: what they may not make the library run, fetch, read or build."""

import json
from pathlib import Path

import pytest

from checkpoints import write_json
from indexing.errors import ModelError
from retrieve.encoders import CrossEncoder, DenseEncoder


def load(path, kind=DenseEncoder, **options):
    return kind(path, dtype="float32", **options)


def change(path: Path, **settings) -> None:
    write_json(path, (json.loads(path.read_text()) if path.is_file() else {}) | settings)


@pytest.mark.parametrize(
    ("key", "arguments"),
    [
        ("model_args", {"allow_all_kernels": True}),
        ("model_args", {"weights_only": False}),
        ("model_args", {"subfolder": "../elsewhere"}),
        ("model_kwargs", {"use_kernels": True}),
        ("model_kwargs", {"adapter_kwargs": {"a": 1}}),
        ("model_args", {"local_files_only": False}),
        ("model_args", {"config": {}}),
        ("config_args", {"subfolder": "../elsewhere"}),
        ("config_kwargs", {"auto_map": {"AutoModel": "owner/name--theirs.Model"}}),
        ("config_kwargs", {"revision": "main"}),
        ("tokenizer_args", {"tokenizer_file": "/etc/passwd"}),
        ("processor_kwargs", {"cache_dir": "/tmp/elsewhere"}),
    ],
)
def test_stored_arguments_that_are_not_known_to_be_harmless_are_refused(dense, key, arguments):
    change(dense / "sentence_bert_config.json", **{key: arguments})

    with pytest.raises(ModelError, match=f"'{next(iter(arguments))}'.*not accepted"):
        load(dense)


def test_harmless_stored_arguments_are_applied(dense, texts):
    plain = load(dense).encode(texts)
    change(
        dense / "sentence_bert_config.json",
        model_args={"add_pooling_layer": False, "torch_dtype": "float16", "attn_implementation": "owner/name"},
        config_args={"hidden_dropout_prob": 0.5, "trust_remote_code": True},
        tokenizer_args={"model_max_length": 20, "padding_side": "right"},
    )

    encoder = load(dense)

    assert abs(encoder.encode(texts) - plain).max() < 1e-6
    assert encoder.input.model.config.hidden_dropout_prob == 0.5
    assert encoder.input.tokenizer.model_max_length == 20


@pytest.mark.parametrize("key", ["_attn_implementation", "attn_implementation"])
@pytest.mark.parametrize("name", ["owner/name", "kernels-community/flash-attn2", "flash_attention_2", "sage", "a|b/c"])
def test_attention_that_is_not_part_of_torch_is_refused(dense, key, name):
    change(dense / "config.json", **{key: name})

    with pytest.raises(ModelError, match=r"config\.json: the attention implementation .* trust_remote_code"):
        load(dense)


@pytest.mark.parametrize("name", ["eager", "sdpa"])
def test_attention_of_torch_is_accepted(dense, name):
    change(dense / "config.json", _attn_implementation=name)

    load(dense)


@pytest.mark.parametrize("method", ["mxfp4", "fp8", "eetq", "fbgemm_fp8", "their_own"])
def test_a_quantization_that_fetches_its_kernels_is_refused(cross, method):
    change(cross / "config.json", quantization_config={"quant_method": method})

    with pytest.raises(ModelError, match=rf"config\.json.*{method}"):
        load(cross, CrossEncoder)


@pytest.mark.parametrize(
    "weight_map", [{"a": "../tiny/model.safetensors"}, {"a": "/etc/passwd"}, {"a": "x/../../b"}, ["a"], {"a": 5}, None]
)
def test_a_weight_index_that_leads_elsewhere_or_is_no_index_is_refused(dense, weight_map):
    (dense / "model.safetensors").unlink()
    write_json(dense / "model.safetensors.index.json", {"weight_map": weight_map} if weight_map else {})

    with pytest.raises(ModelError, match=r"leads out of|weight_map"):
        load(dense)


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("modules.json", 5),
        ("modules.json", True),
        ("modules.json", [5]),
        ("modules.json", [{"type": "Transformer", "path": 5}]),
        ("modules.json", [{"type": "Transformer", "path": "a\0b"}]),
        ("modules.json", [{"type": "Transformer", "path": "a" * 5000}]),
        ("config.json", [1]),
        ("sentence_bert_config.json", [1]),
        ("sentence_bert_config.json", {"max_seq_length": "x"}),
        ("sentence_bert_config.json", {"max_seq_length": -1}),
        ("sentence_bert_config.json", {"model_args": [1]}),
        ("config_sentence_transformers.json", "text"),
        ("config_sentence_transformers.json", {"prompts": ["a"]}),
        ("config_sentence_transformers.json", {"prompts": 5}),
    ],
)
def test_metadata_of_the_wrong_type_is_an_error_that_names_the_file(dense, file, content):
    write_json(dense / file, content)

    with pytest.raises(ModelError, match=str(dense)):
        load(dense)


@pytest.mark.parametrize("limit", ["x", float("nan"), -1])
def test_a_tokenizer_limit_that_is_no_length_is_refused(dense, limit):
    change(dense / "tokenizer_config.json", model_max_length=limit)
    change(dense / "sentence_bert_config.json", max_seq_length=None)

    with pytest.raises(ModelError, match="model_max_length"):
        load(dense)


@pytest.mark.parametrize("settings", [{"num_hidden_layers": 10**9}, {"hidden_size": 10**9}, {"num_labels": 10**9}])
def test_sizes_that_the_weights_cannot_have_are_refused_before_building(dense, settings):
    change(dense / "config.json", **settings)

    with pytest.raises(ModelError, match=rf"config\.json: {next(iter(settings))}"):
        load(dense)


@pytest.mark.parametrize(
    "settings",
    [{"num_hidden_layers": 200, "intermediate_size": 1 << 20}, {"max_position_embeddings": 1 << 24}],
    ids=["200 wide layers", "16 million positions"],
)
def test_a_model_that_needs_more_memory_than_its_weights_is_refused_before_building(dense, settings):
    change(dense / "config.json", **settings)

    with pytest.raises(ModelError, match=r"config\.json: the configuration describes a model of .* bytes"):
        load(dense)


@pytest.mark.parametrize("name", ["num_attention_heads", "num_hidden_layers", "hidden_size", "vocab_size"])
def test_negative_sizes_are_refused(dense, name):
    change(dense / "config.json", **{name: -1})

    with pytest.raises(ModelError, match=rf"config\.json: {name} is -1"):
        load(dense)


@pytest.mark.parametrize(
    ("file", "settings"),
    [
        ("config.json", {"num_attention_heads": 0}),
        ("config.json", {"quantization_config": {"quant_method": "awq"}}),
        ("config.json", {"hidden_act": "os.system"}),
        ("config.json", {"id2label": 5}),
        ("config.json", {"dtype": "nope"}),
        ("config_sentence_transformers.json", {"default_prompt_name": "nope"}),
        ("tokenizer_config.json", {"pad_token": 5}),
        ("tokenizer_config.json", {"added_tokens_decoder": {"x": 5}}),
    ],
)
def test_whatever_other_libraries_raise_is_an_error_of_the_model(dense, file, settings):
    change(dense / file, **settings)

    with pytest.raises(ModelError, match=str(dense)):
        load(dense)


def test_a_router_that_contains_itself_is_refused(dense):
    write_json(dense / "modules.json", [{"type": "Router", "path": ""}])
    write_json(dense / "router_config.json", {"types": {"": "Router"}, "structure": {"query": [""]}})

    with pytest.raises(ModelError, match="or back to it"):
        load(dense)


@pytest.mark.parametrize(
    "template",
    [
        "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}{{ messages[0]['content'] }}",
        "{% macro m(n) %}{{ m(n) }}{% endmacro %}{{ m(1) }}",
        "{{ messages.__class__.__mro__ }}{{ ''.__class__.__subclasses__() }}",
    ],
    ids=["nested loops", "a macro without end", "Python's own objects"],
)
def test_a_chat_template_without_end_is_an_error_of_the_model(dense, template):
    change(dense / "sentence_bert_config.json", modality_config={"message": {"method": "forward", "format": "flat"}})
    (dense / "chat_template.jinja").write_text(template)

    with pytest.raises(ModelError, match=r"chat template (fails|omits)"):
        load(dense).encode(["the cell", "a wave"])
