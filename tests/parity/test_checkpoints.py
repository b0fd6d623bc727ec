"""Vectors equal those of sentence-transformers for every module and layout that it writes or wrote."""

import json
from pathlib import Path

import numpy as np
import pytest
import sentence_transformers as theirs
import torch
from sentence_transformers.base.modules import Dense, Normalize, Router, Transformer
from sentence_transformers.sentence_transformer.modules import Pooling, StaticEmbedding
from sentence_transformers.sparse_encoder.modules import SparseAutoEncoder, SparseStaticEmbedding, SpladePooling
from transformers import AutoTokenizer, BertForMaskedLM, BertForSequenceClassification, T5Config, T5Model

from checkpoints import write_bert, write_decoder, write_json
from indexing.errors import InputError
from retrieve.encoders import CrossEncoder, DenseEncoder, SparseEncoder

TEXTS = [
    "",
    " ",
    "water",
    "how do vaccines work",
    "naïve café 日本語 😀 \u200b ﬁ",
    "a stock's price, in a market; is it light?",
    "the energy of a wave " * 40,
    "HEAT and FIRE\n\tin a cell",
    "water water",
    *(("energy wave light cell " * 9)[: 11 * at] for at in range(1, 12)),
]


@pytest.fixture
def bert(tmp_path) -> str:
    return str(write_bert(tmp_path / "bert"))


def equal(ours, reference) -> None:
    np.testing.assert_allclose(ours, reference, rtol=0, atol=1e-5)


def saved(folder: Path, *modules, kind: type = theirs.SentenceTransformer, **settings):
    """Save a sentence-transformers model of these modules with random weights, and load it again."""
    torch.manual_seed(5)
    for module in modules:
        for weight in module.parameters() if not isinstance(module, Transformer) else ():
            torch.nn.init.normal_(weight, std=0.5)
    kind(modules=list(modules), device="cpu", **settings).save(str(folder))
    return kind(str(folder), device="cpu")


def ours_dense(folder, **options) -> DenseEncoder:
    return DenseEncoder(folder, dtype="float32", device="cpu", **options)


def ours_sparse(folder, **options) -> SparseEncoder:
    return SparseEncoder(folder, dtype="float32", device="cpu", **options)


def rows(tensor: torch.Tensor) -> np.ndarray:
    return tensor.to_dense().numpy()


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"bias": False, "activation_function": torch.nn.Identity()},
        {"activation_function": torch.nn.GELU(), "use_residual": True},
        {"out_features": 32, "use_residual": True},
        {"activation_function": np.tanh},
    ],
    ids=str,
)
def test_dense(tmp_path, bert, settings):
    layer = Dense(32, **({"out_features": 12} | settings))
    if settings.get("activation_function") is np.tanh:
        layer.activation_function = torch.nn.Tanh()
    reference = saved(tmp_path / "saved", Transformer(bert), Pooling(32), layer, Normalize())
    if settings.get("activation_function") is np.tanh:
        config = tmp_path / "saved" / "2_Dense" / "config.json"
        write_json(config, json.loads(config.read_text()) | {"activation_function": "their.code.Act", "extra": 1})

    ours = ours_dense(tmp_path / "saved")

    assert ours.dimension == reference.get_embedding_dimension()
    equal(ours.encode(TEXTS), reference.encode(TEXTS))


def test_dense_on_token_vectors(tmp_path, bert):
    layer = Dense(32, 8, module_input_name="token_embeddings", activation_function=torch.nn.Identity())
    reference = saved(tmp_path / "saved", Transformer(bert), layer, Pooling(8))

    equal(ours_dense(tmp_path / "saved").encode(TEXTS), reference.encode(TEXTS))


def test_static_embedding(tmp_path, bert):
    tokenizer = AutoTokenizer.from_pretrained(bert)
    reference = saved(tmp_path / "saved", StaticEmbedding(tokenizer, embedding_dim=16), prompts={"query": "energy "})

    ours = ours_dense(tmp_path / "saved")

    assert ours.max_length is None
    equal(ours.encode(TEXTS), reference.encode(TEXTS))
    equal(ours.encode_query(TEXTS), reference.encode_query(TEXTS))
    with pytest.raises(InputError, match=r"no token vectors \(StaticEmbedding\)"):
        ours.encode_tokens(TEXTS)


