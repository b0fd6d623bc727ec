"""Encoders saved here load in sentence-transformers and the other way round, with equal vectors."""

import json

import numpy as np
import pytest
import sentence_transformers as theirs
import torch
from sentence_transformers.base.modules import Dense, Normalize, Router, Transformer
from sentence_transformers.sentence_transformer.modules import Pooling, StaticEmbedding
from sentence_transformers.sparse_encoder.modules import SparseAutoEncoder, SparseStaticEmbedding, SpladePooling
from transformers import AutoTokenizer, BertForMaskedLM, BertForSequenceClassification

from checkpoints import write_bert, write_decoder
from indexing.errors import InputError
from retrieve.encoders import CrossEncoder, DenseEncoder, SparseEncoder

TEXTS = ["", "water", "naïve café 日本語 😀", "the energy of a wave " * 12, "HEAT and FIRE"]
PAIRS = [("water", text) for text in TEXTS]


def equal(ours, reference) -> None:
    np.testing.assert_allclose(ours, reference, rtol=0, atol=1e-5)


def load(kind, folder, **options):
    return kind(folder, dtype="float32", device="cpu", **options)


def dense_modules(path: str) -> dict[str, list]:
    return {
        "mean": [Transformer(path, max_seq_length=12), Pooling(32), Normalize()],
        "several": [Transformer(path, do_lower_case=True), Pooling(32, ["cls", "mean", "lasttoken"])],
        "another order": [Transformer(path), Pooling(32, ["mean", "cls"], include_prompt=False)],
        "dense": [Transformer(path), Pooling(32), Dense(32, 8, use_residual=True), Normalize()],
        "static": [StaticEmbedding(AutoTokenizer.from_pretrained(path), embedding_dim=16)],
        "router": [
            Transformer(path),
            Pooling(32, include_prompt=False),
            Router.for_query_document([Dense(32, 8)], [Dense(32, 8), Normalize()]),
        ],
    }


@pytest.mark.parametrize("name", ["mean", "several", "another order", "dense", "static", "router"])
def test_dense(tmp_path, name):
    modules = dense_modules(str(write_bert(tmp_path / "bert")))[name]
    settings = {"prompts": {"query": "energy of "}, "similarity_fn_name": "dot"}
    theirs.SentenceTransformer(modules=modules, device="cpu", **settings).save(str(tmp_path / "first"))
    ours = load(DenseEncoder, tmp_path / "first")
    vectors, queries = ours.encode(TEXTS), ours.encode_query(TEXTS)

    ours.save(tmp_path / "ours")
    reference = theirs.SentenceTransformer(str(tmp_path / "ours"), device="cpu")
    reference.save(str(tmp_path / "theirs"))

    assert reference.similarity_fn_name == "dot" and reference.max_seq_length in (ours.max_length, float("inf"))
    equal(reference.encode(TEXTS), vectors)
    equal(reference.encode_query(TEXTS), queries)
    for again in (load(DenseEncoder, tmp_path / "ours"), load(DenseEncoder, tmp_path / "theirs")):
        equal(again.encode(TEXTS), vectors)
        equal(again.encode_query(TEXTS), queries)