def test_static_embedding_as_model2vec_writes_it(tmp_path, bert):
    from safetensors.torch import save_file

    saved(tmp_path / "saved", StaticEmbedding(AutoTokenizer.from_pretrained(bert), embedding_dim=16))
    tokens = AutoTokenizer.from_pretrained(bert).vocab_size
    weights = {
        "embeddings": torch.randn(7, 16),
        "mapping": torch.randint(7, (tokens,)),
        "weights": torch.rand(tokens),
    }
    save_file(weights, tmp_path / "saved" / "model.safetensors")
    # Row of each token, times its weight.
    folded = weights["embeddings"][weights["mapping"]] * weights["weights"][:, None]
    ids = AutoTokenizer.from_pretrained(bert)("water is light", add_special_tokens=False)["input_ids"]

    vectors = ours_dense(tmp_path / "saved").encode("water is light")

    equal(vectors, folded[ids].mean(dim=0).numpy())
    equal(vectors, theirs.SentenceTransformer(str(tmp_path / "saved"), device="cpu").encode("water is light"))


def test_sparse_static_embedding(tmp_path, bert):
    tokenizer = AutoTokenizer.from_pretrained(bert)
    weight = torch.rand(len(tokenizer))
    reference = saved(
        tmp_path / "saved", SparseStaticEmbedding(tokenizer, weight, frozen=True), kind=theirs.SparseEncoder
    )

    ours = ours_sparse(tmp_path / "saved")

    equal(ours.encode(TEXTS).toarray(), rows(reference.encode(TEXTS)))
    assert ours.vocabulary == tokenizer.convert_ids_to_tokens(range(len(tokenizer)))


def test_sparse_static_embedding_from_a_table_of_terms(tmp_path, bert):
    tokenizer = AutoTokenizer.from_pretrained(bert)
    saved(tmp_path / "saved", SparseStaticEmbedding(tokenizer), kind=theirs.SparseEncoder)
    table = tmp_path / "saved" / "idf.json"
    write_json(table, {"water": 3.5, "energy": 2.25, "##s": 0.5})
    (tmp_path / "saved" / "model.safetensors").unlink()
    write_json(tmp_path / "saved" / "config.json", {"frozen": True, "path": str(table)})
    reference = theirs.SparseEncoder(str(tmp_path / "saved"), device="cpu")

    ours = ours_sparse(tmp_path / "saved")

    equal(ours.encode(TEXTS).toarray(), rows(reference.encode(TEXTS)))
    assert ours.encode("water").sum() == 3.5


@pytest.mark.parametrize("normalize", [True, False])
def test_sparse_auto_encoder(tmp_path, bert, normalize):
    coder = SparseAutoEncoder(32, hidden_dim=96, k=12, k_aux=20, normalize=normalize)
    reference = saved(tmp_path / "saved", Transformer(bert), Pooling(32), coder, kind=theirs.SparseEncoder)

    ours = ours_sparse(tmp_path / "saved")

    assert ours.dimension == 96 == len(ours.vocabulary)
    equal(ours.encode(TEXTS).toarray(), rows(reference.encode(TEXTS)))
    for limit in (3, 20, 96):  # replaces k, which is 12, also by a larger number
        expected = rows(reference.encode(TEXTS, max_active_dims=limit))
        equal(ours.encode(TEXTS, max_active_dims=limit).toarray(), expected)
        equal(ours_sparse(tmp_path / "saved", max_active_dims=limit).encode(TEXTS).toarray(), expected)


@pytest.mark.parametrize("config_file", ["router_config.json", "config.json"])
def test_inference_free_splade(tmp_path, config_file):
    path = str(write_bert(tmp_path / "bert", BertForMaskedLM))
    tokenizer = AutoTokenizer.from_pretrained(path)
    router = Router.for_query_document(
        [SparseStaticEmbedding(tokenizer, torch.rand(len(tokenizer)))],
        [Transformer(path, transformer_task="fill-mask"), SpladePooling("max")],
    )
    theirs.SparseEncoder(modules=[router], device="cpu").save(str(tmp_path / "saved"))
    (tmp_path / "saved" / "router_config.json").rename(tmp_path / "saved" / config_file)
    reference = theirs.SparseEncoder(str(tmp_path / "saved"), device="cpu")

    ours = ours_sparse(tmp_path / "saved")

    equal(ours.encode_query(TEXTS).toarray(), rows(reference.encode_query(TEXTS)))
    equal(ours.encode_document(TEXTS).toarray(), rows(reference.encode_document(TEXTS)))
    equal(ours.encode(TEXTS).toarray(), rows(reference.encode(TEXTS)))
    assert ours.vocabulary == tokenizer.convert_ids_to_tokens(range(len(tokenizer)))


@pytest.mark.parametrize("default", ["query", None])
def test_router_behind_a_shared_transformer(tmp_path, bert, default):
    shared = Dense(32, 8)
    router = Router(
        {"query": [shared], "document": [Dense(32, 16), Dense(16, 8)], "other": [shared]},
        default_route=default,
        allow_empty_key=False,
        route_mappings={("document", "text"): "document", ("passage", None): "other"},
    )
    reference = saved(tmp_path / "saved", Transformer(bert), Pooling(32), router)

    ours = ours_dense(tmp_path / "saved")

    equal(ours.encode_query(TEXTS), reference.encode_query(TEXTS))
    equal(ours.encode_document(TEXTS), reference.encode_document(TEXTS))
    if default is None:
        with pytest.raises(InputError, match="no route for no task, only document, other, query"):
            ours.encode(TEXTS)
    else:
        equal(ours.encode(TEXTS), reference.encode(TEXTS))


def test_asym_of_older_releases(tmp_path, bert):
    router = Router({"query": [Dense(32, 8)], "document": [Dense(32, 8)]})
    saved(tmp_path / "saved", Transformer(bert), Pooling(32), router)
    entries = json.loads((tmp_path / "saved" / "modules.json").read_text())
    for entry in entries:
        entry["type"] = f"sentence_transformers.models.{entry['type'].rpartition('.')[2]}"
    entries[2]["type"] = "sentence_transformers.models.Asym"
    write_json(tmp_path / "saved" / "modules.json", entries)
    home = tmp_path / "saved" / entries[2]["path"]
    config = json.loads((home / "router_config.json").read_text())
    (home / "router_config.json").unlink()
    types = dict.fromkeys(config["types"], "sentence_transformers.models.Dense")
    write_json(
        home / "config.json",
        {"types": types, "structure": config["structure"], "parameters": {"allow_empty_key": True}},
    )
    reference = theirs.SentenceTransformer(str(tmp_path / "saved"), device="cpu")

    ours = ours_dense(tmp_path / "saved")

    equal(ours.encode_query(TEXTS), reference.encode_query(TEXTS))
    equal(ours.encode_document(TEXTS), reference.encode_document(TEXTS))
    equal(ours.encode(TEXTS), reference.encode(TEXTS))


PAIRS = [(query, text) for query in ("water", "the energy of a wave", "") for text in TEXTS[:8]]


@pytest.fixture
def decoder(tmp_path) -> str:
    return str(write_decoder(tmp_path / "decoder"))


def ours_cross(folder, **options) -> CrossEncoder:
    return CrossEncoder(folder, dtype="float32", device="cpu", **options)


@pytest.mark.parametrize("side", ["left", "right"])
def test_a_bare_decoder_is_pooled_by_its_last_token(decoder, side):
    config = Path(decoder) / "tokenizer_config.json"
    write_json(config, json.loads(config.read_text()) | {"padding_side": side})
    reference = theirs.SentenceTransformer(decoder, device="cpu")

    equal(ours_dense(decoder).encode(TEXTS), reference.encode(TEXTS))