@pytest.mark.parametrize("name", ["splade", "autoencoder", "inference-free"])
def test_sparse(tmp_path, name):
    path = str(write_bert(tmp_path / "bert", BertForMaskedLM))
    tokenizer = AutoTokenizer.from_pretrained(path)
    splade = [Transformer(path, transformer_task="fill-mask"), SpladePooling("sum", "log1p_relu")]
    modules = {
        "splade": splade,
        "autoencoder": [Transformer(path), Pooling(32), SparseAutoEncoder(32, 64, k=6, k_aux=8)],
        "inference-free": [
            Router.for_query_document([SparseStaticEmbedding(tokenizer, torch.rand(len(tokenizer)))], splade)
        ],
    }[name]
    theirs.SparseEncoder(modules=modules, max_active_dims=20, device="cpu").save(str(tmp_path / "first"))
    ours = load(SparseEncoder, tmp_path / "first")
    weights, queries = ours.encode_document(TEXTS).toarray(), ours.encode_query(TEXTS).toarray()

    ours.save(tmp_path / "ours")
    reference = theirs.SparseEncoder(str(tmp_path / "ours"), device="cpu")
    reference.save(str(tmp_path / "theirs"))

    assert reference.max_active_dims == 20
    equal(reference.encode_document(TEXTS).to_dense().numpy(), weights)
    equal(reference.encode_query(TEXTS).to_dense().numpy(), queries)
    for again in (load(SparseEncoder, tmp_path / "ours"), load(SparseEncoder, tmp_path / "theirs")):
        equal(again.encode_document(TEXTS).toarray(), weights)
        equal(again.encode_query(TEXTS).toarray(), queries)


@pytest.mark.parametrize("labels", [1, 3])
def test_cross(tmp_path, labels):
    path = write_bert(tmp_path / "cross", BertForSequenceClassification, num_labels=labels)
    ours = load(CrossEncoder, path, activation=torch.nn.Tanh(), max_length=20)
    ours.prompts["about"], ours.default_prompt_name = "energy ", "about"
    scores = ours.predict(PAIRS)

    ours.save(tmp_path / "ours")
    reference = theirs.CrossEncoder(str(tmp_path / "ours"), device="cpu")
    reference.save(str(tmp_path / "theirs"))

    config = json.loads((tmp_path / "ours" / "config.json").read_text())
    assert config["sentence_transformers"]["activation_fn"] == "torch.nn.modules.activation.Tanh"
    equal(reference.predict(PAIRS, prompt="energy "), scores)
    for again in (load(CrossEncoder, tmp_path / "ours"), load(CrossEncoder, tmp_path / "theirs")):
        equal(again.predict(PAIRS, prompt="energy "), scores)
    equal(load(CrossEncoder, tmp_path / "ours").predict(PAIRS), scores)


def test_existing_folders_are_not_overwritten(tmp_path):
    path = write_bert(tmp_path / "bert")
    encoder = load(DenseEncoder, path)

    with pytest.raises(InputError, match="already exists"):
        encoder.save(path)
    (tmp_path / "empty").mkdir()
    encoder.save(tmp_path / "empty")

    equal(load(DenseEncoder, tmp_path / "empty").encode(TEXTS), encoder.encode(TEXTS))
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["bert", "empty"]


def test_bare_checkpoints_get_a_list_of_modules(tmp_path):
    dense = load(DenseEncoder, write_bert(tmp_path / "bert"))
    sparse = load(SparseEncoder, write_bert(tmp_path / "masked", BertForMaskedLM))

    dense.save(tmp_path / "dense")
    sparse.save(tmp_path / "sparse")

    equal(theirs.SentenceTransformer(str(tmp_path / "dense"), device="cpu").encode(TEXTS), dense.encode(TEXTS))
    reference = theirs.SparseEncoder(str(tmp_path / "sparse"), device="cpu").encode(TEXTS)
    equal(reference.to_dense().numpy(), sparse.encode(TEXTS).toarray())
    config = json.loads((tmp_path / "dense" / "1_Pooling" / "config.json").read_text())
    assert config["word_embedding_dimension"] == 32 and config["pooling_mode_mean_tokens"]


def test_a_language_model_that_scores_pairs(tmp_path):
    ours = load(CrossEncoder, write_decoder(tmp_path / "decoder"))
    scores = ours.predict(PAIRS)

    ours.save(tmp_path / "ours")
    reference = theirs.CrossEncoder(str(tmp_path / "ours"), device="cpu")
    reference.save(str(tmp_path / "theirs"))

    equal(reference.predict(PAIRS), scores)
    equal(load(CrossEncoder, tmp_path / "ours").predict(PAIRS), scores)
    equal(load(CrossEncoder, tmp_path / "theirs").predict(PAIRS), scores)