@pytest.mark.parametrize("layout", ["bare", "saved"])
def test_a_language_model_as_cross_encoder(tmp_path, decoder, layout):
    reference = theirs.CrossEncoder(decoder, device="cpu")
    path = decoder
    if layout == "saved":
        path = str(tmp_path / "saved")
        reference.save(path)

    ours = ours_cross(path)

    equal(ours.predict(PAIRS), reference.predict(PAIRS))
    equal(ours.predict(PAIRS, prompt="the light "), reference.predict(PAIRS, prompt="the light "))


def test_prompts_of_a_cross_encoder(tmp_path):
    path = str(write_bert(tmp_path / "cross", BertForSequenceClassification, num_labels=1))
    prompts = {"about": "energy of ", "other": "a "}
    reference = theirs.CrossEncoder(path, prompts=prompts, default_prompt_name="about", device="cpu")
    reference.save(str(tmp_path / "saved"))

    ours = ours_cross(tmp_path / "saved")

    equal(ours.predict(PAIRS), reference.predict(PAIRS))
    equal(ours.predict(PAIRS, prompt_name="other"), reference.predict(PAIRS, prompt_name="other"))
    equal(ours.predict(PAIRS, prompt=""), reference.predict(PAIRS, prompt=""))
    assert abs(ours.predict(PAIRS) - ours.predict(PAIRS, prompt="")).max() > 1e-4


@pytest.mark.parametrize("layout", ["bare", "saved"])
def test_the_encoder_of_an_encoder_decoder_model(tmp_path, bert, layout):
    tokenizer = AutoTokenizer.from_pretrained(bert)
    config = T5Config(
        vocab_size=len(tokenizer), d_model=32, d_kv=8, d_ff=64, num_layers=2, num_heads=4, decoder_start_token_id=0
    )
    torch.manual_seed(3)
    model = T5Model(config)
    for weight in model.parameters():
        torch.nn.init.normal_(weight, std=0.3)
    model.save_pretrained(tmp_path / "t5")
    tokenizer.save_pretrained(tmp_path / "t5")
    path = str(tmp_path / "t5")
    reference = theirs.SentenceTransformer(path, device="cpu")
    if layout == "saved":
        path = str(tmp_path / "saved")
        theirs.SentenceTransformer(
            modules=[reference[0], Pooling(32), Dense(32, 12, bias=False, activation_function=torch.nn.Identity())],
            device="cpu",
        ).save(path)
        reference = theirs.SentenceTransformer(path, device="cpu")

    equal(ours_dense(path).encode(TEXTS), reference.encode(TEXTS))


@pytest.mark.parametrize("name", ["bert", "roberta", "distilbert", "xlm-roberta"])
def test_a_transformer_in_its_own_folder_as_the_first_releases_wrote_it(tmp_path, bert, name):
    folder = tmp_path / "saved"
    (folder / "1_Pooling").mkdir(parents=True)
    Path(bert).rename(folder / "0_Transformer")
    settings = {"max_seq_length": 12, "do_lower_case": False}
    write_json(folder / "0_Transformer" / f"sentence_{name}_config.json", settings)
    flags = {"pooling_mode_cls_token": False, "pooling_mode_mean_tokens": True, "pooling_mode_max_tokens": True}
    write_json(folder / "1_Pooling" / "config.json", {"word_embedding_dimension": 32} | flags)
    modules = ["Transformer", "Pooling"]
    write_json(
        folder / "modules.json",
        [
            {"idx": at, "name": str(at), "path": f"{at}_{kind}", "type": f"sentence_transformers.models.{kind}"}
            for at, kind in enumerate(modules)
        ],
    )
    reference = theirs.SentenceTransformer(str(folder), device="cpu")

    ours = ours_dense(folder)

    assert ours.max_length == reference.max_seq_length == 12
    equal(ours.encode(TEXTS), reference.encode(TEXTS))
